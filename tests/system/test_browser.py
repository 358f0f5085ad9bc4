"""A real browser opens the demo's chat and talks: what no client of our own could prove.

Needs Chromium (Debian: `apt install chromium`).
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from support.browser import browsing, find_chromium
from support.commands import running_command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        find_chromium() is None, reason="no chromium is installed; on Debian: apt install chromium"
    ),
]

CONNECTED = "document.getElementById('state')?.textContent.startsWith('connected')"
LINES = "[...document.querySelectorAll('#log li')].map(each => each.textContent)"
SAY = """(() => {{
  document.forms[0].said.value = {text};
  document.forms[0].requestSubmit();
}})()"""


@pytest.fixture
def anyio_backend() -> str:
    """Drive the browser from one loop: the server has its own."""
    return "asyncio"


async def test_two_tabs_talk_to_each_other_until_the_server_says_goodbye(tmp_path: Path) -> None:
    """[ASGI-4] With compression, which browsers offer, and the close code in their hands."""
    text = "grüße, <b>everybody</b> " + "and so on " * 40
    with running_command("asgibridge.demo:asgi", "--log-level", "debug") as command:
        async with browsing(tmp_path / "profile") as browser:
            first = await browser.open(f"{command.url}/chat")
            await first.until(CONNECTED)
            second = await browser.open(f"{command.url}/chat")
            await second.until(CONNECTED)
            await first.until(f"{LINES}.length === 2")  # both have come in
            await first.run(SAY.format(text=json.dumps(text)))
            for page in (first, second):
                (line,) = await page.until(
                    f"{LINES}.filter(each => each.includes('everybody')).length === 1"
                    f" && {LINES}.filter(each => each.includes('everybody'))"
                )
                assert line.startswith("visitor ")
                assert line.endswith(text.strip())
            assert await first.run("socket.extensions.includes('permessage-deflate')")
            command.signal(signal.SIGTERM)
            for page in (first, second):
                await page.until(
                    "document.getElementById('state').textContent.startsWith('closed with 1001')"
                )
            assert command.wait(15) == 0


async def test_a_page_of_another_site_is_not_let_in(tmp_path: Path) -> None:
    """The demo checks the origin, as an application has to."""
    with (
        running_command("asgibridge.demo:asgi") as command,
        running_command("asgibridge.demo:asgi") as stranger,
    ):
        async with browsing(tmp_path / "profile") as browser:
            page = await browser.open(f"{stranger.url}/chat")
            await page.until(CONNECTED)
            url = command.url.replace("http:", "ws:") + "/chat"
            await page.run(
                f"window.other = new WebSocket({json.dumps(url)});"
                "window.other.onclose = event => {{ window.refused = event.code; }}"
            )
            assert await page.until("window.refused") == 1006
