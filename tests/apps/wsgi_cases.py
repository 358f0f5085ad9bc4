"""Plain PEP 3333 applications, each showing one duty of a server.

All of them pass `wsgiref.validate` unless their docstring says otherwise.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import FileWrapper, StartResponse, WSGIApplication, WSGIEnvironment

TEXT: Final = [("Content-Type", "text/plain")]
JSON: Final = [("Content-Type", "application/json")]
CHUNKS: Final = 5_000
FILE_CONTENT: Final = bytes(range(256)) * 1024


class BoilerError(RuntimeError):
    """What the applications raise on purpose."""


def _leak() -> None:
    raise BoilerError("leaks")


def hello(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return [b"hello"]


def unsized_list(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Leave the length of several known chunks to the server."""
    start_response("200 OK", TEXT.copy())
    return [b"one ", b"", b"two ", b"three"]


def empty_iterable(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT.copy())
    return []


def generator_body(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Call `start_response` only when the first chunk is asked for, as a generator must."""
    start_response("200 OK", TEXT.copy())
    yield b""
    yield f"{environ['REQUEST_METHOD']} ".encode()
    yield b""
    yield b"in parts"


def many_chunks(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT.copy())
    for number in range(CHUNKS):
        yield b"%6d\n" % number


def written(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Use the `write` callable, and an iterable after it."""
    write = start_response("200 OK", TEXT.copy())
    write(b"first ")
    write(b"second ")
    return [b"third"]


def no_content(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def not_modified(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"7"')])
    return []


def replaced_start(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Change the mind before anything is sent."""
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    try:
        _leak()
    except BoilerError:
        start_response("502 Bad Gateway", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    return [b"replaced"]


def replaced_after_empty_chunk(
    _environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    """Change the mind after an empty chunk, which sends nothing yet."""
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    yield b""
    try:
        _leak()
    except BoilerError:
        start_response("502 Bad Gateway", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    yield b"replaced"


def replaced_too_late(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Change the mind when the head is on its way: `start_response` must raise what it is given."""
    start_response("200 OK", TEXT.copy())
    yield b"first "
    try:
        _leak()
    except BoilerError:
        start_response("502 Bad Gateway", TEXT.copy(), sys.exc_info())
    yield b"never sent"


def started_twice(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Break PEP 3333: a second call without `exc_info` is an error."""
    start_response("200 OK", TEXT.copy())
    start_response("201 Created", TEXT.copy())
    return [b"never sent"]


def never_started(_environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
    """Break PEP 3333: no `start_response` at all."""
    return [b"never sent"]


def raises_at_once(_environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
    raise BoilerError("raised by the application")


def raises_before_body(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT.copy())
    raise BoilerError("raised before the body")
    yield b"never sent"


def raises_in_body(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT.copy())
    yield b"first "
    raise BoilerError("raised in the body")


def too_little(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    yield b"hello"


def too_much(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    yield b"hello"
    yield b" and more than was promised"


def too_much_later(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Pass the declared length in the middle of the second chunk."""
    start_response("200 OK", [*TEXT, ("Content-Length", "8")])
    yield b"hello"
    yield b" and more than was promised"


def split_header(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Break PEP 3333: a header value with a line end would forge another header."""
    start_response("200 OK", [*TEXT, ("X-Name", "a\r\nX-Forged: yes")])
    return [b"never sent"]


def text_body(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[Any]:
    """Break PEP 3333: the body is text."""
    start_response("200 OK", TEXT.copy())
    return ["not bytes"]


def complains(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Use every method of `wsgi.errors`."""
    errors = environ["wsgi.errors"]
    errors.write("pressure is high\n")
    errors.writelines(["valve one is open\n", "valve two is shut\n"])
    errors.flush()
    return hello(environ, start_response)


def environ_dump(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the environ as JSON; values that JSON does not know by their type."""
    plain = (str, bool, int, tuple, list, type(None))
    # PEP 3333 wants native strings; JSON would hide a subclass.
    body = {
        name: value if isinstance(value, plain) else f"<{type(value).__name__}>"
        for name, value in environ.items()
        if type(name) is str
    }
    start_response("200 OK", JSON.copy())
    return [json.dumps(body).encode()]


def _read_in_pieces(stream: Any) -> list[bytes]:  # noqa: ANN401 - PEP 3333's input stream
    return list(iter(lambda: stream.read(7), b""))


def _read_lines(stream: Any) -> list[bytes]:  # noqa: ANN401 - PEP 3333's input stream
    return list(iter(stream.readline, b""))


READERS: Final[dict[str, Callable[[Any], list[bytes]]]] = {
    "all": lambda stream: [stream.read()],
    "all-by-size": lambda stream: [stream.read(1 << 20)],
    "all-by-minus-one": lambda stream: [stream.read(-1)],
    "pieces": _read_in_pieces,
    "readline": _read_lines,
    "readline-size": lambda stream: list(iter(lambda: stream.readline(3), b"")),
    "readlines": lambda stream: list(stream.readlines()),
    "readlines-hint": lambda stream: list(stream.readlines(1)),
    "iteration": list,
    "nothing": lambda _stream: [],
    "mixed": lambda stream: [stream.read(4), stream.readline(), *stream, stream.read(1)],
}


def reads_input(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Read `wsgi.input` in the way that the query names, and answer the pieces as JSON."""
    how = parse_qs(environ["QUERY_STRING"])["how"][0]
    pieces = READERS[how](environ["wsgi.input"])
    start_response("200 OK", JSON.copy())
    return [json.dumps([piece.decode("latin-1") for piece in pieces]).encode()]


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


def _wrap(environ: WSGIEnvironment, file: Any) -> Iterable[bytes]:  # noqa: ANN401 - file-like
    wrapper: FileWrapper = environ["wsgi.file_wrapper"]
    return wrapper(file, 8192)


def file_on_disk(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Send a real file from its current position on, as PEP 3333 asks."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    file.write(b"not this" + FILE_CONTENT)
    file.seek(len(b"not this"))
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(FILE_CONTENT)))])
    return _wrap(environ, file)


def file_of_unknown_length(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    file.write(FILE_CONTENT)
    file.seek(0)
    start_response("200 OK", TEXT.copy())
    return _wrap(environ, file)


def part_of_a_file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Declare less than the file holds, as PEP 3333 allows with `wsgi.file_wrapper` alone.

    The validator hides the wrapper, so under it this is a body that is too long.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    file.write(FILE_CONTENT)
    file.seek(100)
    start_response("206 Partial Content", [*TEXT, ("Content-Length", "1000")])
    return _wrap(environ, file)


def file_in_memory(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Send something file-like that has no descriptor."""
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(FILE_CONTENT)))])
    return _wrap(environ, io.BytesIO(FILE_CONTENT))


class _WatchedBody:
    """An iterable that tells its application who iterates and who closes it."""

    def __init__(self, owner: ClosingApplication, chunks: Iterator[bytes]) -> None:
        self._owner = owner
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._owner.iterated_by.add(threading.get_ident())
        return next(self._chunks)

    def close(self) -> None:
        self._owner.closed_by.append(threading.get_ident())
        self._owner.closed.set()


class ClosingApplication:
    """Counts the calls of `close()`, and keeps the thread of every call.

    The path says how the body ends: `/whole`, `/empty`, `/raises`, `/never-started`, `/endless`
    or `/head`.  `/count` answers how often `close()` was called, without a body to close.
    """

    def __init__(self) -> None:
        self.called_by: list[int] = []
        self.iterated_by: set[int] = set()
        self.closed_by: list[int] = []
        self.closed = threading.Event()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/count":
            start_response("200 OK", TEXT.copy())
            return [str(len(self.closed_by)).encode()]
        self.called_by.append(threading.get_ident())
        if path != "/never-started":
            start_response("200 OK", TEXT.copy())
        return _WatchedBody(self, self._chunks(path))

    @staticmethod
    def _chunks(path: str) -> Iterator[bytes]:
        if path == "/empty":
            return
        yield b"first "
        if path == "/raises":
            raise BoilerError("raised in the body")
        while path == "/endless":
            yield b"x" * 65536
        yield b"last"


# Those without a request of their own: every one answers GET / and obeys PEP 3333.
ANSWERS: Final[dict[str, tuple[WSGIApplication, int, bytes]]] = {
    "hello": (hello, 200, b"hello"),
    "unsized list": (unsized_list, 200, b"one two three"),
    "empty iterable": (empty_iterable, 200, b""),
    "generator": (generator_body, 200, b"GET in parts"),
    "many chunks": (many_chunks, 200, b"".join(b"%6d\n" % number for number in range(CHUNKS))),
    "write callable": (written, 200, b"first second third"),
    "no content": (no_content, 204, b""),
    "not modified": (not_modified, 304, b""),
    "replaced start": (replaced_start, 502, b"replaced"),
    "replaced after an empty chunk": (replaced_after_empty_chunk, 502, b"replaced"),
    "file on disk": (file_on_disk, 200, FILE_CONTENT),
    "file of unknown length": (file_of_unknown_length, 200, FILE_CONTENT),
    "file in memory": (file_in_memory, 200, FILE_CONTENT),
}
