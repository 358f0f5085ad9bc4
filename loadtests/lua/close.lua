-- A new connection for each request.
dofile("summary.lua")
wrk.headers["Connection"] = "close"
