"""The journal of a service: what it has classified, and what people say the images show.

A journal is a folder:

    parts/ID.parquet            entries; a process of the service adds at most a file a second
    votes/ID.parquet            votes on entries
    labelled/parts/ID.parquet   entries that are kept beyond the limits, because they have votes
    labelled/votes/ID.parquet   votes on them
    removed/ID                  the entry ID is removed: readers skip it, and upkeep erases it
    key                         the secret of the journal, drawn when it is created
"""
