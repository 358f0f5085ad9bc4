"""A Django site with its admin, as WSGI and as ASGI, served by the installed command."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.commands import RunningCommand, running_command

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent.parent / "apps"
FIVE_MB = 5_000_000
REPORT = bytes(range(256)) * 12_000
# Seconds.  Django imports and migrates for a while on a small machine.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A served Django site."""

    interface: str
    command: RunningCommand

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.command.url, timeout=PATIENCE)


def manage(data: Path, *command: str) -> None:
    """Run a management command of the site, as its owner would before serving it."""
    subprocess.run(
        [sys.executable, "-m", "django", *command],
        env={
            **os.environ,
            "DJANGO_SITE_DATA": str(data),
            "DJANGO_SETTINGS_MODULE": "django_site.settings",
            "DJANGO_SUPERUSER_PASSWORD": "steam",
            "PYTHONPATH": str(APPS),
        },
        check=True,
        timeout=PATIENCE,
    )


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Serve a new site with a superuser and an empty database."""
    data = tmp_path_factory.mktemp("django_site")
    (data / "report.bin").write_bytes(REPORT)
    manage(data, "migrate", "--verbosity", "0")
    manage(data, "createsuperuser", "--noinput", "--username", "ada", "--email", "ada@shop.example")
    with running_command(
        "--app-dir",
        str(APPS),
        f"django_site.{request.param}:application",
        env={"DJANGO_SITE_DATA": str(data)},
    ) as command:
        yield Site(interface=request.param, command=command)


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with site.client() as client:
        yield client


def token_in(page: httpx.Response) -> str:
    """Answer the CSRF token of the form on *page*."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def log_in(client: httpx.Client, password: str) -> httpx.Response:
    page = client.get("/admin/login/?next=/admin/")
    assert page.status_code == 200
    form = {
        "csrfmiddlewaretoken": token_in(page),
        "username": "ada",
        "password": password,
        "next": "/admin/",
    }
    return client.post("/admin/login/?next=/admin/", data=form)


def test_interface_is_found_out(site: Site) -> None:
    assert f"interface={site.interface}" in site.command.wait_for_log("ready pid=")


def test_admin_asks_strangers_to_log_in(client: httpx.Client) -> None:
    response = client.get("/admin/")
    assert response.status_code == 302
    assert response.headers["location"] == "/admin/login/?next=/admin/"


def test_admin_refuses_a_wrong_password(client: httpx.Client) -> None:
    response = log_in(client, "water")
    assert response.status_code == 200
    assert "Please enter the correct username" in response.text


def test_admin_lets_its_user_in_and_adds_a_note(client: httpx.Client) -> None:
    assert log_in(client, "steam").headers["location"] == "/admin/"
    assert "Site administration" in client.get("/admin/").text

    page = client.get("/admin/django_site/note/add/")
    form = {"csrfmiddlewaretoken": token_in(page), "text": "from the admin"}
    assert client.post("/admin/django_site/note/add/", data=form).status_code == 302
    # The message of success travels in a cookie or in the session, the note in the database.
    assert "from the admin" in client.get("/admin/django_site/note/").text


def test_form_is_taken_with_its_token(client: httpx.Client) -> None:
    form = {"csrfmiddlewaretoken": token_in(client.get("/notes/")), "text": "crème brûlée & <b>"}
    response = client.post("/notes/", data=form)
    assert (response.status_code, response.headers["location"]) == (302, "/notes/")
    assert "<li>crème brûlée &amp; &lt;b&gt;</li>" in client.get("/notes/").text


def test_form_is_refused_without_its_token(client: httpx.Client) -> None:
    client.get("/notes/")
    assert client.post("/notes/", data={"text": "forged"}).status_code == 403
    assert "forged" not in client.get("/notes/").text


def test_upload_of_five_megabytes_arrives_whole(client: httpx.Client) -> None:
    content = os.urandom(FIVE_MB)
    response = client.post(
        "/upload/", files={"file": ("photo.bin", content)}, data={"comment": "größer"}
    )
    assert response.json() == {
        "name": "photo.bin",
        "size": FIVE_MB,
        "sha256": hashlib.sha256(content).hexdigest(),
        "comment": "größer",
    }


def test_stream_arrives_while_it_is_made(client: httpx.Client) -> None:
    """The rest of it is made only when a second request asks for it."""
    with client.stream("GET", "/stream/") as response:
        lines = response.iter_lines()
        assert next(lines) == "line 0"
        assert client.get("/release/").text == "released"
        assert list(lines) == [f"line {number}" for number in range(1, 1000)]


def test_file_is_downloaded_whole(client: httpx.Client) -> None:
    response = client.get("/download/")
    assert response.headers["content-disposition"] == 'attachment; filename="report.bin"'
    assert response.headers["content-length"] == str(len(REPORT))
    assert response.content == REPORT


def test_head_of_a_download_has_its_length_and_no_body(client: httpx.Client) -> None:
    response = client.head("/download/")
    assert response.headers["content-length"] == str(len(REPORT))
    assert response.content == b""


def test_mistake_is_answered_and_the_site_serves_on(site: Site, client: httpx.Client) -> None:
    """Django answers and logs it itself; its page tells nothing with DEBUG off."""
    response = client.get("/broken/")
    assert response.status_code == 500
    assert "leaks" not in response.text
    site.command.wait_for_log("the boiler of the Django site leaks")
    assert client.get("/nowhere/").status_code == 404


def test_site_stops_when_it_is_told(tmp_path: Path) -> None:
    """[STOP-1]: idle keep-alive clients do not hold it up."""
    with (
        running_command(
            "--app-dir",
            str(APPS),
            "django_site.wsgi:application",
            env={"DJANGO_SITE_DATA": str(tmp_path)},
        ) as command,
        httpx.Client(base_url=command.url, timeout=PATIENCE) as client,
    ):
        assert client.get("/nowhere/").status_code == 404
        command.signal(signal.SIGTERM)
        assert command.wait(10) == 0
        assert "stopped requests=1 " in command.wait_for_log("stopped requests=")
