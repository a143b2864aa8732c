"""The command line: parse, call one function, print one summary.

stdout is the result, stderr the story. Exit codes: 0 done, 1 failed, 2 usage or setting, 3 checks
failed and nothing published, 75 another run holds the lock, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics import __version__, telemetry
from analytics.annotations import add_verbs as add_annotation_verbs
from analytics.capture.command import add_arguments as add_capture_arguments
from analytics.config import Settings, load_settings
from analytics.errors import AnalyticsError, ConfigError, describe_bug, describe_refusal, unwritable
from analytics.files import PRIVATE_UMASK, shown_name
from analytics.interruption import EXIT_CODE as INTERRUPTED
from analytics.interruption import is_interrupted, stop_in_order, tell_stopped
from analytics.printer import Printer, say
from analytics.workers import GC_THRESHOLD, without_pandas

if TYPE_CHECKING:
    import pyarrow as pa


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    os.umask(PRIVATE_UMASK)
    telemetry.switch_off()
    gc.set_threshold(*GC_THRESHOLD)
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    code = INTERRUPTED
    try:
        settings = load_settings(_overrides(parsed))
        is_reader = parsed.command in (_status, _doctor, _show, _query)
        needs_pandas = parsed.command in (_transform, _validate)
        with (
            contextlib.nullcontext() if is_reader else stop_in_order(),
            contextlib.nullcontext() if needs_pandas else without_pandas(),
        ):
            code = parsed.command(parsed, settings)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        if not is_interrupted():
            if parsed.debug:
                say(getattr(error, "remote_traceback", ""), sys.stderr, end="")
                raise
            say(f"error      {_explain(error)}", sys.stderr)
            code = error.exit_code if isinstance(error, AnalyticsError) else 1
    if code == INTERRUPTED or is_interrupted():
        tell_stopped()
        return INTERRUPTED
    return code


def _explain(error: Exception) -> str:
    """What happened and what to do. An unexpected error is told by its class and place: its message may quote a row."""
    if isinstance(error, AnalyticsError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        return f"{describe_refusal(error)}. Mend that, then run again."
    return describe_bug(error)


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar. Flags mean the same with every verb."""
    parser = argparse.ArgumentParser(
        prog="analytics",
        description="Claude Code analytics: transcripts, hooks and MongoDB into trusted marts.",
        parents=[_common_flags()],
    )
    parser.set_defaults(json=False, quiet=False, debug=False)
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
                help="read all of an archive of the selected source's events",
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
    added = verb("show", _show, "print a published table, or list them")
    added.add_argument("table", nargs="?", help="name of a gold table, such as agg_daily_summary; without, their names")
    added.add_argument("--limit", type=_row_limit, default=20, help="rows at most (20)")
    _add_format_flags(added)
    added = verb("query", _query, "run SQL on the published tables")
    added.add_argument("sql", help="one statement, in quotes")
    _add_format_flags(added)
    added = verb("report", _report, "write the dashboards as one HTML page, or only some days or one project of them")
    added.add_argument("--since", type=_day, help="only days from this one on (inclusive)")
    added.add_argument("--until", type=_day, help="only days before this one (exclusive)")
    added.add_argument("--project", default="", help="only this project: its path, or the last part of it")
    added.add_argument("--out", type=Path, metavar="FILE", help="write here instead of the published folder")
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
    added.add_argument(
        "--before",
        type=_day,
        help="also delete the lake's days before this one, for good, whatever ANALYTICS_KEEP_DAYS",
    )
    added.add_argument("--dry-run", action="store_true", help="say what would go, delete nothing")
    return parser


def _common_flags(*, has_json: bool = True) -> argparse.ArgumentParser:
    """The flags that stand before or after the verb. One not given leaves no trace, or it would undo the other."""
    parent = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common = parent.add_argument_group("with every verb")
    common.add_argument("--data-dir", help="data folder (ANALYTICS_DATA_DIR)")
    common.add_argument("--transcript-dirs", help="folders of transcripts, ':' between (ANALYTICS_TRANSCRIPT_DIRS)")
    common.add_argument("--timezone", help="reporting time zone (ANALYTICS_TIMEZONE)")
    common.add_argument("--content", help="full, redacted or metadata (ANALYTICS_CONTENT)")
    if has_json:
        common.add_argument("--json", action="store_true", help="print the same facts as JSON")
    common.add_argument("--quiet", action="store_true", help="print nothing but errors")
    common.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    return parent


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


