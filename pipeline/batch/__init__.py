"""Many images at once: `predict` prints the answers, `score` writes them to a Parquet file.

- Input: `input_files` expands names, folders and patterns to files; `readers` split an input of any
  size into shards.
- Work: `worker` scores one shard into a file. `score` runs it for one shard after another on all
  cores of this machine, `cluster` for one shard per core of a Ray cluster.
- Output: `formats` writes the answers of `predict`; `output` and `scratch` protect other files from
  being overwritten.
"""
