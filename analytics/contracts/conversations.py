"""Dataset `conversations`: transcript lines, whichever source carried them.

The columns shred what SQL needs out of a line of Claude Code's transcripts; everything else stays
in `payload`. Nothing here is interpreted: a count counts, a flag repeats what the line says, and a
marker names a fixed phrase of Claude Code's own format. Meaning (what is a failure, what a request
costs) is SQL.
"""

from __future__ import annotations

import pyarrow as pa

from analytics.contracts import COMMON_FIELDS, INSTANT, Contract, describe

BLOCK = pa.struct(
    [
        describe("block_index", pa.int32(), "Position of the block in its line, from 0."),
        describe("block_type", pa.string(), "text, thinking, tool_use, tool_result, image, document, ..."),
        describe("tool_use_id", pa.string(), "Of a tool_use its id, of a tool_result the id it answers."),
        describe("tool_name", pa.string(), "Of a tool_use, the tool's name."),
        describe("text_char_count", pa.int64(), "Characters of text, thinking or tool result content."),
        describe("input_char_count", pa.int64(), "Of a tool_use, characters of its input as compact JSON."),
        describe("is_error", pa.bool_(), "Of a tool_result what it says; null where it says nothing."),
        describe(
            "error_marker",
            pa.string(),
            "Of a tool_result with is_error, which of Claude Code's phrases it carries: user_rejected, interrupted, "
            "cancelled, permission_denied, hook_blocked, timeout, not_found, tool_use_error, exit_code, other.",
        ),
        describe("exit_code", pa.int64(), "Of a tool_result that begins 'Exit code N', N."),
        describe("file_path", pa.string(), "Of a tool_use, the file its input names."),
        describe("input_line_count", pa.int64(), "Of a Write tool_use, lines of its content; of edits, lines added."),
        describe("input_removed_line_count", pa.int64(), "Of an edit tool_use, lines of the replaced strings."),
        describe("input_edit_count", pa.int64(), "Of a MultiEdit tool_use, the number of edits; of an Edit, 1."),
        describe("subagent_type", pa.string(), "Of a Task or Agent tool_use, the subagent type it asks for."),
        describe("skill_name", pa.string(), "Of a Skill or SlashCommand tool_use, the skill or command."),
    ]
)

ADVISOR_ITERATION = pa.struct(
    [
        describe("iteration_index", pa.int32(), "Position in usage.iterations, from 0."),
        describe("model", pa.string(), "Model of the advisor's own request."),
        describe("input_tokens", pa.int64(), "Uncached input tokens."),
        describe("output_tokens", pa.int64(), "Output tokens."),
        describe("cache_creation_5m_tokens", pa.int64(), "Tokens written to the 5-minute cache."),
        describe("cache_creation_1h_tokens", pa.int64(), "Tokens written to the 1-hour cache."),
        describe("cache_read_tokens", pa.int64(), "Tokens read from the cache."),
    ]
)

