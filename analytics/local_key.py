"""The data folder's own random key: for the tags of secrets, and for the name of the host."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from analytics.errors import ConfigError
from analytics.files import create_private_file, make_private_folder

KEY_NAME = "local.key"  # in the data folder
KEY_BYTES = 32


def load_or_create_key(path: Path) -> bytes:
    """The machine's own key of 32 random bytes, made at first use; of two processes that race, one wins.

    It never leaves the machine: without it nobody can test whether a tag stands for a guessed secret.

    Raises:
        ConfigError: the file cannot be read or made, or is no key.
    """
    try:
        if not path.exists():
            _create_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"redaction key: {path} cannot be read or made. Check the rights of its folder.") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"redaction key: {path} is no key of {KEY_BYTES} bytes. Remove it to get a new one.")
    return key


def _create_key(path: Path) -> None:
    """Write aside and link: the name appears with all its bytes or not at all, and never replaces another's."""
    make_private_folder(path.parent)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        create_private_file(unfinished, secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
