-- A POST of 10,000 bytes.
dofile("summary.lua")
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("0123456789", 1000)
