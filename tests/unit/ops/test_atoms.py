import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from asgibridge.errors import SettingsError
from asgibridge.ops.atoms import ALIASES, AccessRecord, compile_format

STARTED = 1_700_000_000.25


def make_record(**changes: Any) -> AccessRecord:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "client": "203.0.113.9",
        "method": "GET",
        "target": b"/shop/cart?item=1&n=2",
        "http_version": "1.1",
        "status": 200,
        "body_bytes": 512,
        "started": STARTED,
        "duration": 1.234567,
        "queued": 0.0125,
        "app": 1.2,
        "request_headers": [
            (b"host", b"shop.example"),
            (b"referer", b"https://example.org/"),
            (b"user-agent", b"curl/8"),
            (b"authorization", b"Basic YWxpY2U6c2VjcmV0"),
            (b"x-tag", b"a"),
            (b"x-tag", b"b"),
        ],
        "response_headers": [(b"Content-Type", b"text/html")],
        "thread_id": 42,
        "thread_name": "pool-1",
    }
    return AccessRecord(**(values | changes))


@pytest.fixture
def utc_plus_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XXX-02:00")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        ("%(h)s", "203.0.113.9"),
        ("%(l)s", "-"),
        ("%(u)s", "alice"),
        ("%(t)s", "[15/Nov/2023:00:13:20 +0200]"),
        ("%(r)s", "GET /shop/cart?item=1&n=2 HTTP/1.1"),
        ("%(m)s", "GET"),
        ("%(U)s", "/shop/cart"),
        ("%(q)s", "item=1&n=2"),
        ("%(H)s", "HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(B)s", "512"),
        ("%(B)d", "512"),
        ("%(b)s", "512"),
        ("%(f)s", "https://example.org/"),
        ("%(a)s", "curl/8"),
        ("%(T)s", "1"),
        ("%(M)s", "1234"),
        ("%(M)6d|", "  1234|"),
        ("%(D)s", "1234567"),
        ("%(L)s", "1.234567"),
        ("%(p)s", f"<{os.getpid()}>"),
        ("%({Host}i)s", "shop.example"),
        ("%({x-tag}i)s", "a, b"),
        ("%({x-absent}i)s", "-"),
        ("%({content-type}o)s", "text/html"),
        ("%({x-absent}o)s", "-"),
        ("%({REMOTE_ADDR}e)s", "203.0.113.9"),
        ("%({request_method}e)s", "GET"),
        ("%({HTTP_HOST}e)s", "shop.example"),
        ("%({PATH_INFO}e)s", "/shop/cart"),
        ("%({RAW_URI}e)s", "/shop/cart?item=1&n=2"),
        ("%({POD_NAME}e)s", "pod-7"),
        ("%({NO_SUCH_VARIABLE}e)s", "-"),
        ("%(queued_ms)s", "12"),
        ("%(app_ms)d", "1200"),
        ("%(cut)s", "-"),
        ("100%% of %(m)-5s|", "100% of GET  |"),
    ],
)
@pytest.mark.usefixtures("utc_plus_two")
def test_atom_shows_its_value(monkeypatch: pytest.MonkeyPatch, atom: str, expected: str) -> None:
    monkeypatch.setenv("POD_NAME", "pod-7")
    assert compile_format(atom)(make_record()) == expected


def test_headers_of_wsgi_responses_are_text() -> None:
    record = make_record(response_headers=[("Content-Type", "text/caf\xe9"), ("X-A", "b")])
    assert compile_format("%({x-a}o)s %({content-type}o)s")(record) == r"b text/caf\xe9"


@pytest.mark.parametrize(
    ("atom", "changes", "expected"),
    [
        ("%(h)s", {"client": None}, "-"),
        ("%(r)s", {"method": "", "target": b""}, "-"),
        ("%(s)s", {"status": 0}, "-"),
        ("%(b)s", {"body_bytes": 0}, "-"),
        ("%(B)s", {"body_bytes": 0}, "0"),
        ("%(f)s %(a)s %(u)s", {"request_headers": ()}, "- - -"),
        ("%(q)s", {"target": "/"}, ""),
        ("%(U)s", {"target": "http://a.example/x?y"}, "/x"),
        ("%(U)s", {"target": "*"}, "*"),
        ("%(cut)s", {"cut_reason": "write_timeout"}, "write_timeout"),
        ("%(u)s", {"request_headers": [(b"authorization", b"Basic A")]}, "-"),
        ("%(u)s", {"request_headers": [(b"authorization", b"Bearer eHg6eQ==")]}, "-"),
    ],
)
def test_absent_values_have_a_sign(atom: str, changes: dict[str, Any], expected: str) -> None:
    assert compile_format(atom)(make_record(**changes)) == expected


def test_the_time_is_not_kept_for_the_next_second() -> None:
    line = compile_format("%(t)s")

    assert line(make_record(started=STARTED)) != line(make_record(started=STARTED + 1))


@pytest.mark.usefixtures("utc_plus_two")
def test_combined_is_gunicorns_default_format() -> None:
    assert compile_format("combined")(make_record()) == (
        "203.0.113.9 - alice [15/Nov/2023:00:13:20 +0200] "
        '"GET /shop/cart?item=1&n=2 HTTP/1.1" 200 512 "https://example.org/" "curl/8"'
    )
    assert ALIASES["combined"].startswith(ALIASES["common"])


