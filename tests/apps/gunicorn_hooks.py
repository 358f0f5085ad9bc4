"""A gunicorn configuration that tells of every hook that runs in a worker."""

from __future__ import annotations

import sys
from typing import Any

control_socket_disable = True


def say(*parts: object) -> None:
    sys.stderr.write(" ".join(["hook", *map(str, parts)]) + "\n")
    sys.stderr.flush()


def post_worker_init(worker: Any) -> None:  # noqa: ANN401 - gunicorn's
    say("post_worker_init", worker.booted)


def worker_int(worker: Any) -> None:  # noqa: ANN401
    say("worker_int", worker.alive)


def worker_abort(worker: Any) -> None:  # noqa: ANN401
    say("worker_abort", worker.alive)


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ANN401
    say("worker_exit", server.pid != worker.pid)


def pre_request(worker: Any, req: Any) -> None:  # noqa: ANN401
    if req.path == "/refused":
        raise PermissionError("the hook does not like it")
    header = dict(req.headers).get("X-COLOUR")
    say("pre_request", worker.pid, req.method, req.uri, req.path, req.query, header)


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:  # noqa: ANN401
    kind = "scope" if "asgi" in environ else "environ"
    say("post_request", worker.pid, req.method, req.uri, kind, resp.status, resp.sent)
