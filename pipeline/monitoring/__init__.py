"""Watching a model in use: the journal's images against images held out of training.

- `observations` and `image_statistics` are what is compared, `statistics` the tests,
  `reference` what the tests compare with, and `thresholds` when a window raises an alarm,
- `quality` estimates accuracy without labels and measures it with them, `labels` reads votes,
- `watch` judges the journal's new windows, `state` is the file in which it remembers them,
- `figures`, `report` and `metrics` show the result to people and to Prometheus.
"""
