"""A Flask site, served by the installed command."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.commands import RunningCommand, running_command

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent.parent / "apps"
FIVE_MB = 5_000_000
REPORT = bytes(range(256)) * 8192
# Seconds.
PATIENCE = 30.0


@pytest.fixture(scope="module")
def command() -> Iterator[RunningCommand]:
    with running_command("--app-dir", str(APPS), "flask_site:app") as command:
        yield command


@pytest.fixture
def client(command: RunningCommand) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=command.url, timeout=PATIENCE) as client:
        yield client


def test_flask_is_taken_for_wsgi(command: RunningCommand, client: httpx.Client) -> None:
    assert "interface=wsgi" in command.wait_for_log("ready pid=")
    assert client.get("/").text == "hello from Flask"


def test_application_is_found_by_its_module_alone() -> None:
    with running_command("--app-dir", str(APPS), "flask_site") as command:
        assert httpx.get(command.url).text == "hello from Flask"


def test_json_is_read_and_answered(client: httpx.Client) -> None:
    assert client.post("/json", json={"numbers": [1, 2, 39]}).json() == {"total": 42}


def test_wrong_json_is_the_frameworks_business(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    assert client.post("/json", content=b"{", headers=headers).status_code == 400


def test_form_is_read(client: httpx.Client) -> None:
    response = client.post("/form", data={"name": "Zoë", "tag": ["a", "b"]})
    assert response.json() == {"name": "Zoë", "tags": ["a", "b"]}


def test_upload_of_five_megabytes_arrives_whole(client: httpx.Client) -> None:
    content = os.urandom(FIVE_MB)
    response = client.post("/upload", files={"file": ("photo.bin", content)})
    assert response.json() == {
        "name": "photo.bin",
        "size": FIVE_MB,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_chunked_upload_arrives_whole(client: httpx.Client) -> None:
    """Flask reads a body without a length only if the server says that the input ends."""

    def parts() -> Iterator[bytes]:
        yield b'{"numbers": [40,'
        yield b" 2]}"

    response = client.post("/json", content=parts(), headers={"Content-Type": "application/json"})
    assert response.json() == {"total": 42}


def test_stream_arrives_while_it_is_made_and_keeps_its_context(client: httpx.Client) -> None:
    """The rest of it is made only when a second request asks for it."""
    with client.stream("GET", "/stream", params={"who": "Ada"}) as response:
        lines = response.iter_lines()
        assert next(lines) == "for Ada"
        assert client.get("/release").text == "released"
        assert list(lines) == [f"line {number}" for number in range(1, 1000)]


def test_download_from_memory_is_whole(client: httpx.Client) -> None:
    response = client.get("/download")
    assert response.headers["content-disposition"] == "attachment; filename=report.bin"
    assert response.content == REPORT


def test_download_from_the_disk_is_whole_and_known_the_second_time(client: httpx.Client) -> None:
    source = (APPS / "flask_site.py").read_bytes()
    first = client.get("/source")
    assert first.content == source
    assert first.headers["content-length"] == str(len(source))
    again = client.get("/source", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = client.get("/source", headers={"Range": "bytes=10-29"})
    assert (part.status_code, part.content) == (206, source[10:30])


def test_session_is_kept_between_requests(client: httpx.Client) -> None:
    assert [client.get("/visits").json()["visits"] for _ in range(3)] == [1, 2, 3]


def test_error_handler_answers(client: httpx.Client) -> None:
    response = client.get("/teapot")
    assert (response.status_code, response.json()) == (418, {"error": "short and stout"})


def test_mistake_is_answered_and_logged(command: RunningCommand, client: httpx.Client) -> None:
    response = client.get("/broken")
    assert response.status_code == 500
    assert "leaks" not in response.text
    command.wait_for_log("RuntimeError: the boiler of the Flask site leaks")
    assert client.get("/nowhere").status_code == 404
