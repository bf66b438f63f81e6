"""The HTTP service: pictures and images in, classes out.

- `app` assembles the service, `server` runs it, on the sockets of `sockets`, with the token of
  `token` and the log of `log`.
- `processes` starts, replaces and stops the processes of the service, `shared` holds the numbers
  that they share.
- `pool` holds the models, `state` the state that all routes share, `limits` the limits on requests.
- `routes/` holds a router for each concern, `middleware/` the layers around all routes: the access
  log, responses, authentication and admission.
- `bodies` reads the body of a request, `uploads` finds a picture in it, `threads` runs the model,
  `connections` disconnects hostile clients.
- `protocol` implements the Open Inference Protocol, `messages` its JSON, `documentation` describes
  the interface, `errors` builds error responses, `figures` finds the reports that the page shows.
- `metrics` counts for Prometheus, `process_metrics` measures the processes.
- `page/` runs in the browser.
"""
