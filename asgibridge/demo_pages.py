"""The pages of the demo: what visitors see, as templates.  Whatever they sent is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from string import Template
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from asgibridge import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CHAT_POLICY", "chat_page", "main_page"]


def main_page(
    interface: str,
    root: str,
    facts: Iterable[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
) -> str:
    """Render the page that shows the server at work, for an application mounted at *root*."""
    safe_root = html.escape(quote(root))
    return _PAGE.substitute(
        version=html.escape(__version__),
        interface=interface,
        root=safe_root,
        chat=_CHAT_LINK.format(root=safe_root) if interface == "ASGI" else "",
        facts=_rows(facts),
        headers=_rows(headers),
    )


def _rows(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in pairs
    )


def chat_page(root: str) -> str:
    """Render the page, for an application mounted at *root*."""
    return _CHAT_PAGE.substitute(
        root=html.escape(quote(root)), style=_CHAT_STYLE, script=_CHAT_SCRIPT
    )


_CHAT_SCRIPT: Final = """\
"use strict";
const log = document.getElementById("log");
const form = document.forms[0];
const state = document.getElementById("state");
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const socket = new WebSocket(`${scheme}//${location.host}${location.pathname}`);
let me = "";
function show(kind, who, text) {
  const line = document.createElement("li");
  line.className = kind;
  const name = document.createElement("b");
  name.textContent = who + (who === me ? " (you)" : "");
  line.append(name, " ", text);
  log.append(line);
  line.scrollIntoView();
}
socket.onmessage = (event) => {
  const told = JSON.parse(event.data);
  if (told.you) { me = told.you; return; }
  if (told.said) show("said", told.who, told.said); else show("did", told.who, told.did);
  state.textContent = `connected, ${told.here} here`;
};
socket.onclose = (event) => {
  form.said.disabled = true;
  state.textContent = `closed with ${event.code} ${event.reason}`;
};
form.onsubmit = (event) => {
  event.preventDefault();
  socket.send(form.said.value);
  form.said.value = "";
};
"""
_digest: Final = base64.b64encode(hashlib.sha256(_CHAT_SCRIPT.encode()).digest()).decode("ascii")
CHAT_POLICY: Final = (
    f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; "
    f"script-src 'sha256-{_digest}'"
)
"""The Content-Security-Policy of the page: this script runs, and no other."""

_CHAT_STYLE: Final = """\
:root { color-scheme: light dark; }
body { max-width: 40rem; margin: 0 auto; padding: 2rem 1rem; font: 16px/1.5 system-ui, sans-serif; }
ul { min-height: 12rem; max-height: 60vh; overflow-y: auto; padding: 0; list-style: none; }
.did { opacity: .6; }
form { display: flex; gap: .5rem; }
input { flex: 1; min-width: 0; }
input, button { font: inherit; padding: .5rem .8rem; }
"""
_CHAT_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>asgibridge: chat</title>
<link rel="icon" href="data:,">
<style>
$style</style>
</head>
<body>
<h1>Chat</h1>
<p><a href="$root/">The demo</a> over a WebSocket: <span id="state">connecting</span></p>
<ul id="log"></ul>
<form><input name="said" maxlength="500" autocomplete="off" autofocus aria-label="What to say">
<button>Say</button></form>
<script>$script</script>
</body>
</html>
""")

_CHAT_LINK: Final = '<li><a href="{root}/chat"><b>/chat</b>talks over a WebSocket</a></li>\n'

_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>asgibridge is at work</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6b7f; --line: #dfe5ec;
        --paper: #f5f7fa; --card: #ffffff; --accent: #0b7a6f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf2; --soft: #93a1b5; --line: #2b3544; --paper: #10151d;
          --card: #18202b; --accent: #4fd1bf; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
       font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 2rem; letter-spacing: -.02em; }
h1 small { display: block; font: 500 1rem/1.6 system-ui, sans-serif; color: var(--accent);
           letter-spacing: 0; }
h2 { margin: 0 0 .75rem; font-size: 1rem; color: var(--soft); font-weight: 600; }
p { margin: .35rem 0 0; color: var(--soft); }
section { margin-top: 1.5rem; padding: 1.25rem; background: var(--card);
          border: 1px solid var(--line); border-radius: .75rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th { width: 11rem; text-align: left; font-weight: 500; color: var(--soft); }
th, td { padding: .4rem .5rem .4rem 0; vertical-align: top; border-top: 1px solid var(--line); }
tr:first-child > * { border-top: 0; }
@media (max-width: 34rem) { th, td { display: block; width: auto; }
                            td { padding-top: 0; border-top: 0; } }
td, code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
code { font-size: .9em; color: var(--ink); }
ul { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .75rem;
     margin: 0; padding: 0; list-style: none; }
li a { display: block; height: 100%; padding: .75rem .9rem; border: 1px solid var(--line);
       border-radius: .5rem; color: inherit; text-decoration: none; font-size: .85rem; }
li a:hover, li a:focus { border-color: var(--accent); }
li b { display: block; color: var(--accent); font-family: ui-monospace, monospace; }
form { display: flex; gap: .5rem; margin-top: .75rem; }
input, button { font: inherit; padding: .5rem .8rem; border-radius: .5rem; color: inherit;
                border: 1px solid var(--line); background: var(--paper); }
input { flex: 1; min-width: 0; }
button { color: var(--accent); cursor: pointer; }
</style>
</head>
<body>
<main>
<h1>asgibridge <small>$version, at work through $interface</small></h1>
<p>This page is the demo. Serve your own application: <code>asgibridge serve module:app</code></p>
<section>
<h2>Who served this page</h2>
<table>$facts</table>
</section>
<section>
<h2>Try</h2>
<ul>
<li><a href="$root/slow?seconds=1"><b>/slow?seconds=1</b>waits before it answers</a></li>
<li><a href="$root/stream"><b>/stream</b>sends its lines over time</a></li>
<li><a href="$root/json"><b>/json</b>tells this page to programs</a></li>
<li><a href="$root/error"><b>/error</b>raises: look at the log</a></li>
$chat</ul>
<form action="$root/echo" method="post" enctype="text/plain">
<input name="said" value="hello" aria-label="What to send to /echo">
<button>POST to /echo</button>
</form>
</section>
<section>
<h2>What your client sent</h2>
<table>$headers</table>
</section>
</main>
</body>
</html>
""")