CONTRACT = Contract(
    dataset="conversations",
    grain="One row per transcript line read, whichever source carried it.",
    schema=pa.schema(
        [
            *COMMON_FIELDS,
            # ---- envelope
            describe("line_type", pa.string(), "`type` of the line; for a subagent's meta file `agent-meta`."),
            describe("line_subtype", pa.string(), "`subtype`, or the type of `data` or `attachment`, or `operation`."),
            describe("line_uuid", pa.string(), "`uuid`: copies of a line in forks keep it."),
            describe("agent_id", pa.string(), "Subagent that wrote the line; null in the main thread."),
            describe("cwd", pa.string(), "Working directory of the line."),
            describe("git_branch", pa.string(), "Git branch of the line."),
            describe("app_version", pa.string(), "Claude Code version that wrote the line."),
            describe("entrypoint", pa.string(), "How Claude Code was started: cli, sdk-..., since 2.1.81."),
            describe("prompt_id", pa.string(), "`promptId`: the prompt being answered, since 2.1.81."),
            describe("prompt_source", pa.string(), "typed, system, queued, sdk, suggestion_accepted; since 2.1.161."),
            describe("origin_kind", pa.string(), "human, peer, task-notification, coordinator; since 2.1.92."),
            describe("permission_mode", pa.string(), "`permissionMode` where the line has it."),
            describe("effort", pa.string(), "Effort level, since 2.1.212."),
            describe("attribution_skill", pa.string(), "`attributionSkill`, since 2.1.123."),
            describe("attribution_plugin", pa.string(), "`attributionPlugin`."),
            describe("attribution_mcp_server", pa.string(), "`attributionMcpServer`."),
            describe("attribution_mcp_tool", pa.string(), "`attributionMcpTool`."),
            describe("is_sidechain", pa.bool_(), "`isSidechain`: written by a subagent."),
            describe("is_meta", pa.bool_(), "`isMeta`: put in by Claude Code, not typed."),
            describe("is_compact_summary", pa.bool_(), "`isCompactSummary`."),
            describe("is_api_error", pa.bool_(), "`isApiErrorMessage`."),
            # ---- message
            describe("message_id", pa.string(), "`message.id`: one API response, on every line it was split into."),
            describe("request_id", pa.string(), "`requestId`; missing behind gateways."),
            describe(
                "request_session_id",
                pa.string(),
                "`requestSessionId`: on a line that a fork copied, the session that made the request; since 2.1.326.",
            ),
            describe("message_role", pa.string(), "`message.role`; of a prompt that is an attachment, user."),
            describe("model", pa.string(), "`message.model` as written."),
            describe("stop_reason", pa.string(), "`message.stop_reason`; null on lines written before the end."),
            describe("progress_message_at", INSTANT, "Of an agent_progress line, the instant of the line inside it."),
            describe(
                "progress_message_uuid", pa.string(), "Of an agent_progress line, the uuid of the line inside it."
            ),
            describe("progress_message_type", pa.string(), "Of an agent_progress line, the type of the line inside."),
            # ---- usage
            describe("has_usage", pa.bool_(), "The line carries a usage object."),
            describe("input_tokens", pa.int64(), "Uncached input tokens."),
            describe("output_tokens", pa.int64(), "Output tokens as this line says; the last line says most."),
            describe(
                "cache_creation_tokens", pa.int64(), "Cache writes: the larger of the flat and the nested figure."
            ),
            describe("cache_creation_5m_tokens", pa.int64(), "5-minute cache writes where the line splits them."),
            describe("cache_creation_1h_tokens", pa.int64(), "1-hour cache writes where the line splits them."),
            describe("cache_read_tokens", pa.int64(), "Cache reads."),
            describe("thinking_tokens", pa.int64(), "Thinking tokens inside output, since 2.1.228."),
            describe("web_search_count", pa.int64(), "`server_tool_use.web_search_requests`."),
            describe("web_fetch_count", pa.int64(), "`server_tool_use.web_fetch_requests`."),
            describe("service_tier", pa.string(), "`usage.service_tier`."),
            describe("speed", pa.string(), "`usage.speed`: standard or fast."),
            describe("inference_geo", pa.string(), "`usage.inference_geo`."),
            describe("reported_cost_nusd", pa.int64(), "`costUSD` in nano-dollars; only on lines up to 1.0.x."),
            describe(
                "session_cost_nusd",
                pa.int64(),
                "Of a cost-state line `totalCostUSD` in nano-dollars: all that Claude Code counted for the session so "
                "far, of a fork with what its parent had cost; since 2.1.277.",
            ),
            describe(
                "advisor_iterations",
                pa.list_(ADVISOR_ITERATION),
                "Entries of usage.iterations that are not the message itself.",
            ),
            # ---- content
            describe("content_shape", pa.string(), "string, blocks, other or null: the shape of the content."),
            describe("blocks", pa.list_(BLOCK), "Content blocks, without their text."),
            describe(
                "text_char_count",
                pa.int64(),
                "Characters of the line's own text (string or text blocks), without what Claude Code or an editor puts "
                "before a person's words.",
            ),
            describe("thinking_char_count", pa.int64(), "Characters of thinking; 0 where only a signature is kept."),
            describe("tool_input_char_count", pa.int64(), "Characters of tool inputs as compact JSON."),
            describe("image_count", pa.int64(), "Image blocks of the line, outside tool results."),
            describe(
                "leading_tag",
                pa.string(),
                "First tag or phrase of a user text that is not typed by a person: command-name, command-message, "
                "local-command-stdout, local-command-caveat, bash-input, bash-stdout, task-notification, interrupt",
            ),
            describe("command_name", pa.string(), "Slash command of a <command-name> line, with its slash."),
            describe(
                "prompt_text",
                pa.string(),
                "Text of a user line that is neither a tool result nor meta, at most 20,000 characters, after the "
                "content policy; null under `metadata`.",
            ),
            describe("limit_reset_at", INSTANT, "Reset instant in a 'usage limit reached|<epoch>' line."),
            # ---- tool result of the line (toolUseResult)
            describe("result_shape", pa.string(), "object, string, array or null: the shape of toolUseResult."),
            describe("result_operation", pa.string(), "`toolUseResult.type`: create, update, text, image, ..."),
            describe("result_file_path", pa.string(), "`toolUseResult.filePath`, or of the file read."),
            describe("patch_added_line_count", pa.int64(), "Lines that begin '+' in structuredPatch."),
            describe("patch_removed_line_count", pa.int64(), "Lines that begin '-' in structuredPatch."),
            describe("patch_hunk_count", pa.int64(), "Hunks of structuredPatch; 0 for a created file."),
            describe("result_content_line_count", pa.int64(), "Lines of toolUseResult.content of a written file."),
            describe("result_duration_ms", pa.int64(), "Duration that the result itself states (Web*, Task, Glob)."),
            describe("result_agent_id", pa.string(), "Subagent that a Task or Agent result names."),
            describe("result_agent_type", pa.string(), "Subagent type that a result or a meta file names."),
            describe("result_status", pa.string(), "`toolUseResult.status`."),
            describe("tool_denial_kind", pa.string(), "`toolDenialKind` of the line."),
            describe("is_result_interrupted", pa.bool_(), "`toolUseResult.interrupted`."),
            describe("is_user_modified", pa.bool_(), "`toolUseResult.userModified`."),
            # ---- system lines
            describe("compact_trigger", pa.string(), "Of a compact_boundary, auto or manual."),
            describe("compact_pre_tokens", pa.int64(), "Of a compact_boundary, context tokens before."),
            describe("compact_post_tokens", pa.int64(), "Of a compact_boundary, context tokens after; since 2.1.111."),
            describe("duration_ms", pa.int64(), "`durationMs` of a system line: of a turn or a compaction."),
            describe("retry_attempt", pa.int64(), "Of an api_error line, the attempt that failed, from 1."),
            describe("retry_in_ms", pa.int64(), "Of an api_error line, the wait before the next attempt."),
            describe("pr_number", pa.int64(), "Of a pr-link line, the pull request's number."),
            describe("pr_repository", pa.string(), "Of a pr-link line, owner/name."),
            describe("pr_url", pa.string(), "Of a pr-link line, its address."),
        ]
    ),
)
