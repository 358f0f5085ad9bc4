"""Flask: one view that answers 14 bytes."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello() -> str:
    """Answer at once."""
    return "Hello, world!\n"
