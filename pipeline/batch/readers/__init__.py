"""Large inputs, cut into shards: each can be read without the others, and is read in batches.

`opening` decides by the content of a file who reads it: `arrays`, `parquet`, or `files` with one
image each. All are `shards.Shards`.
"""
