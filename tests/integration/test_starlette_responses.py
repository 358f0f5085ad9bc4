"""What Starlette's documentation says of its responses and requests is so under this server.

An independent check of our ASGI: the applications here know Starlette only, the client is httpx,
and between them are real sockets.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from support.clients import RawClient
from support.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from starlette.routing import BaseRoute

PATIENCE: Final = 10.0
MIB: Final = 1 << 20


@asynccontextmanager
async def client_of(
    routes: Sequence[BaseRoute], middleware: Sequence[Middleware] = ()
) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=routes, middleware=middleware)
    async with (
        serving(app) as server,
        httpx.AsyncClient(base_url=server.urls[0], timeout=PATIENCE) as client,
    ):
        yield client


async def answer_of(endpoint: Callable[[Request], Awaitable[Response]]) -> httpx.Response:
    async with client_of([Route("/", endpoint)]) as client:
        return await client.get("/")


def of(response: Response) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_request: Request) -> Response:
        return response

    return endpoint


@pytest.mark.parametrize(
    ("response", "kind", "content"),
    [
        (Response(b"raw", media_type="image/png"), "image/png", b"raw"),
        (PlainTextResponse("grüße"), "text/plain; charset=utf-8", "grüße".encode()),
        (HTMLResponse("<p>"), "text/html; charset=utf-8", b"<p>"),
        (JSONResponse({"a": [1, None]}), "application/json", b'{"a":[1,null]}'),
    ],
)
async def test_a_whole_response_has_type_length_and_content(
    response: Response, kind: str, content: bytes
) -> None:
    answer = await answer_of(of(response))
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-length"] == str(len(content))


@pytest.mark.parametrize("status", [201, 204, 304, 404, 418, 503])
async def test_status_and_headers_are_those_of_the_application(status: int) -> None:
    answer = await answer_of(of(Response(status_code=status, headers={"X-A": "b"})))
    assert (answer.status_code, answer.headers["x-a"]) == (status, "b")
    assert answer.content == b""


async def test_cookies_are_set_one_by_one() -> None:
    response = Response()
    response.set_cookie("a", "1", httponly=True, samesite="strict", max_age=60)
    response.set_cookie("b", "2", path="/shop")
    response.delete_cookie("c")
    lines = (await answer_of(of(response))).headers.get_list("set-cookie")
    assert [line.partition("=")[0] for line in lines] == ["a", "b", "c"]
    assert "HttpOnly" in lines[0]
    assert "Path=/shop" in lines[1]


async def test_redirect_is_followed() -> None:
    routes = [
        Route("/", of(RedirectResponse("/there?a=b"))),
        Route("/there", of(PlainTextResponse("here"))),
    ]
    async with client_of(routes) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (307, "/there?a=b")
        assert (await client.get("/", follow_redirects=True)).text == "here"


@pytest.mark.parametrize("is_async", [True, False])
async def test_stream_arrives_piece_by_piece(*, is_async: bool) -> None:
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first "
        await go_on.wait()
        yield b"second"

    def plain() -> Iterator[str]:
        yield "first "
        yield "second"

    async def endpoint(_request: Request) -> Response:
        return StreamingResponse(pieces() if is_async else plain(), media_type="text/plain")

    async with client_of([Route("/", endpoint)]) as client, client.stream("GET", "/") as answer:
        assert "content-length" not in answer.headers
        got = b""
        async for piece in answer.aiter_raw():
            got += piece
            if got == b"first ":
                go_on.set()
        assert got == b"first second"


async def test_stream_ends_when_its_client_leaves() -> None:
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick"
                await asyncio.sleep(0.005)
        finally:
            ended.set()

    async def endpoint(_request: Request) -> Response:
        return StreamingResponse(pieces())

    async with client_of([Route("/", endpoint)]) as client:
        async with client.stream("GET", "/") as answer:
            async for _ in answer.aiter_raw():
                break
        await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_file_has_type_length_etag_and_ranges(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4 * 1024
    (tmp_path / "data.bin").write_bytes(content)

    async def endpoint(_request: Request) -> Response:
        return FileResponse(tmp_path / "data.bin", filename="grüße.bin")

    async with client_of([Route("/", endpoint)]) as client:
        whole = await client.get("/")
        assert whole.content == content
        assert whole.headers["content-length"] == str(MIB)
        assert whole.headers["etag"]
        assert whole.headers["last-modified"]
        assert whole.headers["content-disposition"].startswith("attachment; ")
        part = await client.get("/", headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, content[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{MIB}"
        beyond = await client.get("/", headers={"Range": f"bytes={MIB}-"})
        assert beyond.status_code == 416
        head = await client.head("/")
        assert (head.content, head.headers["content-length"]) == (b"", str(MIB))


async def test_static_files_are_served_and_not_sent_twice(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>hello")
    async with client_of([Mount("/", StaticFiles(directory=tmp_path))]) as client:
        first = await client.get("/page.html")
        assert first.text == "<p>hello"
        again = await client.get("/page.html", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/none.html")).status_code == 404
        assert (await client.post("/page.html")).status_code == 405


async def test_background_task_runs_behind_the_answer() -> None:
    let = asyncio.Event()
    done = asyncio.Event()

    async def work() -> None:
        await let.wait()
        done.set()

    async with client_of(
        [Route("/", of(PlainTextResponse("ok", background=BackgroundTask(work))))]
    ) as client:
        assert (await client.get("/")).text == "ok"
        assert not done.is_set()
        let.set()
        await asyncio.wait_for(done.wait(), PATIENCE)


async def test_body_is_read_whole_in_pieces_as_json_and_as_a_form() -> None:
    async def whole(request: Request) -> Response:
        return Response(await request.body())

    async def pieces(request: Request) -> Response:
        return PlainTextResponse(str(sum([len(piece) async for piece in request.stream()])))

    async def as_json(request: Request) -> Response:
        return JSONResponse(await request.json())

    async def form(request: Request) -> Response:
        async with request.form() as fields:
            upload = fields["file"]
            assert not isinstance(upload, str)
            return JSONResponse({"name": upload.filename, "size": len(await upload.read())})

    routes = [
        Route(f"/{each.__name__}", each, methods=["POST"])
        for each in (whole, pieces, as_json, form)
    ]
    async with client_of(routes) as client:
        body = bytes(3 * MIB)
        assert (await client.post("/whole", content=body)).content == body

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield bytes(MIB)

        assert (await client.post("/pieces", content=chunks())).text == str(3 * MIB)
        assert (await client.post("/as_json", json={"a": 1})).json() == {"a": 1}
        answer = await client.post("/form", files={"file": ("a.bin", body)})
        assert answer.json() == {"name": "a.bin", "size": 3 * MIB}


async def test_client_that_leaves_inside_of_its_upload_is_told_of() -> None:
    caught: list[BaseException] = []
    ended = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        try:
            await request.body()
        except ClientDisconnect as error:
            caught.append(error)
        ended.set()
        return Response()

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    async with serving(app) as server:
        async with RawClient.connect(server.urls[0]) as client:
            await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
            await asyncio.sleep(0.05)
            client.reset()
        await asyncio.wait_for(ended.wait(), PATIENCE)
    assert len(caught) == 1


async def test_disconnect_can_be_asked_for() -> None:
    seen = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        while not await request.is_disconnected():  # noqa: ASYNC110 - Starlette's own way
            await asyncio.sleep(0.005)
        seen.set()
        return Response()

    app = Starlette(routes=[Route("/", endpoint)])
    async with serving(app) as server:
        async with RawClient.connect(server.urls[0]) as client:
            await client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.05)
        await asyncio.wait_for(seen.wait(), PATIENCE)


async def test_exceptions_become_responses(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(_request: Request) -> Response:
        raise HTTPException(409, "twice", headers={"X-A": "b"})

    async def break_(_request: Request) -> Response:
        raise ZeroDivisionError

    routes = [Route("/refuse", refuse), Route("/break", break_)]
    async with client_of(routes) as client:
        answer = await client.get("/refuse")
        assert (answer.status_code, answer.text, answer.headers["x-a"]) == (409, "twice", "b")
        assert (await client.get("/break")).status_code == 500
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.post("/refuse")).status_code == 405
    assert "ZeroDivisionError" in caplog.text


async def test_middleware_sees_and_changes_what_passes() -> None:
    async def stamp(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers["x-stamp"] = request.url.path
        return response

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=stamp), Middleware(GZipMiddleware)]
    text = "hello " * 1000
    async with client_of([Route("/page", of(PlainTextResponse(text)))], middleware) as client:
        answer = await client.get("/page")
        assert (answer.text, answer.headers["x-stamp"]) == (text, "/page")
        assert answer.headers["content-encoding"] == "gzip"


async def test_url_and_client_are_those_of_the_request() -> None:
    async def endpoint(request: Request) -> Response:
        told = {
            "url": str(request.url),
            "base": str(request.base_url),
            "query": request.query_params.multi_items(),
            "client": request.client.host if request.client else None,
            "path": request.path_params["path"],
        }
        return JSONResponse(told)

    async with client_of([Route("/{path:path}", endpoint)]) as client:
        told = (await client.get("/caf%C3%A9/a?x=1&x=2&y=%20")).json()
    assert told["url"].endswith("/a?x=1&x=2&y=%20")
    assert told["base"].startswith("http://127.0.0.1:")
    assert told["query"] == [["x", "1"], ["x", "2"], ["y", " "]]
    assert (told["client"], told["path"]) == ("127.0.0.1", "café/a")
