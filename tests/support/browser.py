"""A real browser in the hands of a test: Chromium without a screen, over its DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

__all__ = ["Browser", "Page", "browsing", "find_chromium"]

# Seconds.  A cold start on a loaded machine takes some.
START_PATIENCE: Final = 40.0
PATIENCE: Final = 15.0
# Seconds between two looks at a page.
_PAUSE: Final = 0.02
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """Return the path of a Chromium; None if none is installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """A started browser."""

    def __init__(self, devtools: ClientConnection) -> None:
        """Command it over *devtools*."""
        self._devtools = devtools
        self._numbers = itertools.count(1)

    async def open(self, url: str) -> Page:
        """Open *url* in a tab of its own."""
        target = await self.command("Target.createTarget", url=url)
        attached = await self.command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        return Page(self, attached["sessionId"])

    async def command(self, method: str, session: str | None = None, **params: Any) -> Any:  # noqa: ANN401
        """Send a command and return its result.

        Raises:
            AssertionError: the browser says that it failed.
        """
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": params}
        if session is not None:
            asked["sessionId"] = session
        await self._devtools.send(json.dumps(asked))
        async with asyncio.timeout(PATIENCE):
            while True:
                told = json.loads(await self._devtools.recv())
                if told.get("id") == number:
                    assert "error" not in told, told
                    return told["result"]


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        """Be the tab of that *session*."""
        self._browser = browser
        self._session = session

    async def run(self, script: str) -> Any:  # noqa: ANN401 - whatever the script gives
        """Run *script* in the page and return its value."""
        result = await self._browser.command(
            "Runtime.evaluate", self._session, expression=script, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, script: str) -> Any:  # noqa: ANN401 - whatever the script gives
        """Wait until *script* gives something true, and return that.

        Raises:
            TimeoutError: it does not.
        """
        async with asyncio.timeout(PATIENCE):
            while not (value := await self.run(script)):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(_PAUSE)
        return value


@asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Browser]:
    """Start a browser with a new *profile*, and end it with the block."""
    chromium = find_chromium()
    assert chromium is not None, "no chromium is installed"
    process = await asyncio.create_subprocess_exec(
        chromium,
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_PATIENCE):
            while not (line := await process.stderr.readline()).startswith(b"DevTools listening"):
                assert line, "the browser ended before it listened"
        draining = asyncio.ensure_future(process.stderr.read())  # so that it never waits for us
        async with connect(line.split()[-1].decode(), max_size=None) as devtools:
            yield Browser(devtools)
        draining.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
