-- One line of JSON behind wrk's own text: exact figures, no units to parse.
-- All scripts set headers and body when they are loaded and define no request(),
-- so that wrk builds the request once and Lua costs nothing while it runs.
done = function(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\nSUMMARY {"microseconds": %d, "requests": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, '
         .. '"p999_us": %d, "errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.duration, summary.requests, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
