"""Watching a model in use: the journal's images against images held out of training.

- `monitor` reads a journal once: `windows` finds what is new in it, `watch` judges that, `state` is
  the file in which it remembers the result,
- `observations` and `image_statistics` are what is compared, `statistics` the tests, `drift`
  applies them to windows, `reference` is what they compare with, `thresholds` says when a window
  raises an alarm, and `baseline` keeps both in a file,
- `quality` estimates accuracy without labels and measures it with them, `labels` reads votes,
- `figures`, `report` and `metrics` show the result to people and to Prometheus.
"""
