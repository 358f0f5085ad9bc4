"""A FastAPI site, served by the installed command."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.commands import RunningCommand, running_command

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent.parent / "apps"
FIVE_MB = 5_000_000
# Seconds.
PATIENCE = 30.0


@pytest.fixture(scope="module")
def command() -> Iterator[RunningCommand]:
    with running_command("--app-dir", str(APPS), "fastapi_site:app") as command:
        yield command


@pytest.fixture
def client(command: RunningCommand) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=command.url, timeout=PATIENCE) as client:
        yield client


def test_fastapi_is_taken_for_asgi(command: RunningCommand) -> None:
    assert "interface=asgi" in command.wait_for_log("ready pid=")


def test_state_of_the_lifespan_reaches_requests(client: httpx.Client) -> None:
    """[ASGI-1]."""
    assert client.get("/").json() == "hello from the lifespan"


def test_lifespan_ends_with_the_server() -> None:
    """[ASGI-1] [STOP-1]."""
    with running_command("--app-dir", str(APPS), "fastapi_site:app") as command:
        assert "boiler heated" in command.log_lines
        assert "boiler cooled" not in command.log_lines
        command.signal(signal.SIGTERM)
        assert command.wait(10) == 0
        assert "boiler cooled" in command.log_lines


def test_body_is_validated(client: httpx.Client) -> None:
    order = {"item": "valve", "amount": 2}
    assert client.post("/orders", json=order).json() == order
    wrong = client.post("/orders", json={"item": "valve", "amount": 0})
    assert wrong.status_code == 422
    assert wrong.json()["detail"][0]["loc"] == ["body", "amount"]


def test_plain_function_runs_in_a_thread(client: httpx.Client) -> None:
    assert client.get("/thread").json() is False


def test_upload_of_five_megabytes_arrives_whole(client: httpx.Client) -> None:
    content = os.urandom(FIVE_MB)
    response = client.post("/upload", files={"file": ("photo.bin", content)})
    assert response.json() == {
        "name": "photo.bin",
        "size": FIVE_MB,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_body_is_streamed_in_with_either_framing(client: httpx.Client) -> None:
    content = os.urandom(FIVE_MB)
    expected = hashlib.sha256(content).hexdigest()
    parts = (content[start : start + 70_000] for start in range(0, FIVE_MB, 70_000))
    assert client.post("/digest", content=content).json() == expected
    assert client.post("/digest", content=parts).json() == expected


def test_stream_arrives_while_it_is_made(client: httpx.Client) -> None:
    """The rest of it is made only when a second request asks for it."""
    with client.stream("GET", "/stream") as response:
        lines = response.iter_lines()
        assert next(lines) == "line 0"
        assert client.get("/release").json() == "released"
        assert list(lines) == [f"line {number}" for number in range(1, 1000)]


def test_background_task_ends_after_its_response(client: httpx.Client) -> None:
    """The task waits for a request that is made only after the response has come."""
    assert client.post("/jobs/boiler").json() == "begun"
    assert client.get("/jobs/boiler").json() is True


def test_departure_of_the_client_is_noticed(command: RunningCommand, client: httpx.Client) -> None:
    """[ASGI-3]: `is_disconnected()` turns true for a client that stops waiting."""
    with httpx.Client(base_url=command.url) as leaving:
        hasty = httpx.Timeout(PATIENCE, read=0.2)
        with pytest.raises(httpx.ReadTimeout):
            leaving.get("/watch/one", timeout=hasty)
    assert client.get("/watching/one").json() is True
    assert client.get("/left/one").json() is True


def test_file_is_downloaded_whole_and_in_part(client: httpx.Client) -> None:
    source = (APPS / "fastapi_site.py").read_bytes()
    whole = client.get("/download")
    assert whole.content == source
    assert whole.headers["content-length"] == str(len(source))
    part = client.get("/download", headers={"Range": "bytes=10-29"})
    assert (part.status_code, part.content) == (206, source[10:30])


def test_static_file_is_known_the_second_time(client: httpx.Client) -> None:
    first = client.get("/static/fastapi_site.py")
    assert first.content == (APPS / "fastapi_site.py").read_bytes()
    again = client.get("/static/fastapi_site.py", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_mistake_is_answered_and_logged(command: RunningCommand, client: httpx.Client) -> None:
    response = client.get("/broken")
    assert response.status_code == 500
    assert "leaks" not in response.text
    command.wait_for_log("RuntimeError: the boiler of the FastAPI site leaks")
    assert client.get("/nowhere").status_code == 404


def test_hint_comes_before_the_page(command: RunningCommand) -> None:
    """[ASGI-2] Byte for byte: HTTP clients for Python hide interim responses."""
    host, _, port = command.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as client:
        client.sendall(b"GET /hinted HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    hint, page = received.split(b"\r\n\r\n", 1)
    link = b"Link: </static/style.css>; rel=preload; as=style"
    assert hint == b"HTTP/1.1 103 Early Hints\r\n" + link
    assert page.startswith(b"HTTP/1.1 200 OK\r\n")
    assert page.endswith(b'"the page"')


@pytest.mark.parametrize("mount", ["/flask", "/packed"])
def test_flask_site_is_mounted(mount: str, client: httpx.Client) -> None:
    """[WSGI-8] Forms, uploads of either framing, errors, and URLs that know of the mount."""
    assert client.get(f"{mount}/").text == "hello from Flask"
    assert client.post(f"{mount}/json", json={"numbers": [1, 2, 3]}).json() == {"total": 6}
    content = os.urandom(FIVE_MB)
    files = {"file": ("photo.bin", content)}
    expected = hashlib.sha256(content).hexdigest()
    assert client.post(f"{mount}/upload", files=files).json()["sha256"] == expected
    request = client.build_request("POST", f"{mount}/upload", files=files)
    headers = {"content-type": request.headers["content-type"]}
    parts = iter([request.read()])
    chunks = client.post(f"{mount}/upload", content=parts, headers=headers)
    assert chunks.json()["sha256"] == expected
    assert client.get(f"{mount}/download").content == bytes(range(256)) * 8192
    assert client.get(f"{mount}/nowhere").status_code == 404
    packed = client.get(f"{mount}/download").headers.get("content-encoding")
    assert packed == ("gzip" if mount == "/packed" else None)


def test_stream_of_a_mounted_site_arrives_while_it_is_made(client: httpx.Client) -> None:
    """[WSGI-8] [WSGI-4]."""
    with client.stream("GET", "/flask/stream?who=me") as response:
        lines = response.iter_lines()
        assert next(lines) == "for me"
        assert client.get("/flask/release").text == "released"
        assert list(lines) == [f"line {number}" for number in range(1, 1000)]
