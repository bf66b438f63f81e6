"""Large inputs, split into shards. Each can be read without the others, in batches.

`opening` chooses the reader by a file's content: `arrays`, `parquet`, or `files` for files with one
image each. All implement `shards.Shards`.
"""
