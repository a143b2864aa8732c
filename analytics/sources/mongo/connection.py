"""The server: connecting, its clock, its indexes, and what its failures mean.

Read rights on the one database are enough (the built-in role `read`). No message repeats the URI's
user or password, nor the driver's own text, which may.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_concern import ReadConcern

from analytics.errors import ConfigError, SourceUnavailable
from analytics.records import EPOCH
from analytics.sources.mongo.documents import CODEC, Document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.collection import Collection

    from analytics.config import Settings

SELECTION_TIMEOUT_MS = 5_000
SOCKET_TIMEOUT_MS = 300_000
INGESTED_AT = "ingestedAt"
PAIR_INDEX = ((INGESTED_AT, 1), ("_id", 1))

# Server errors that a new cursor, after a while, does not meet again: fail-over, shutdown, killed cursors.
_PASSING_CODES = frozenset(
    {6, 7, 43, 63, 89, 91, 134, 175, 189, 237, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
)
_AUTHENTICATION_FAILED, _UNAUTHORIZED = 18, 13


Order = Literal["id", "pair", "instant"]


class ServerGone(SourceUnavailable):
    """The server cannot be reached now, or went away: the same may work in a while."""


@dataclass(frozen=True)
class Server:
    """An open client and the collection to read, with majority reads."""

    client: MongoClient[Document]
    collection: Collection[Document]
    address: str

    @property
    def name(self) -> str:
        """The collection's full name."""
        return self.collection.full_name

    def now_ms(self) -> int:
        """The server's own clock, in milliseconds since 1970. This host's clock decides nothing."""
        now: datetime = self.client.admin.command("hello")["localTime"]
        return (now.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def address_of(uri: str) -> str:
    """Hosts and ports of a URI, without user, password, path and options."""
    rest = re.sub(r"^[a-z+]*://", "", uri.strip(), flags=re.IGNORECASE)
    # Options go first, which may hold an @. A password with a / in it must not pass for an address.
    return rest.partition("?")[0].rpartition("@")[2].partition("/")[0].lower() or "an unnamed host"


@contextlib.contextmanager
def open_server(settings: Settings) -> Iterator[Server]:
    """A connection that has been tried: the server answers, and the collection is there.

    Raises:
        ConfigError: no server is named.
        SourceUnavailable: the server is down, refuses the user, or lacks the collection.
    """
    if not settings.mongo_uri:
        raise ConfigError("mongo: no server is named. Set ANALYTICS_MONGO_URI, or leave out --select mongo.")
    server = connect(settings)
    try:
        with explained(server.address, settings):
            server.client.admin.command("ping")
            names = server.collection.database.list_collection_names(filter={"name": settings.mongo_collection})
        if not names:
            raise SourceUnavailable(
                f"mongo: there is no collection {server.name} at {server.address}. "
                "Set ANALYTICS_MONGO_DATABASE and ANALYTICS_MONGO_COLLECTION to the one the sync service fills."
            )
        with explained(server.address, settings):
            yield server
    finally:
        server.client.close()


def connect(settings: Settings) -> Server:
    """A client that has not been tried yet; it connects with the first question, and anew after a failure.

    Raises:
        SourceUnavailable: the URI or a name is malformed.
    """
    uri = settings.mongo_uri
    client = _open_client(uri)
    with explained(address_of(uri), settings):
        collection = client.get_database(settings.mongo_database).get_collection(
            settings.mongo_collection, codec_options=CODEC, read_concern=ReadConcern("majority")
        )
    return Server(client, collection, address_of(uri))


def _open_client(uri: str) -> MongoClient[Document]:
    options: dict[str, Any] = {
        "serverSelectionTimeoutMS": SELECTION_TIMEOUT_MS,
        "connectTimeoutMS": SELECTION_TIMEOUT_MS,
        "socketTimeoutMS": SOCKET_TIMEOUT_MS,
        "appname": "analytics",
    }
    own = {name: value for name, value in options.items() if name.lower() not in uri.lower()}
    try:
        with warnings.catch_warnings():
            # The driver only warns of an option it does not understand, tls=maybe say, and goes on without.
            warnings.simplefilter("error", UserWarning)
            return MongoClient(uri, **own)
    except (InvalidURI, ConfigurationError, InvalidName, ValueError, TypeError, UserWarning):
        # No address and no cause: what could not be read may be half a password, and the driver quotes it.
        raise SourceUnavailable(
            "mongo: ANALYTICS_MONGO_URI is not understood. It looks like "
            "mongodb://user:password@host:27017/?authSource=admin, with special characters percent-encoded."
        ) from None


@contextlib.contextmanager
def explained(address: str, settings: Settings) -> Iterator[None]:
    """Turn the driver's errors into ours, which say what to do and carry no credentials."""
    try:
        yield
    except ServerSelectionTimeoutError:
        raise ServerGone(
            f"mongo: no server answers at {address}. Start it, mend ANALYTICS_MONGO_URI, or unset it to go without."
        ) from None
    except OperationFailure as error:
        kind = ServerGone if is_passing(error) else SourceUnavailable
        raise kind(_explain_refusal(error, address, settings)) from None
    except ConnectionFailure:
        raise ServerGone(
            f"mongo: the connection to {address} broke and did not come back. The next run goes on from there."
        ) from None
    except PyMongoError as error:
        raise SourceUnavailable(
            f"mongo: reading from {address} failed ({type(error).__name__}). Check the server, then run again."
        ) from None


def _explain_refusal(error: OperationFailure, address: str, settings: Settings) -> str:
    if error.code == _AUTHENTICATION_FAILED:
        return (
            f"mongo: {address} refuses the user or the password of ANALYTICS_MONGO_URI. "
            "Mend them; the user's own database may have to be named with ?authSource=."
        )
    if error.code == _UNAUTHORIZED:
        database = settings.mongo_database
        return (
            f"mongo: the user of ANALYTICS_MONGO_URI may not read {database} at {address}. "
            f"Grant it: db.grantRolesToUser('<user>', [{{role: 'read', db: '{database}'}}])"
        )
    name = (error.details or {}).get("codeName", "unknown")
    return (
        f"mongo: {address} refused a command ({name}, code {error.code}). "
        "Check the server's log and the user's rights, then run again."
    )


def is_passing(error: PyMongoError) -> bool:
    """Whether reading again from the last key, after a while, can help."""
    if isinstance(error, AutoReconnect | CursorNotFound | ConnectionFailure):
        return True
    return isinstance(error, OperationFailure) and (
        error.code in _PASSING_CODES or error.has_error_label("RetryableWriteError")
    )


def find_index(server: Server) -> tuple[Order, str] | None:
    """The index that increments are read by: `pair` is one on (ingestedAt, _id), `instant` another that begins so."""
    found: tuple[Order, str] | None = None
    for index in server.collection.list_indexes():
        keys = tuple(index["key"].items())
        is_partial = any(index.get(option) for option in ("sparse", "hidden", "partialFilterExpression"))
        if is_partial or keys[0] not in ((INGESTED_AT, 1), (INGESTED_AT, -1)):
            continue
        if keys == PAIR_INDEX:
            return "pair", index["name"]
        found = found or ("instant", index["name"])
    return found


def find_order(server: Server, *, small_count: int) -> tuple[Order, str | None]:
    """In which order increments can be read, by the indexes there are, and the index to read by.

    `id` where there is none, while the collection is small enough to be scanned.

    Raises:
        SourceUnavailable: the collection is large and has no such index; it gives the line that makes one.
    """
    if found := find_index(server):
        return found
    if server.collection.estimated_document_count() <= small_count:
        return "id", None
    raise SourceUnavailable(
        f"mongo: {server.name} at {server.address} has no index on ingestedAt, so an increment would read all of it. "
        f"Create one: db.{server.collection.name}.createIndex({{ingestedAt: 1, _id: 1}})"
    )
