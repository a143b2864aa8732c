"""Batch ELT analytics for Claude Code: sources in, targets out, contracts in between."""

import os

__version__ = "0.1.0"

# Before anything imports Arrow, which brings numpy, whose library for matrices starts threads that spin for a while:
# a tenth of a second of processor time for each process. Here nothing has matrices.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
