"""The environ's corners; the whole of it over sockets is in integration/test_wsgi_environ.py."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

import pytest
from support.fakes_exchange import FakeExchange

from asgibridge.app.environ import EnvironBuilder, ErrorLog

HOST = (b"host", b"shop.example")


def build(exchange: FakeExchange, root_path: str = "", size: int = 0) -> dict[str, Any]:
    builder = EnvironBuilder(root_path=root_path, multithread=True, multiprocess=False)
    return builder.build(exchange, io.BytesIO(), size)


@pytest.mark.parametrize(
    ("target", "script_name", "path_info"),
    [
        (b"/shop/item", "/shop", "/item"),
        (b"/shop", "/shop", ""),
        (b"/shop/", "/shop", "/"),
        (b"/shopping", "/shop", "/shopping"),
        (b"/item", "/shop", "/item"),
        (b"/%73hop/x?/shop/", "/shop", "/x"),
    ],
)
def test_root_path_is_taken_off_as_a_whole(target: bytes, script_name: str, path_info: str) -> None:
    """[WSGI-3]."""
    environ = build(FakeExchange(target=target), "/shop")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_root_path_beyond_ascii_is_bytes_in_the_guise_of_latin_1() -> None:
    """[WSGI-3] As PEP 3333 wants every native string of an environ."""
    environ = build(FakeExchange(target=b"/caf%C3%A9/x"), "/café")
    assert environ["SCRIPT_NAME"].encode("latin-1") == "/café".encode()
    assert environ["PATH_INFO"] == "/x"


def test_path_is_decoded_once_and_the_query_never() -> None:
    """[WSGI-3]."""
    environ = build(FakeExchange(target=b"/a%2520b%3F?c%20d?e"))
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a%20b?", "c%20d?e")
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/a%2520b%3F?c%20d?e"


@pytest.mark.parametrize(
    ("method", "target", "path_info"),
    [("OPTIONS", b"*", "*"), ("GET", b"http://a/b%20c?d", "/b c"), ("GET", b"http://a", "/")],
)
def test_other_forms_of_target_give_a_path(method: str, target: bytes, path_info: str) -> None:
    """[WSGI-3]."""
    assert build(FakeExchange(method, target))["PATH_INFO"] == path_info


def test_headers_join_and_forgeries_are_dropped() -> None:
    """[WSGI-3]."""
    headers = [
        HOST,
        (b"x-one", b"a"),
        (b"x-one", b"b"),
        (b"cookie", b"c=1"),
        (b"cookie", b"d=2"),
        (b"x_one", b"forged"),
        (b"content-type", b"text/plain"),
    ]
    environ = build(FakeExchange(headers=headers))
    assert environ["HTTP_X_ONE"] == "a,b"
    assert environ["HTTP_COOKIE"] == "c=1; d=2"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "forged" not in environ.values()


def test_length_is_what_was_read() -> None:
    """[WSGI-3] Also for a chunked body, whose framing is hidden."""
    headers = [HOST, (b"transfer-encoding", b"chunked")]
    environ = build(FakeExchange("POST", headers=headers), size=12)
    assert environ["CONTENT_LENGTH"] == "12"
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert "CONTENT_LENGTH" not in build(FakeExchange())


def test_more_names_than_are_remembered_still_arrive() -> None:
    """Clients choose names: what is kept of them is bounded, what applications see is not."""
    for number in range(1500):
        name = b"x-made-up-%d" % number
        environ = build(FakeExchange(headers=[HOST, (name, b"v")]))
        assert environ[f"HTTP_X_MADE_UP_{number}"] == "v"


def test_unix_socket_has_names_all_the_same() -> None:
    environ = build(FakeExchange(client=None, server=("/run/a", None)))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


def test_environs_of_two_requests_are_apart() -> None:
    builder = EnvironBuilder(root_path="", multithread=True, multiprocess=False)
    first, second = (builder.build(FakeExchange(), io.BytesIO(), 0) for _ in range(2))
    first["mine"] = 1
    assert "mine" not in second


# wsgi.errors


def test_lines_become_records_and_a_rest_waits(caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-3]."""
    errors = ErrorLog()
    assert errors.write("one\ntw") == len("one\ntw")
    assert caplog.messages == ["one"]
    errors.writelines(["o\n", "three"])
    assert caplog.messages == ["one", "two"]
    assert errors.pending
    errors.flush()
    errors.flush()
    assert caplog.messages == ["one", "two", "three"]
    assert not errors.pending


def test_lines_of_two_threads_do_not_mix(caplog: pytest.LogCaptureFixture) -> None:
    errors = ErrorLog()
    errors.write("mine ")
    thread = threading.Thread(target=errors.write, args=("theirs\n",))
    thread.start()
    thread.join()
    errors.write("ends\n")
    assert caplog.messages == ["theirs", "mine ends"]


def test_log_that_leads_back_does_not_go_round_for_ever() -> None:
    """Flask's own handler writes to `wsgi.errors`; one on the root logger gets our records too."""
    errors = ErrorLog()
    handler = logging.StreamHandler(errors)
    logger = logging.getLogger("asgibridge")
    logger.addHandler(handler)
    try:
        errors.write("once\n")
        errors.write("twice\n")
    finally:
        logger.removeHandler(handler)
    assert not errors._logging
