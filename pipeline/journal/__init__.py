"""The journal of a service: what it has classified, and what people say the images show.

A journal is a folder:

    parts/ID.parquet    entries, at most one new file a second from each process of the service
    votes/ID.parquet    votes on entries
    removed/ID          the entry ID is removed: readers skip it, and upkeep erases it
    key                 the secret of the journal, drawn when it is created
"""
