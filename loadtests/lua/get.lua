-- A GET with Host and nothing else.
dofile("summary.lua")
