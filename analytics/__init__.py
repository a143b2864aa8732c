"""Batch ELT analytics for Claude Code: sources in, targets out, contracts in between."""

import os

__version__ = "0.1.0"

# Before anything imports Arrow, which brings numpy, whose library for matrices starts threads that spin for a while:
# a tenth of a second of processor time for each process. Here nothing has matrices.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Before anything imports DuckDB, whose allocator otherwise keeps what was freed for each core by itself: over 6 GB of
# transcripts 564 to 584 MB in place of 586 to 631, and no slower.
os.environ.setdefault("DUCKDB_JE_MALLOC_CONF", "narenas:1")
