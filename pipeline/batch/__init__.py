"""Many images at once: `predict` prints the answers, `score` writes them to a Parquet file.

- What goes in: `input_files` finds the files that names, folders and patterns mean; `readers` cut
  an input of any size into shards.
- Who works: `worker` scores a shard into a file; `score` calls it for one shard after the other on
  all cores of this machine, `cluster` for one on each core of a Ray cluster.
- What comes out: `formats` has the tables of `predict`, `output` and `scratch` keep other files
  from being overwritten.
"""
