"""Batch ELT analytics for Claude Code: sources in, targets out, contracts in between."""

__version__ = "0.1.0"
