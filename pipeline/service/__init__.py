"""The HTTP service: pictures and images in, classes out.

- `app` assembles the service, `server` runs it, on the sockets of `sockets`, with the token of
  `token` and the log of `log`.
- `processes` starts, replaces and stops the processes of the service, `shared` holds the numbers
  that they share.
- `pool` holds the models, `sources` finds the champion, `loading` verifies and loads models,
  `following` swaps them, and `orders` tells all processes what to load.
- `state` is what all routes share, `limits` the limits on requests.
- `routes/` holds a router for each concern, `middleware/` the layers around all routes: the access
  log, responses, authentication and admission.
- `bodies` reads the body of a request, `uploads` finds a picture in it, `threads` runs the model,
  `connections` disconnects hostile clients.
- `protocol` implements the Open Inference Protocol, `messages` its JSON, `repository_messages` that
  of Triton's model repository extension. `documentation` describes the interface, with
  `descriptions` of the routes and `examples`. `errors` builds error responses, `figures` finds the
  figures that the page shows.
- `journaling` keeps answers and labels in a journal, `journal_start` opens it, `journal_messages`
  and `journal_metrics` are its JSON and its counts; `rate_limit` slows clients down.
- `challenger/` compares a second model with the champion.
- `metrics` counts for Prometheus, `version_metrics` by the version of the model, `model_metrics`
  the models themselves, `process_metrics` the processes; `histograms` and `families` have
  what they share.
- `page/` runs in the browser.
"""
