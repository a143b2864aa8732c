"""The command line: parse, call one function, print one summary.

stdout is the result, stderr the story. Exit codes: 0 done, 1 failed, 2 usage or setting, 3 checks
failed and nothing published, 75 another run holds the lock.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analytics import __version__
from analytics.annotations import add_verbs as add_annotation_verbs
from analytics.capture.command import add_arguments as add_capture_arguments
from analytics.config import Settings, load_settings
from analytics.errors import AnalyticsError, ConfigError, describe_bug
from analytics.files import shown_path

if TYPE_CHECKING:
    from analytics.loader import LoadResult
    from analytics.pipeline import RunResult
    from analytics.sources import ExtractResult
    from analytics.targets import TargetResult
    from analytics.transformer import TransformResult
    from analytics.validator import ValidateResult

# Telemetry of the tools underneath is off before any of them is imported.
QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    os.umask(0o077)
    os.environ.update(QUIET_ENVIRONMENT)
    gc.set_threshold(200_000, 50, 50)  # rows and imports are many objects and no cycles
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    try:
        settings = load_settings(_overrides(parsed))
        code: int = parsed.command(parsed, settings)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped; what was committed stays, the next run goes on from there", file=sys.stderr)
        return 130
    except AnalyticsError as error:
        if parsed.debug:
            raise
        print(f"error      {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if parsed.debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error      {where}{os.strerror(error.errno or 0)}. Mend that, then run again.", file=sys.stderr)
        return 1
    except Exception as error:
        if parsed.debug:
            raise
        print(f"error      {describe_bug(error)}", file=sys.stderr)
        return 1
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar. Flags mean the same with every verb."""
    parser = argparse.ArgumentParser(
        prog="analytics", description="Claude Code analytics: transcripts, hooks and MongoDB into trusted marts."
    )
    parser.add_argument("--version", action="version", version=f"analytics {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    common = _common_flags()

    def verb(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text, parents=[common])
        added.set_defaults(command=command)
        return added

    for name, command, text in (
        ("run", _run, "extract, load, transform, validate and publish what is new"),
        ("extract", _extract, "read what is new in the sources into the lake"),
    ):
        added = verb(name, command, text)
        added.add_argument("--select", action="append", default=[], metavar="SOURCE", help="only this source; repeat")
        added.add_argument("--since", type=_instant, help="only records from this day or instant on (inclusive)")
        added.add_argument("--until", type=_instant, help="only records before this day or instant (exclusive)")
        added.add_argument("--full-backfill", action="store_true", help="read everything again, from the start")
        if name == "extract":
            added.add_argument(
                "--import",
                dest="import_path",
                type=Path,
                metavar="PATH",
                help="read an archive of the selected source's events",
            )
        if name == "run":
            added.add_argument("--full-refresh", action="store_true", help="rebuild every model from the lake")
        added.add_argument("--keep-going", action="store_true", help="end with 0 even if a source failed")
    verb("load", _load, "load the lake's new days into the warehouse")
    added = verb("transform", _transform, "build and test the models that the loaded days touch")
    added.add_argument("--full-refresh", action="store_true", help="rebuild every model")
    verb("validate", _validate, "audit everything in the warehouse with Great Expectations")
    verb("publish", _publish, "hand gold to every target")
    added = verb("capture", _capture, "register the hook command with Claude Code, or look after its queue")
    add_capture_arguments(added)
    verb("status", _status, "show what there is, how fresh it is, and what could not be priced or read")
    verb("doctor", _doctor, "check the set-up and say what to mend")
    added = verb("show", _show, "print a published table")
    added.add_argument("table", help="name of a gold table, such as agg_daily_summary")
    added.add_argument("--limit", type=int, default=20, help="rows at most (20)")
    _add_format_flags(added)
    added = verb("query", _query, "run SQL on the published tables")
    added.add_argument("sql", help="one statement, in quotes")
    _add_format_flags(added)
    added = verb("report", _report, "write the dashboards as one HTML page, or only some days or one project of them")
    added.add_argument("--since", type=_day, help="only days from this one on (inclusive)")
    added.add_argument("--until", type=_day, help="only days before this one (exclusive)")
    added.add_argument("--project", default="", help="only this project: its path, or the last part of it")
    added.add_argument("--out", type=Path, metavar="FILE", help="write here; needed with the flags above")
    added.add_argument("--open", action="store_true", help="open it in the browser")
    text = "write a published table to a file"
    # Here --json names a file.
    added = verbs.add_parser("export", help=text, description=text, parents=[_common_flags(has_json=False)])
    added.set_defaults(command=_export)
    added.add_argument("table", help="name of a gold table, such as agg_daily_summary")
    added.add_argument("--csv", type=Path, metavar="FILE", help="as CSV, safe to open in a spreadsheet")
    added.add_argument("--json", type=Path, metavar="FILE", help="as a JSON array of objects")
    added.add_argument("--parquet", type=Path, metavar="FILE", help="as Parquet")
    add_annotation_verbs(verb)
    added = verb("prune", _prune, "delete what is past its keep: old versions, orphans, days on request")
    added.add_argument("--before", type=_day, help="also delete the lake's days before this one, for good")
    added.add_argument("--dry-run", action="store_true", help="say what would go, delete nothing")
    return parser


def _common_flags(*, has_json: bool = True) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data-dir", help="data folder (ANALYTICS_DATA_DIR)")
    common.add_argument("--transcript-dirs", help="folders of transcripts, ':' between (ANALYTICS_TRANSCRIPT_DIRS)")
    common.add_argument("--timezone", help="reporting time zone (ANALYTICS_TIMEZONE)")
    common.add_argument("--content", help="full, redacted or metadata (ANALYTICS_CONTENT)")
    if has_json:
        common.add_argument("--json", action="store_true", help="print the same facts as JSON")
    common.add_argument("--quiet", action="store_true", help="print nothing but errors")
    common.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    return common


def _add_format_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write Parquet to this file")


def _instant(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no day or instant such as 2026-01-31 or 2026-01-31T12:00Z"
        ) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-01-31") from error


def _overrides(parsed: argparse.Namespace) -> dict[str, str]:
    names = ("data_dir", "transcript_dirs", "timezone", "content")
    return {name: value for name in names if (value := getattr(parsed, name, None))}


class _Printer:
    """One aligned line per unit of work on stdout; progress on a terminal's stderr only."""

    def __init__(self, parsed: argparse.Namespace, settings: Settings) -> None:
        self._is_silent = parsed.json or parsed.quiet
        self._settings = settings
        self._shows_progress = sys.stderr.isatty() and not self._is_silent

    def line(self, stage: str, what: str, *facts: str, elapsed_ms: int | None = None, note: str = "") -> None:
        if self._is_silent:
            return
        self._clear()
        seconds = "" if elapsed_ms is None else f"{elapsed_ms / 1000:.1f} s"
        padded = "".join(f"{fact:<16}" for fact in facts)
        print(f"{stage:<10} {what:<14} {padded:<48}{seconds:>8}   {note}".rstrip())

    def on_progress(self, done: int, total: int) -> None:
        if self._shows_progress and total > 50_000_000:
            print(f"\rextract    {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", end="", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._shows_progress:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def on_extract(self, result: ExtractResult) -> None:
        notes = []
        if result.dead_letters:
            notes.append(shown_path(self._settings.data_dir / result.dead_letters[0]))
        if result.waiting_count:
            notes.append(f"{result.waiting_count} half-written, read when complete")
        self.line(
            "extract",
            result.source,
            f"{result.rows_loaded:,} rows",
            f"{result.unit_count:,} units",
            f"{result.rows_rejected:,} rejected",
            elapsed_ms=result.elapsed_ms,
            note="   ".join(notes),
        )
        for problem in result.problems:
            print(f"warning    {result.source}: cannot read {problem}", file=sys.stderr)

    def on_load(self, result: LoadResult) -> None:
        repeated = sum(entry.repeated_count for entry in result.datasets)
        self.line(
            "load",
            "raw",
            f"{result.row_count:,} rows",
            f"{result.date_count:,} days",
            f"{repeated:,} repeated",
            elapsed_ms=result.elapsed_ms,
        )
        for path in result.damaged:
            print(
                f"warning    load: {path} is damaged, moved to quarantine; the next run reads its sources again",
                file=sys.stderr,
            )

    def on_transform(self, result: TransformResult) -> None:
        self.line(
            "transform",
            "dbt",
            f"{result.model_count} models",
            f"{result.test_count} tests",
            "0 failed",
            elapsed_ms=result.elapsed_ms,
            note="everything" if result.is_full_refresh else "",
        )
        for name in result.warnings:
            print(f"warning    transform: {name} warns", file=sys.stderr)

    def on_validate(self, result: ValidateResult) -> None:
        if result.skipped:
            self.line("validate", "gx", "not due", elapsed_ms=result.elapsed_ms, note=result.skipped)
            return
        counts = (f"{result.suite_count} suites", f"{result.check_count} checks", f"{len(result.failed)} failed")
        self.line("validate", "gx", *counts, elapsed_ms=result.elapsed_ms, note=result.report if result.failed else "")
        for name in result.warnings:
            print(f"warning    validate: {name} warns; what to do: {result.report}", file=sys.stderr)

    def on_publish(self, result: TargetResult) -> None:
        self.line("publish", result.target, result.summary, elapsed_ms=result.elapsed_ms, note=result.location)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def _run(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.pipeline import Observer, run

    printer = _Printer(parsed, settings)
    observer = Observer(
        on_progress=printer.on_progress,
        on_extract=printer.on_extract,
        on_load=printer.on_load,
        on_transform=printer.on_transform,
        on_validate=printer.on_validate,
        on_publish=printer.on_publish,
    )
    result = run(
        settings,
        select=parsed.select,
        since=parsed.since,
        until=parsed.until,
        is_full_backfill=parsed.full_backfill,
        is_full_refresh=parsed.full_refresh,
        observer=observer,
    )
    _finish_run(parsed, settings, result)
    return 1 if result.failures and not parsed.keep_going else 0


def _finish_run(parsed: argparse.Namespace, settings: Settings, result: RunResult) -> None:
    for name, reason in result.failures.items():
        print(f"failed     {name}: {reason}", file=sys.stderr)
    if parsed.json:
        _print_json(result.as_json())
        return
    printer = _Printer(parsed, settings)
    if result.is_sample:
        printer.line("note", "sample data: no transcripts of your own were found, so these numbers are synthetic")
    if result.removed_sample_rows:
        printer.line(
            "note", f"the sample's {result.removed_sample_rows:,} rows left the lake: it has your own data now"
        )
    verdict = "failed" if result.failures else "ok"
    what = f"run {result.run_id}" if result.publish else f"run {result.run_id}: nothing new, nothing rebuilt"
    printer.line(verdict, what, elapsed_ms=result.elapsed_ms)


def _extract(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.extractor import extract, import_archive
    from analytics.lake import Lake, new_run_id

    printer = _Printer(parsed, settings)
    lake = Lake(settings.data_dir, settings.host_id)
    with lake.lock():
        if parsed.import_path is not None:
            result = import_archive(settings, lake, parsed.import_path, run_id=new_run_id(), select=parsed.select)
            printer.on_extract(result.results[0])
        else:
            result = extract(
                settings,
                lake,
                run_id=new_run_id(),
                select=parsed.select,
                since=parsed.since,
                until=parsed.until,
                is_full_backfill=parsed.full_backfill,
                on_progress=printer.on_progress,
                on_result=printer.on_extract,
            )
    for name, reason in result.failures.items():
        print(f"failed     {name}: {reason}", file=sys.stderr)
    if parsed.json:
        _print_json({"results": [entry.__dict__ for entry in result.results], "failures": result.failures})
    return 1 if result.failures and not parsed.keep_going else 0


def _capture(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.capture.command import run

    return run(parsed, settings)


def _load(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.lake import Lake, new_run_id
    from analytics.loader import DuckDBLoader
    from analytics.warehouse import open_warehouse

    lake = Lake(settings.data_dir, settings.host_id)
    with lake.lock(), open_warehouse(settings) as connection:
        result = DuckDBLoader(settings, lake, connection).load(run_id=new_run_id())
    _Printer(parsed, settings).on_load(result)
    if parsed.json:
        _print_json([entry.__dict__ for entry in result.datasets])
    return 0


def _transform(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.lake import Lake, new_run_id
    from analytics.pipeline import transform_and_plan

    lake = Lake(settings.data_dir, settings.host_id)
    with lake.lock():
        result = transform_and_plan(settings, lake, run_id=new_run_id(), is_full_refresh=parsed.full_refresh)
    _Printer(parsed, settings).on_transform(result)
    if parsed.json:
        _print_json(result.__dict__)
    return 0


def _validate(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.lake import Lake, new_run_id
    from analytics.validator import AuditFailed, validate

    lake = Lake(settings.data_dir, settings.host_id)
    printer = _Printer(parsed, settings)
    failure: AuditFailed | None = None
    with lake.lock():
        try:
            result = validate(settings, lake, run_id=new_run_id(), is_forced=True, is_everything=True)
        except AuditFailed as error:
            failure, result = error, error.result
    printer.on_validate(result)
    if parsed.json:
        _print_json(result.__dict__ | {"checks": [check.__dict__ for check in result.checks]})
    if failure:
        raise failure
    return 0


def _publish(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.lake import Lake, new_run_id
    from analytics.publisher import publish
    from analytics.validator import require_passed_audit

    with Lake(settings.data_dir, settings.host_id).lock():
        require_passed_audit(settings)
        result = publish(settings, run_id=new_run_id(), on_result=_Printer(parsed, settings).on_publish)
    for name, reason in result.failures.items():
        print(f"failed     {name}: {reason}", file=sys.stderr)
    if parsed.json:
        _print_json([entry.__dict__ for entry in result.targets])
    return 1 if result.failures else 0


def _status(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.status import read_status

    status = read_status(settings)
    if parsed.json:
        _print_json(status)
    elif not parsed.quiet:
        for section, facts in status.items():
            for name, value in facts.items():
                print(f"{section:<10} {name:<28} {value}")
    return 0


def _doctor(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.doctor import examine

    findings = examine(settings)
    if parsed.json:
        _print_json([finding.__dict__ for finding in findings])
    elif not parsed.quiet:
        for finding in findings:
            print(f"{finding.verdict:<8} {finding.subject:<16} {finding.message}")
    return 1 if any(finding.verdict == "failed" for finding in findings) else 0


def _show(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.reader import published_tables, quote

    tables = published_tables(settings)
    if parsed.table not in tables:
        raise ConfigError(f"show: there is no table {parsed.table!r}. There are: {', '.join(tables)}.")
    parsed.sql = f"select * from gold.{quote(parsed.table)} limit {max(parsed.limit, 0)}"
    return _query(parsed, settings)


def _query(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.reader import Form, read_query, render, write_parquet

    if parsed.parquet is not None:
        count = write_parquet(settings, parsed.sql, parsed.parquet)
        print(f"{count:,} rows written to {parsed.parquet}", file=sys.stderr)
        return 0
    table = read_query(settings, parsed.sql)
    form: Form = "json" if parsed.json else "csv" if parsed.csv else "table"
    sys.stdout.write(render(table, form))
    return 0


def _report(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.targets.report import REPORT, Restriction, write_report

    restriction = Restriction(since=parsed.since, until=parsed.until, project=parsed.project)
    if parsed.out is None and restriction != Restriction():
        raise ConfigError("report: say with --out FILE where a page of only some data goes.")
    file = (parsed.out or settings.published_dir / REPORT).absolute()
    size = write_report(settings, file, restriction)
    if parsed.json:
        _print_json({"file": str(file), "byte_count": size})
    elif not parsed.quiet:
        print(f"report     {size / 1e6:.1f} MB   {file}")
    if parsed.open:
        import webbrowser

        webbrowser.open(file.as_uri())
    return 0


def _export(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.reader import published_tables, quote, read_query, render, write_parquet

    tables = published_tables(settings)
    if parsed.table not in tables:
        raise ConfigError(f"export: there is no table {parsed.table!r}. There are: {', '.join(tables)}.")
    sql = f"select * from gold.{quote(parsed.table)}"
    texts: dict[Path, Literal["csv", "json"]] = {}
    if parsed.csv:
        texts[parsed.csv] = "csv"
    if parsed.json:
        texts[parsed.json] = "json"
    if not texts and not parsed.parquet:
        raise ConfigError("export: name a file with --csv, --json or --parquet.")
    table = read_query(settings, sql)
    for file, form in texts.items():
        try:
            file.write_text(render(table, form), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"export: {file} cannot be written.") from error
    if parsed.parquet:
        write_parquet(settings, sql, parsed.parquet)
    for file in [*texts, *([parsed.parquet] if parsed.parquet else [])]:
        if not parsed.quiet:
            print(f"export     {parsed.table:<28} {table.num_rows:,} rows   {file}")
    return 0


def _prune(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.prune import prune

    removed = prune(settings, before=parsed.before, is_dry_run=parsed.dry_run)
    if parsed.json:
        _print_json(removed)
    elif not parsed.quiet:
        verb = "would go" if parsed.dry_run else "removed"
        for name, count in removed.items():
            print(f"prune      {name:<28} {count:,} {verb}")
    return 0