def _row_limit(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def _overrides(parsed: argparse.Namespace) -> dict[str, str]:
    names = ("data_dir", "transcript_dirs", "timezone", "content")
    return {name: value for name in names if (value := getattr(parsed, name, None))}


def _printer(parsed: argparse.Namespace, settings: Settings) -> Printer:
    return Printer(settings, is_json=parsed.json, is_quiet=parsed.quiet)


def _bug_printer(parsed: argparse.Namespace) -> Callable[[Exception], None] | None:
    return traceback.print_exception if parsed.debug else None


def _run(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.pipeline import Observer, RunOptions, run

    printer = _printer(parsed, settings)
    observer = Observer(
        on_progress=printer.on_progress,
        on_extract=printer.on_extract,
        on_load=printer.on_load,
        on_transform=printer.on_transform,
        on_validate=printer.on_validate,
        on_publish=printer.on_publish,
        on_bug=_bug_printer(parsed),
    )
    options = RunOptions(
        select=parsed.select,
        since=parsed.since,
        until=parsed.until,
        is_full_backfill=parsed.full_backfill,
        is_full_refresh=parsed.full_refresh,
    )
    result = run(settings, options, observer)
    printer.on_run(result)
    return 1 if result.failures and not parsed.keep_going else 0


def _extract(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.extractor import extract, import_archive
    from analytics.lake import Lake, new_run_id

    if parsed.import_path is not None and (parsed.since or parsed.until or parsed.full_backfill):
        raise ConfigError("--import reads all of an archive. Leave out --since, --until and --full-backfill.")
    printer = _printer(parsed, settings)
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
    printer.failures(result.failures)
    has_sources = result.results or result.failures
    idle = "extract    nothing to read: no source is named, none was found"
    printer.facts(result.as_json(), () if has_sources else [idle])
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
    printer = _printer(parsed, settings)
    printer.on_load(result)
    printer.facts(result.as_json())
    return 0


def _transform(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.lake import Lake, new_run_id
    from analytics.pipeline import plan_and_transform

    lake = Lake(settings.data_dir, settings.host_id)
    with lake.lock():
        result = plan_and_transform(settings, lake, run_id=new_run_id(), is_full_refresh=parsed.full_refresh)
    printer = _printer(parsed, settings)
    printer.on_transform(result)
    printer.facts(result.as_json())
    return 0


def _validate(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.lake import Lake, new_run_id
    from analytics.validator import AuditFailed, validate

    lake = Lake(settings.data_dir, settings.host_id)
    printer = _printer(parsed, settings)
    failure: AuditFailed | None = None
    with lake.lock():
        try:
            result = validate(settings, lake, run_id=new_run_id(), is_everything=True)
        except AuditFailed as error:
            failure, result = error, error.result
    printer.on_validate(result)
    printer.facts(result.as_json())
    if failure:
        raise failure
    return 0


def _publish(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.lake import Lake, new_run_id
    from analytics.publisher import publish
    from analytics.validator import require_release

    printer = _printer(parsed, settings)
    with Lake(settings.data_dir, settings.host_id).lock():
        require_release(settings)
        result = publish(settings, run_id=new_run_id(), on_result=printer.on_publish, on_bug=_bug_printer(parsed))
    printer.failures(result.failures)
    printer.facts(result.as_json())
    return 1 if result.failures else 0


def _status(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.status import read_status

    status = read_status(settings)
    facts = ((section, name, value) for section, facts in status.items() for name, value in facts.items())
    _printer(parsed, settings).facts(status, (f"{section:<10} {name:<28} {value}" for section, name, value in facts))
    return 0


def _doctor(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.doctor import examine

    findings = examine(settings)
    _printer(parsed, settings).facts(
        [finding.as_json() for finding in findings],
        (f"{finding.verdict:<8} {finding.subject:<16} {finding.message}" for finding in findings),
    )
    return 1 if any(finding.verdict == "failed" for finding in findings) else 0


def _show(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.reader import list_tables, read_table

    table = read_table(settings, parsed.table, limit=parsed.limit) if parsed.table else list_tables(settings)
    _print_table(parsed, settings, table)
    return 0


def _query(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.reader import read_query

    _print_table(parsed, settings, read_query(settings, shown_name(parsed.sql)))
    return 0


def _print_table(parsed: argparse.Namespace, settings: Settings, table: pa.Table) -> None:
    from analytics.reader import Form, render, write_table

    if parsed.parquet is not None:
        write_table(table, parsed.parquet, "parquet")
        _printer(parsed, settings).story("ok", f"{table.num_rows:,} rows written to {parsed.parquet}")
        return
    form: Form = "json" if parsed.json else "csv" if parsed.csv else "table"
    say(render(table, form), sys.stdout, end="")


def _report(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.targets.report import Restriction, write_report

    restriction = Restriction(since=parsed.since, until=parsed.until, project=parsed.project)
    file = (parsed.out or settings.published_dir / restriction.file_name).absolute()
    if parsed.out and (file.is_dir() or not file.parent.is_dir()):
        raise unwritable(file)
    size = write_report(settings, file, restriction)
    facts = {"file": str(file), "byte_count": size}
    _printer(parsed, settings).facts(facts, [f"report     {size / 1e6:.1f} MB   {file}"])
    if parsed.open:
        import webbrowser

        webbrowser.open(file.as_uri())
    return 0


def _export(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.reader import EXPORTED_FORMS, read_table, write_table

    files = {form: file for form in EXPORTED_FORMS if (file := getattr(parsed, form))}
    if not files:
        raise ConfigError("export: name a file with --csv, --json or --parquet.")
    table = read_table(settings, parsed.table)
    for form, file in files.items():
        write_table(table, file, form)
    lines = [f"export     {parsed.table:<28} {table.num_rows:,} rows   {file}" for file in files.values()]
    Printer(settings, is_quiet=parsed.quiet).facts(None, lines)
    return 0


def _prune(parsed: argparse.Namespace, settings: Settings) -> int:
    from analytics.prune import prune

    removed = prune(settings, before=parsed.before, is_dry_run=parsed.dry_run)
    verb = "would go" if parsed.dry_run else "removed"
    lines = [f"prune      {name:<28} {count:,} {verb}" for name, count in removed.items()]
    if removed.get("lake_rows") and not parsed.dry_run:
        lines.append("ok         the marts show what is left after the next run")
    _printer(parsed, settings).facts(removed, lines)
    return 0