# What a client would send to forge a second record, to leave its field, or to steer a terminal.
FORGERIES = [
    b'/\r\n203.0.113.1 - root [now] "GET /admin',
    b'/" 200 1 "-" "-',
    b"/\x1b[2J\x1b[31mred",
    b"/\\x22",
    b"/\x00\x07\x08\x7f\x85\x9b31m",
    "/\u2028next\u0085\u202e".encode(),
    "/\u2028next\u0085\u202e\udcff\x0b\x0c\x1c",
]
EVERYWHERE = (
    '"%(h)s" "%(u)s" "%(r)s" "%(m)s" "%(U)s" "%(q)s" "%(H)s" "%(f)s" "%(a)s" "%({x}i)s" "%({x}o)s"'
    ' "%({RAW_URI}e)s" "%({HTTP_X}e)s" "%({QUERY_STRING}e)s" "%(cut)s"'
)


def forged(evil: str | bytes) -> AccessRecord:
    data = evil if isinstance(evil, bytes) else evil.encode("utf-8", "surrogatepass")
    text = evil if isinstance(evil, str) else evil.decode("latin-1")
    headers = [(b"x", data), (b"referer", data), (b"user-agent", data)]
    return make_record(
        client=text,
        method=text,
        target=evil if evil == text else data + b"?" + data,
        http_version=text,
        cut_reason=text,
        request_headers=headers,
        response_headers=headers,
    )


@pytest.mark.parametrize("evil", FORGERIES)
def test_no_line_can_be_forged(evil: str | bytes) -> None:
    line = compile_format(EVERYWHERE)(forged(evil))

    assert line.isascii()
    assert line.isprintable()
    assert EVERYWHERE.count('"') == line.count('"')


@pytest.mark.parametrize("evil", FORGERIES)
def test_no_json_record_can_be_forged(evil: str | bytes) -> None:
    line = compile_format("json")(forged(evil))

    assert line.isascii()
    assert [line] == line.splitlines()
    record = json.loads(line)
    json.dumps(record, ensure_ascii=False).encode()  # No lone surrogates.
    assert (record["status"], record["cut"], record["body_bytes"]) == (200, True, 512)


def test_escapes_name_the_bytes() -> None:
    record = make_record(target=b'/\xc3\xa9"\\\n')

    assert compile_format("%(U)s")(record) == r"/\xc3\xa9\x22\x5c\x0a"


def test_a_blank_in_a_user_name_does_not_begin_the_next_field() -> None:
    record = make_record(request_headers=[(b"authorization", b"basic YSBbbm93XTp4")])

    assert compile_format("%(u)s")(record) == r"a\x20[now]"


def test_json_tells_everything_but_whole_headers() -> None:
    record = make_record(target=b"/caf\xc3\xa9/\xff", cut_reason="client gone")

    assert {
        "time": "2023-11-14T22:13:20.250Z",
        "logger": "asgibridge.access",
        "client": "203.0.113.9",
        "method": "GET",
        "target": "/caf\u00e9/\\xff",
        "http_version": "1.1",
        "status": 200,
        "body_bytes": 512,
        "duration_ms": 1234.567,
        "queued_ms": 12.5,
        "app_ms": 1200.0,
        "cut": True,
        "cut_reason": "client gone",
        "referer": "https://example.org/",
        "user_agent": "curl/8",
        "pid": os.getpid(),
        "thread": "pool-1",
        "thread_id": 42,
    } == json.loads(compile_format("json")(record))


def test_json_says_null_for_what_is_not_known() -> None:
    record = make_record(client=None, method="", status=0, request_headers=(), thread_name="")
    told = json.loads(compile_format("json")(record))

    absent = ("client", "method", "status", "cut_reason", "referer", "user_agent", "thread")
    assert dict.fromkeys(absent) == {name: told[name] for name in absent}
    assert told["cut"] is False


@pytest.mark.parametrize(
    ("fmt", "hints"),
    [
        ("%(S)s", ["%(S)s", "did you mean %(s)s?"]),
        ("%(queued)s", ["did you mean %(queued_ms)s?"]),
        ("%({referer})s", ["write %({referer}i)s"]),
        ("%({}i)s", ["write %({name}i)s"]),
        ("%(zz)s", ["unknown atom %(zz)s", "known are h l u t"]),
        ("%h", ["write %(h)s"]),
        ("%(h)s 100%", ["write %%"]),
        ("%(h)d", ["write %(h)s"]),
        ("%(h)", ["write %(h)s"]),
        ("combind", ["'combind'", "did you mean 'combined'?"]),
        ("nothing at all to see", ["atoms as %(h)s"]),
        ("%(h)s\n%(s)s", ["one line"]),
    ],
)
def test_wrong_formats_are_refused_with_the_next_step(fmt: str, hints: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        compile_format(fmt)

    assert len(caught.value.mistakes) == 1
    for hint in ["access_log_format", *hints]:
        assert hint in caught.value.mistakes[0]


def test_all_mistakes_of_a_format_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        compile_format("%(x)s %(h)s %(y)s")

    assert [mistake.split()[3][:-1] for mistake in caught.value.mistakes] == ["%(x)s", "%(y)s"]
