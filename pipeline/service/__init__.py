"""The HTTP service: pictures and images in, classes out.

- `app` assembles the service, `server` runs it on a host and a port.
- `pool` holds the models, `state` the state that all routes share, `limits` the limits on requests.
- `routes/` holds a router for each concern, `middleware/` the layers around all routes: the access
  log, security headers, authentication and admission.
- `bodies` reads the body of a request, `uploads` finds a picture in it, `threads` runs the
  model, `connections` disconnects slow clients.
- `protocol` implements the Open Inference Protocol, `messages` its JSON, `documentation` describes
  the interface, `errors` builds error responses, `metrics` counts for Prometheus, `figures` finds
  the reports that the page shows.
- `page/` runs in the browser.
"""
