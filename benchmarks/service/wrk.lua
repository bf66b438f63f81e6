-- Makes wrk post the file named last on its command line, and print a line of JSON at its end.

function init(arguments)
  wrk.method = "POST"
  wrk.body = io.open(arguments[1], "rb"):read("*a")
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
