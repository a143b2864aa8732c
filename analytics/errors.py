"""Every failure this package raises on purpose, grouped by what the caller should do about it."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class AnalyticsError(Exception):
    """Base of all expected failures. `exit_code` is what the command line ends with.

    `remote_traceback` tells where a failure in another process of the run came from. It may hold text
    of the user's: only `--debug` shows it.
    """

    exit_code = 1
    remote_traceback = ""


class ConfigError(AnalyticsError):
    """A setting or an argument is wrong: fix it and run again."""

    exit_code = 2


class SourceUnavailable(AnalyticsError):
    """A source cannot be read now: trying again later may help; the other sources are unaffected."""


class ContractViolation(AnalyticsError):
    """A record does not fit its dataset: it belongs in the dead letter, the rest goes on."""


class ChecksFailed(AnalyticsError):
    """A test or an expectation objected: nothing is published, readers keep the last good snapshot."""

    exit_code = 3


class PublishError(AnalyticsError):
    """A target could not be written: publishing alone may be tried again."""


class LockHeld(AnalyticsError):
    """Another pipeline is writing to the same data folder: wait for it or stop it."""

    exit_code = 75


OUT_OF_MEMORY = "there is not enough for this. End other programs, or set ANALYTICS_WORKERS=1, and run again."


def reason_of(error: OSError) -> str:
    """What the system says of a failure, or its kind where it gave no number. The error's own text may quote a row."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def describe_refusal(error: OSError) -> str:
    """What the system refused, where it names that, and why."""
    return f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)


def unwritable(file: Path) -> ConfigError:
    """What to do about a file that the user named."""
    return ConfigError(f"{file} cannot be written. Name a file in a folder that you may write to.")


def describe_bug(error: Exception) -> str:
    """The class and the place of an unexpected error. Its message may quote a row, and is for its owner.

    One that is nobody's mistake but the machine's lack of memory is told as that.
    """
    if isinstance(error, MemoryError):
        return f"memory: {OUT_OF_MEMORY}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__} in {last.filename.rpartition('/')[2]}, line {last.lineno}: a bug. "
        "The same command with --debug shows all of it; what it shows may hold text of yours."
    )
