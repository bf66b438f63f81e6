"""Large inputs, split into shards, each of which can be read independently, in batches.

`opening` chooses the reader by a file's content: `arrays`, `parquet`, or `files` for files with one
image each. All implement `shards.Shards`.
"""
