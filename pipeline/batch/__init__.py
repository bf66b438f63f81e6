"""Many images at once: `predict` shows answers, `score` writes a Parquet file of any size."""

from enum import StrEnum


class Format(StrEnum):
    """How `predict` writes its answers."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
