"""A small real FastAPI site: lifespan state, streaming, background tasks, uploads, disconnects."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import threading
from collections import defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import flask_site  # type: ignore[import-not-found]  # beside it: --app-dir
from fastapi import BackgroundTasks, FastAPI, Request, UploadFile
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.gzip import GZipMiddleware

from asgibridge import WSGIMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Seconds.  Bounds a request that waits for another one which never comes.
PATIENCE = 20.0

log = logging.getLogger("fastapi_site")
log.addHandler(logging.StreamHandler(sys.stderr))
log.setLevel(logging.INFO)


class State(TypedDict):
    greeting: str
    events: defaultdict[str, asyncio.Event]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    log.info("boiler heated")
    yield {"greeting": "hello from the lifespan", "events": defaultdict(asyncio.Event)}
    log.info("boiler cooled")


app = FastAPI(lifespan=lifespan)
app.mount("/static", StaticFiles(directory=Path(__file__).parent))
app.mount("/flask", WSGIMiddleware(flask_site.app))
app.mount("/packed", GZipMiddleware(WSGIMiddleware(flask_site.app), minimum_size=10))


class Order(BaseModel):
    item: str
    amount: Annotated[int, Field(gt=0)]


async def _wait_for(request: Request, key: str) -> bool:
    await asyncio.wait_for(request.state.events[key].wait(), PATIENCE)
    return True


@app.get("/")
async def index(request: Request) -> str:
    return str(request.state.greeting)


@app.post("/orders")
async def order(order: Order) -> Order:
    return order


@app.get("/thread")
def thread() -> bool:
    """Say whether a plain function runs in the loop's own thread."""
    return threading.current_thread() is threading.main_thread()


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, str | int | None]:
    content = await file.read()
    return {
        "name": file.filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@app.post("/digest")
async def digest(request: Request) -> str:
    """Read the body as it comes, never whole."""
    value = hashlib.sha256()
    async for chunk in request.stream():
        value.update(chunk)
    return value.hexdigest()


@app.get("/stream")
async def stream(request: Request) -> StreamingResponse:
    """Stream lines; all but the first wait until another request has released them."""

    async def lines() -> AsyncIterator[str]:
        yield "line 0\n"
        await _wait_for(request, "release")
        for number in range(1, 1000):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/release")
async def release(request: Request) -> str:
    request.state.events["release"].set()
    return "released"


@app.post("/jobs/{name}")
async def begin(name: str, request: Request, tasks: BackgroundTasks) -> str:
    """Answer at once; the job ends only after another request has asked for its end."""

    async def job() -> None:
        await _wait_for(request, f"asked {name}")
        request.state.events[f"done {name}"].set()

    tasks.add_task(job)
    return "begun"


@app.get("/jobs/{name}")
async def done(name: str, request: Request) -> bool:
    request.state.events[f"asked {name}"].set()
    return await _wait_for(request, f"done {name}")


@app.get("/watch/{name}")
async def watch(name: str, request: Request) -> str:
    """Work in steps until the client has gone."""
    request.state.events[f"watching {name}"].set()
    while not await request.is_disconnected():  # noqa: ASYNC110 - Starlette has no event for it
        await asyncio.sleep(0.01)
    request.state.events[f"left {name}"].set()
    return "nobody reads this"


@app.get("/watching/{name}")
async def watching(name: str, request: Request) -> bool:
    return await _wait_for(request, f"watching {name}")


@app.get("/left/{name}")
async def left(name: str, request: Request) -> bool:
    return await _wait_for(request, f"left {name}")


@app.get("/download")
async def download() -> FileResponse:
    return FileResponse(__file__, media_type="text/x-python", filename="site.py")


@app.get("/hinted")
async def hinted(request: Request) -> str:
    """Tell the browser early what it will need."""
    await request.send_early_hints("</static/style.css>; rel=preload; as=style")
    return "the page"


@app.get("/broken")
async def broken() -> str:
    raise RuntimeError("the boiler of the FastAPI site leaks")
