"""The WSGI environ (PEP 3333) of one request, built from a prebuilt base.  [WSGI-3]"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote_to_bytes

from asgibridge.app.files import FileWrapper
from asgibridge.http.request import split_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.interfaces import Exchange, ServerAddress

__all__ = ["EnvironBuilder", "ErrorLog"]

logger = logging.getLogger("asgibridge")

# Lower-case header name -> environ key, or None for what must not reach the application.
# Bounded: clients choose the names.  Threads filling it at once write the same values.
_keys: dict[bytes, str | None] = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": None,  # the real length is known: the body has been read
    b"transfer-encoding": None,
}
_MAX_KEYS: Final = 1024
_MAX_NAME_KEPT: Final = 64
# Addresses of this machine that clients have reached: few, but a wildcard may cover many.
_MAX_SERVERS: Final = 64
_PROTOCOLS: Final = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0"}


def _learn_key(name: bytes) -> str | None:
    # "X_Forwarded_For" would become the key of "X-Forwarded-For" and so forge it: dropped.
    key = None if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(_keys) < _MAX_KEYS and len(name) <= _MAX_NAME_KEPT:
        _keys[name] = key
    return key


class ErrorLog:
    """`wsgi.errors`: what the application writes goes to the log, a record per line.

    Attributes:
        pending: unfinished lines by thread, so that those of two requests do not mix.  Each thread
            changes its own entry only, in one step.
    """

    def __init__(self) -> None:
        """Write to the logger `asgibridge`."""
        self.pending: dict[int, str] = {}
        self._logging: set[int] = set()  # threads

    def write(self, text: str) -> int:
        """Take *text*; whole lines are logged at once."""
        ident = threading.get_ident()
        *lines, rest = (self.pending.pop(ident, "") + text).split("\n")
        if rest:
            self.pending[ident] = rest
        for line in lines:
            self._log(ident, line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Take several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what has come of an unfinished line."""
        ident = threading.get_ident()
        rest = self.pending.pop(ident, "")
        if rest:
            self._log(ident, rest)

    def _log(self, ident: int, line: str) -> None:
        # An application may have its log records written to `wsgi.errors`, Flask's recipe; where
        # ours reach the same handler, each would beget another for ever.
        if ident in self._logging:
            return
        self._logging.add(ident)
        try:
            logger.error("%s", line)
        finally:
            self._logging.discard(ident)


def _mark_secure(environ: dict[str, Any], exchange: Exchange) -> None:
    environ["wsgi.url_scheme"] = exchange.scheme
    environ["HTTPS"] = "on"  # as CGI programs know it
    if exchange.server[1] is None:
        environ["SERVER_PORT"] = "443"


class EnvironBuilder:
    """Builds environs.  Used by all pool threads at once; all it changes is a cache of bases.

    Args:
        root_path: where the application is mounted, without a slash at its end; `SCRIPT_NAME`.
        multithread, multiprocess: whether other threads, other processes, run the same application.

    Attributes:
        errors: `wsgi.errors` of all requests.
    """

    __slots__ = ("_base", "_root_path", "_servers", "errors")

    def __init__(self, *, root_path: str, multithread: bool, multiprocess: bool) -> None:
        """Build the part that is the same for all requests."""
        # PEP 3333: bytes in the guise of latin-1.
        self._root_path = root_path = root_path.encode().decode("latin-1")
        self.errors = ErrorLog()
        self._servers: dict[ServerAddress, dict[str, Any]] = {}
        self._base: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": self.errors,
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "SERVER_SOFTWARE": "asgibridge",
            "SCRIPT_NAME": root_path,
        }

    def _base_for(self, server: ServerAddress) -> dict[str, Any]:
        host, port = server
        # Neither may be empty (PEP 3333); a Unix socket has no port.
        name = host if port is not None else "localhost"
        base = self._base | {"SERVER_NAME": name, "SERVER_PORT": str(port or 80)}
        if len(self._servers) < _MAX_SERVERS:
            self._servers[server] = base
        return base

    def build(self, exchange: Exchange, body: BinaryIO, size: int) -> dict[str, Any]:
        """Return the environ of *exchange*, whose body of *size* bytes is *body*."""
        head = exchange.head
        uri = head.target.decode("latin-1")
        path, _, query = uri.partition("?")
        if "%" in path or path[:1] != "/":
            raw_path, _ = split_target(head.target)
            path = unquote_to_bytes(raw_path).decode("latin-1")
        root = self._root_path
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("/", ""):
            path = path[len(root) :]
        environ = (self._servers.get(exchange.server) or self._base_for(exchange.server)).copy()
        environ["REQUEST_METHOD"] = head.method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["RAW_URI"] = environ["REQUEST_URI"] = uri
        environ["SERVER_PROTOCOL"] = _PROTOCOLS[head.version]
        environ["wsgi.input"] = body
        client = exchange.client
        if client is not None:
            environ["REMOTE_ADDR"] = client[0]
            environ["REMOTE_PORT"] = str(client[1])
        else:
            environ["REMOTE_ADDR"] = ""
        if exchange.scheme != "http":
            _mark_secure(environ, exchange)
        if head.content_length != 0:
            environ["CONTENT_LENGTH"] = str(size)
        keys = _keys
        for name, value in head.headers:
            try:
                key = keys[name]
            except KeyError:
                key = _learn_key(name)
            if key is None:
                continue
            if key in environ:
                # RFC 9110 §5.3: a list; RFC 6265 §5.4 separates cookies by semicolons.
                separator = "; " if key == "HTTP_COOKIE" else ","
                environ[key] = environ[key] + separator + value.decode("latin-1")
            else:
                environ[key] = value.decode("latin-1")
        return environ
