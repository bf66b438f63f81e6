"""The HTTP service: pictures and images in, classes out.

- `app` assembles it, `server` runs it on a host and a port.
- `pool` has the models, `state` what all routes share, `limits` what a request may cost.
- `routes/` has a router for each concern, `middleware/` what lies around all of them: the log,
  the headers, the token, and how many requests there are at a time.
- `bodies` reads what a request sends and `uploads` takes a picture out of it, `workers` has the
  threads, `connections` the clients that are too slow.
- `protocol` is the Open Inference Protocol, `messages` its JSON, `documentation` the description of
  the interface, `errors` what is wrong with a request, `metrics` what Prometheus reads, `figures`
  the reports that the page shows.
- `page/` is what a browser runs.
"""
