"""The HTTP service.

`app` has the routes, `protocol` the Open Inference Protocol, `guard` what keeps it safe, `metrics`
what Prometheus reads, and `page/` what a browser shows.
"""
