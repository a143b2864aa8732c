"""Source `mongo`: the documents of `claude_logs.conversations`, one per transcript line.

A sync service outside this project fills the collection; it writes lines twice, late, and many with
one `ingestedAt`. How nothing is lost and nothing counted twice: README.md beside this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.sources import ExtractContext, ExtractResult, Source

if TYPE_CHECKING:
    from analytics.config import Settings

NAME = "mongo"
DATASET = "conversations"


def is_enabled(settings: Settings) -> bool:
    """Whether a server is named."""
    return bool(settings.mongo_uri)


def extract(context: ExtractContext) -> ExtractResult:
    """Read what is new in the collection into the lake; see `MongoExtractor`."""
    from analytics.sources.mongo.extraction import MongoExtractor  # pymongo is for those who use it

    return MongoExtractor(context).extract()


SOURCE = Source(name=NAME, dataset=DATASET, is_enabled=is_enabled, extract=extract)
