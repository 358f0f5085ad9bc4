"""A small real Flask site: JSON, forms, upload, streaming, download, sessions, errors."""

from __future__ import annotations

import hashlib
import io
import threading
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify, request, send_file, session, stream_with_context

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds.  Bounds a stream whose client never releases it.
PATIENCE = 20.0
REPORT = bytes(range(256)) * 8192

app = Flask(__name__)
app.secret_key = "only-for-tests"  # noqa: S105 - it guards nothing

_released = threading.Event()


class TeapotError(Exception):
    """A mistake that the site has a page for."""


@app.errorhandler(TeapotError)
def on_teapot(error: TeapotError) -> tuple[Response, int]:
    return jsonify(error=str(error)), 418


@app.get("/")
def index() -> str:
    return "hello from Flask"


@app.post("/json")
def total() -> Response:
    return jsonify(total=sum(request.get_json()["numbers"]))


@app.post("/form")
def form() -> Response:
    return jsonify(name=request.form["name"], tags=request.form.getlist("tag"))


@app.post("/upload")
def upload() -> Response:
    file = request.files["file"]
    content = file.read()
    return jsonify(
        name=file.filename, size=len(content), sha256=hashlib.sha256(content).hexdigest()
    )


@app.get("/stream")
def stream() -> Response:
    """Stream lines; all but the first wait until another request has released them."""
    _released.clear()

    def lines() -> Iterator[str]:
        yield f"for {request.args['who']}\n"
        _released.wait(PATIENCE)
        for number in range(1, 1000):
            yield f"line {number}\n"

    return Response(stream_with_context(lines()), mimetype="text/plain")


@app.get("/release")
def release() -> str:
    _released.set()
    return "released"


@app.get("/download")
def download() -> Response:
    return send_file(io.BytesIO(REPORT), download_name="report.bin", as_attachment=True, etag="r1")


@app.get("/source")
def source() -> Response:
    """Send a file from the disk, with all that conditional requests need."""
    return send_file(__file__, mimetype="text/x-python", conditional=True)


@app.get("/visits")
def visits() -> Response:
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


@app.get("/teapot")
def teapot() -> str:
    raise TeapotError("short and stout")


@app.get("/broken")
def broken() -> str:
    raise RuntimeError("the boiler of the Flask site leaks")
