"""Dataset `api_requests`: one event per request to the API, as a proxy or OpenTelemetry saw it.

A proxy repeats events: in snapshots of recent activity, and after a reconnect. So the id of an event is
made of its meaning: `record_id` is the hash of the typed fields below in one spelling, in canonical
JSON, so that both spellings and every carrier (stream, archive) give one record. Two requests that are
equal in every field, to the instant and the millisecond of latency, are one record: nothing tells them
apart from a repetition.

`reported_cost_nusd` is what the event says. What the price list says is computed in SQL, and the two
never mix. The text of an error stays in `payload`.
"""

from __future__ import annotations

import pyarrow as pa

from analytics.contracts import COMMON_FIELDS, Contract, describe

CONTRACT = Contract(
    dataset="api_requests",
    grain="One row per API request event read.",
    schema=pa.schema(
        [
            *COMMON_FIELDS,
            describe("event_type", pa.string(), "api_request, or api_error (OpenTelemetry's event of a failure)."),
            describe("request_id", pa.string(), "The API's request id, a transcript's `requestId`; proxies have none."),
            describe("model", pa.string(), "Model as the event says."),
            describe("provider", pa.string(), "Who served it: anthropic, bedrock, vertex, ..."),
            describe(
                "status", pa.string(), "success, error, or the event's own word, in lower case; null where unsaid."
            ),
            describe("status_code", pa.int64(), "HTTP status of the answer, where the event tells it."),
            describe("attempt_number", pa.int64(), "Which attempt this was, from 1, where the event tells it."),
            describe("input_tokens", pa.int64(), "Uncached input tokens."),
            describe("output_tokens", pa.int64(), "Output tokens."),
            describe("cache_creation_tokens", pa.int64(), "Tokens written to the cache."),
            describe("cache_read_tokens", pa.int64(), "Tokens read from the cache."),
            describe("reported_cost_nusd", pa.int64(), "Cost as the event says, in nano-dollars."),
            describe("latency_ms", pa.int64(), "Duration of the request as the event says."),
            describe("error_char_count", pa.int64(), "Characters of the error message; null without one."),
        ]
    ),
)
