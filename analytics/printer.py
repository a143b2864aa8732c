"""What the command line prints: a line per unit of work and a verdict, or the same facts as JSON.

stdout is the result, stderr the story: warnings, failures, and the progress that only a terminal is shown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from analytics.config import Settings
from analytics.files import shown_path

if TYPE_CHECKING:
    from analytics.loader import LoadResult
    from analytics.pipeline import RunResult
    from analytics.sources import ExtractResult
    from analytics.targets import TargetResult
    from analytics.transformer import TransformResult
    from analytics.validator import ValidateResult

# Reading less than this is over before anyone wonders.
PROGRESS_FROM_BYTES = 50_000_000


def say(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """Print at once, as far as somebody listens: who closes a pipe ends the telling, never the work.

    What the stream's encoding does not have becomes a question mark.
    """
    if stream is None:  # it was closed before the command began
        return
    try:
        print(text, end=end, file=stream, flush=True)
    except UnicodeEncodeError:
        say(text.encode(stream.encoding, "replace").decode(stream.encoding), stream, end)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Printer:
    """Prints for one command, as its flags `--json` and `--quiet` say. Its methods `on_...` observe a run."""

    def __init__(self, settings: Settings, *, is_json: bool = False, is_quiet: bool = False) -> None:
        self._settings = settings
        self._is_json = is_json
        self._is_silent = is_json or is_quiet
        self._shows_progress = bool(sys.stderr and sys.stderr.isatty()) and not self._is_silent

    def facts(self, facts: Any, lines: Iterable[str] = ()) -> None:
        """Facts as JSON where that is asked for, and otherwise as these lines."""
        if self._is_json:
            say(json.dumps(facts, indent=2, default=str), sys.stdout)
        elif not self._is_silent:
            for line in lines:
                say(line, sys.stdout)

    def failures(self, failures: Mapping[str, str]) -> None:
        """A line for each source or target that failed while the rest went on."""
        for name, reason in failures.items():
            self.story("failed", reason if reason.startswith(f"{name}: ") else f"{name}: {reason}")

    def story(self, kind: str, text: str) -> None:
        """One line of the story; neither flag silences it."""
        say(f"{kind:<10} {text}", sys.stderr)

    def on_progress(self, done: int, total: int) -> None:
        if self._shows_progress and total > PROGRESS_FROM_BYTES:
            say(f"\rextract    {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", sys.stderr, end="")

    def on_extract(self, result: ExtractResult) -> None:
        notes = []
        if result.dead_letters:
            notes.append(shown_path(self._settings.data_dir / result.dead_letters[0]))
        if result.waiting_count:
            notes.append(f"{result.waiting_count} half-written, read when complete")
        if result.nothing_found:
            notes.append(f"nothing found in {', '.join(result.nothing_found)}")
        self._line(
            "extract",
            result.source,
            f"{result.rows_loaded:,} rows",
            f"{result.unit_count:,} units",
            f"{result.rows_rejected:,} rejected",
            elapsed_ms=result.elapsed_ms,
            note="   ".join(notes),
        )
        for problem in result.problems:
            self.story("warning", f"{result.source}: cannot read {problem}")

    def on_load(self, result: LoadResult) -> None:
        self._line(
            "load",
            "raw",
            f"{result.row_count:,} rows",
            f"{result.date_count:,} days",
            f"{result.repeated_count:,} repeated",
            elapsed_ms=result.elapsed_ms,
        )
        for path in result.damaged:
            self.story(
                "warning",
                f"load: {path} is damaged, moved to quarantine; the next run brings its rows back if their sources "
                "still exist",
            )

    def on_transform(self, result: TransformResult) -> None:
        self._line(
            "transform",
            "dbt",
            f"{result.model_count} models",
            f"{result.test_count} tests",
            "0 failed",
            elapsed_ms=result.elapsed_ms,
            note="everything" if result.is_full_refresh else "as dbt built them before" if result.is_replayed else "",
        )
        for name in result.warnings:
            self.story("warning", f"transform: {name} warns")

    def on_validate(self, result: ValidateResult) -> None:
        if result.skipped:
            self._line("validate", "gx", "not due", elapsed_ms=result.elapsed_ms, note=result.skipped)
            return
        self._line(
            "validate",
            "gx",
            f"{result.suite_count} suites",
            f"{result.check_count} checks",
            f"{len(result.failed)} failed",
            elapsed_ms=result.elapsed_ms,
            note=result.report if result.failed else "",
        )
        for name in result.warnings:
            self.story("warning", f"validate: {name} warns; what to do: {result.report}")

    def on_publish(self, result: TargetResult) -> None:
        self._line("publish", result.target, result.summary, elapsed_ms=result.elapsed_ms, note=result.location)

    def on_run(self, result: RunResult) -> None:
        """The end of a run: what failed, where its numbers come from, and the verdict."""
        self.failures(result.failures)
        if result.is_sample:
            self._line("note", "sample data: no transcripts of your own were found, so these numbers are synthetic")
        if result.removed_sample_rows:
            count = f"{result.removed_sample_rows:,}"
            self._line("note", f"the sample's {count} rows left the lake: it has your own data now")
        name = f"run {result.run_id}"
        what = name if result.load else f"{name}: nothing new, nothing rebuilt"
        self._line("failed" if result.failures else "ok", what, elapsed_ms=result.elapsed_ms)
        self.facts(result.as_json())

    def _line(self, stage: str, what: str, *counts: str, elapsed_ms: int | None = None, note: str = "") -> None:
        if self._is_silent:
            return
        if self._shows_progress:
            say("\r\033[K", sys.stderr, end="")
        seconds = "" if elapsed_ms is None else f"{elapsed_ms / 1000:.1f} s"
        padded = "".join(f"{count:<16}" for count in counts)
        say(f"{stage:<10} {what:<14} {padded:<48}{seconds:>8}   {note}".rstrip(), sys.stdout)
