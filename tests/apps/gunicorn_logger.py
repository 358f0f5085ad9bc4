"""A logger class as users write them: health checks are not logged."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


class QuietLogger(Logger):  # type: ignore[misc] # gunicorn ships no types
    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:  # noqa: ANN401
        if req.path != "/health":
            super().access(resp, req, environ, request_time)
