"""The HTTP service.

`app` has the routes, `documentation` what /docs says of them, `protocol` the Open Inference
Protocol, `uploads` pictures as bodies, `figures` the reports that the page shows, and `page/` what
a browser runs. `guard` has limits, token and log, `connections` and `bodies` keep clients to the
limits, `work` has the threads, and `metrics` what Prometheus reads.
"""
