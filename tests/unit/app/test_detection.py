"""What an object is to a server, told from the object alone."""

# ruff: noqa: ARG001, ARG002, ARG004 -- how they are called matters, and nobody calls them

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from typing import TYPE_CHECKING, ClassVar, Self
from unittest.mock import Mock

import a2wsgi
import pytest
from asgiref.compatibility import double_to_single_callable
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from fastapi import FastAPI
from flask import Flask, request
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from werkzeug.debug import DebuggedApplication
from werkzeug.local import LocalProxy

from asgibridge.app.detection import Nature, detect, may_speak, missing_arguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ASGI, WSGI, ASGI2 = Nature.ASGI, Nature.WSGI, Nature.ASGI2
FACTORY, UNFIT, UNCLEAR = Nature.FACTORY, Nature.UNFIT, Nature.UNCLEAR
ASYNC_FACTORY, APPLICATION_CLASS = Nature.ASYNC_FACTORY, Nature.APPLICATION_CLASS
NOT_CALLABLE = Nature.NOT_CALLABLE


async def asgi(scope: object, receive: object, send: object) -> None: ...


def wsgi(environ: object, start_response: object) -> list[bytes]:
    return []


async def renamed_asgi(a: object, b: object, c: object) -> None: ...


async def asgi_with_more(config: object, scope: object, receive: object, send: object) -> None: ...


def wsgi_with_more(config: object, environ: object, start_response: object) -> list[bytes]:
    return []


async def asgi_with_option(
    scope: object, receive: object, send: object, extra: object = None
) -> None: ...


def wsgi_with_option(a: object, b: object, c: object = None) -> list[bytes]:
    return []


def wsgi_generator(environ: object, start_response: object) -> Iterator[bytes]:
    yield b""


def passes_on(scope: object, receive: object, send: object) -> object:
    return asgi(scope, receive, send)


def named_for_asgi(scope: object, *others: object) -> object:
    return asgi(scope, *others)


def asgi2_by_name(scope: object) -> None: ...


def asgi2_by_body(what: object) -> object:
    async def instance(receive: object, send: object) -> None: ...

    return instance


async def async_generator(scope: object, receive: object, send: object) -> AsyncIterator[None]:
    yield


async def async_wsgi(environ: object, start_response: object) -> list[bytes]:
    return []


def create_app() -> None: ...


def create_app_with_options(config: object = None, debug: bool = False) -> None: ...  # noqa: FBT001, FBT002


def create_app_with_keywords(*, config: object = None) -> None: ...


def create_app_with_arguments(config: object) -> None: ...


def create_app_with_required_keyword(*, config: object) -> None: ...


async def create_app_async() -> None: ...


def anything(*args: object, **kwargs: object) -> None: ...


async def anything_async(*args: object, **kwargs: object) -> None: ...


def honest(function: Callable[..., object]) -> Callable[..., object]:
    """Wrap in the usual way: takes anything, says what it wraps."""

    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return wrapper


def served_by_thread(function: Callable[..., object]) -> Callable[..., object]:
    """Make WSGI of an ASGI application, which it claims to be."""

    @functools.wraps(function)
    def wrapper(environ: object, start_response: object) -> list[bytes]:
        return []

    return wrapper


def served_by_loop(function: Callable[..., object]) -> Callable[..., object]:
    """Make ASGI of a WSGI application, which it claims to be."""

    @functools.wraps(function)
    async def wrapper(*args: object) -> None: ...

    return wrapper


class AsgiInstance:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...

    async def method(self, scope: object, receive: object, send: object) -> None: ...

    @classmethod
    async def class_method(cls, scope: object, receive: object, send: object) -> None: ...

    @staticmethod
    async def static_method(scope: object, receive: object, send: object) -> None: ...


class WsgiInstance:
    def __call__(self, environ: object, start_response: object) -> list[bytes]:
        return []

    def method(self, environ: object, start_response: object) -> list[bytes]:
        return []


class Inherits(WsgiInstance):
    pass


class DecoratedCall:
    @honest
    def __call__(self, environ: object, start_response: object) -> list[bytes]:
        return []


class DecoratedMethod:
    @honest
    def method(self, first: object, *others: object) -> None: ...


class StaticCall:
    __call__ = staticmethod(asgi)


class PartialCall:
    __call__ = functools.partialmethod(AsgiInstance.method)


class ObjectCall:
    __call__: ClassVar[object] = AsgiInstance()


class SlotCall:
    """Chooses in its constructor what calling it means, as some middleware does."""

    __slots__ = ("__call__",)

    def __init__(self) -> None:
        self.__call__ = self.run

    async def run(self, scope: object, receive: object, send: object) -> None: ...


class Decorator:
    def __init__(self, function: Callable[..., object]) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *args: object, **kwargs: object) -> None: ...


class Asgi2Class:
    def __init__(self, scope: object) -> None: ...

    async def __call__(self, receive: object, send: object) -> None: ...


class Asgi2Instance:
    def __call__(self, scope: object) -> None: ...


class WsgiClass:
    def __init__(self, environ: object, start_response: object) -> None: ...

    def __iter__(self) -> Iterator[bytes]:
        yield b""


class MadeByNew:
    def __new__(cls, environ: object, start_response: object) -> Self:
        return super().__new__(cls)

    def __iter__(self) -> Iterator[bytes]:
        yield b""


class Middleware:
    def __init__(self, app: object) -> None: ...

    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


class DictWithCall(dict[str, str]):
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


class Nothing:
    pass


def cyclic(*args: object) -> None: ...


cyclic.__wrapped__ = cyclic  # type: ignore[attr-defined]

flask_app = Flask("shop")

CASES: list[tuple[str, object, Nature]] = [
    # functions
    ("async function", asgi, ASGI),
    ("async function, other names", renamed_asgi, ASGI),
    ("async function with an option", asgi_with_option, ASGI),
    ("async function of anything", anything_async, ASGI),
    ("plain function that returns a coroutine", passes_on, ASGI),
    ("lambda that returns a coroutine", lambda s, r, t: asgi(s, r, send=t), ASGI),
    ("plain function told by its names", named_for_asgi, ASGI),
    ("function", wsgi, WSGI),
    ("lambda", lambda e, s: wsgi(e, start_response=s), WSGI),
    ("function with an option", wsgi_with_option, WSGI),
    ("generator", wsgi_generator, WSGI),
    ("ASGI 2 function by name", asgi2_by_name, ASGI2),
    ("ASGI 2 function by body", asgi2_by_body, ASGI2),
    ("async generator", async_generator, UNFIT),
    ("async function of WSGI's arguments", async_wsgi, UNFIT),
    ("function of anything", anything, UNCLEAR),
    ("wrapper of itself", cyclic, UNCLEAR),
    # factories
    ("factory", create_app, FACTORY),
    ("factory with options", create_app_with_options, FACTORY),
    ("factory with keywords", create_app_with_keywords, FACTORY),
    ("factory with arguments", create_app_with_arguments, UNFIT),
    ("factory with a required keyword", create_app_with_required_keyword, UNFIT),
    ("async factory", create_app_async, ASYNC_FACTORY),
    ("Django's WSGI factory", get_wsgi_application, FACTORY),
    ("Django's ASGI factory", get_asgi_application, FACTORY),
    # partials
    ("partial of async function", functools.partial(asgi_with_more, 1), ASGI),
    ("partial of partial", functools.partial(functools.partial(asgi_with_more), 1), ASGI),
    ("partial by keyword", functools.partial(asgi_with_option, extra=1), ASGI),
    ("partial by keyword of the first", functools.partial(asgi_with_more, config=1), UNFIT),
    ("partial of instance", functools.partial(AsgiInstance()), ASGI),
    ("partial of partial of instance", functools.partial(functools.partial(AsgiInstance())), ASGI),
    ("partial of method", functools.partial(WsgiInstance().method), WSGI),
    ("partial of function", functools.partial(wsgi_with_more, 1), WSGI),
    ("partial with too many", functools.partial(wsgi, 1), UNFIT),
    ("partial of factory", functools.partial(create_app_with_arguments, 1), FACTORY),
    ("partial of everything", functools.partial(wsgi, 1, 2), FACTORY),
    # methods and instances
    ("instance with async call", AsgiInstance(), ASGI),
    ("instance with call", WsgiInstance(), WSGI),
    ("instance with inherited call", Inherits(), WSGI),
    ("instance with decorated call", DecoratedCall(), WSGI),
    ("instance with static call", StaticCall(), ASGI),
    ("instance with partial call", PartialCall(), ASGI),
    ("instance with an object as call", ObjectCall(), ASGI),
    ("instance with call in a slot", SlotCall(), ASGI),
    ("bound async method", AsgiInstance().method, ASGI),
    ("bound __call__", AsgiInstance().__call__, ASGI),
    ("class method", AsgiInstance.class_method, ASGI),
    ("static method", AsgiInstance.static_method, ASGI),
    ("bound method", WsgiInstance().method, WSGI),
    ("bound method, wrapped, of anything", DecoratedMethod().method, UNCLEAR),
    ("ASGI 2 instance", Asgi2Instance(), ASGI2),
    ("mock", Mock(), UNCLEAR),
    # decorated: what runs decides, what is wrapped only if that can't be told
    ("wrapped async function", honest(asgi), ASGI),
    ("wrapped function", honest(wsgi), WSGI),
    ("wrapped twice", honest(honest(wsgi)), WSGI),
    ("wrapped factory", honest(create_app), FACTORY),
    ("wrapped by instance", Decorator(asgi), ASGI),
    ("wrapped by C", functools.lru_cache(wsgi), WSGI),
    ("WSGI wrapper of ASGI", served_by_thread(asgi), WSGI),
    ("ASGI wrapper of WSGI", served_by_loop(wsgi), ASGI),
    # classes
    ("ASGI 2 class", Asgi2Class, ASGI2),
    ("WSGI class", WsgiClass, WSGI),
    ("WSGI class with __new__", MadeByNew, WSGI),
    ("ASGI class to await", HTTPEndpoint, ASGI),
    ("class of instances with async call", AsgiInstance, APPLICATION_CLASS),
    ("class of instances with call", WsgiInstance, APPLICATION_CLASS),
    ("middleware class", Middleware, APPLICATION_CLASS),
    ("class with a constructor in C", DictWithCall, APPLICATION_CLASS),
    ("FastAPI itself", FastAPI, APPLICATION_CLASS),
    ("Flask itself", Flask, APPLICATION_CLASS),
    ("other class", Nothing, UNFIT),
    ("class in C", dict, UNCLEAR),
    # frameworks
    # not through their constructors, which need settings for the whole process
    ("Django ASGI", ASGIHandler.__new__(ASGIHandler), ASGI),
    ("Django WSGI", WSGIHandler.__new__(WSGIHandler), WSGI),
    ("Flask", flask_app, WSGI),
    ("Flask.wsgi_app", flask_app.wsgi_app, WSGI),
    ("Flask through a proxy", LocalProxy(lambda: flask_app), UNCLEAR),
    ("proxy of nothing", request, UNCLEAR),
    ("Werkzeug's debugger", DebuggedApplication(flask_app), WSGI),
    ("Starlette", Starlette(), ASGI),
    ("Starlette's middleware", GZipMiddleware(Starlette()), ASGI),
    ("Starlette's response", Response(), ASGI),
    ("FastAPI", FastAPI(), ASGI),
    ("WSGI in ASGI", a2wsgi.WSGIMiddleware(wsgi), ASGI),
    ("ASGI in WSGI", a2wsgi.ASGIMiddleware(asgi), WSGI),
    ("ASGI 2 made ASGI 3", double_to_single_callable(Asgi2Class), ASGI),  # type: ignore[no-untyped-call]
    # things
    ("None", None, NOT_CALLABLE),
    ("text", "main:app", NOT_CALLABLE),
    ("module", sys, NOT_CALLABLE),
    ("instance of other class", Nothing(), NOT_CALLABLE),
    ("builtin", print, UNCLEAR),
]


@pytest.mark.parametrize(
    ("candidate", "expected"), [pytest.param(c, n, id=label) for label, c, n in CASES]
)
def test_nature_is_told_from_how_it_is_called(candidate: object, expected: Nature) -> None:
    assert expected is detect(candidate)


def marked(function: Callable[..., object]) -> Callable[..., object]:
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


def test_mark_of_a_coroutine_decides_where_nothing_else_does() -> None:
    assert ASGI is detect(marked(lambda *args: anything_async(*args, 1)))


def test_copied_mark_does_not_make_a_wsgi_wrapper_async() -> None:
    assert WSGI is detect(served_by_thread(marked(lambda *args: anything_async(*args, 1))))


@pytest.mark.parametrize(
    ("candidate", "as_asgi", "as_wsgi"),
    [
        pytest.param(asgi, True, False, id="ASGI alone"),
        pytest.param(wsgi, False, True, id="WSGI alone"),
        pytest.param(anything, True, True, id="anything"),
        pytest.param(anything_async, True, False, id="anything, but async"),
        pytest.param(honest(asgi), True, True, id="a wrapper may do what it likes"),
        pytest.param(print, True, True, id="what can't be seen"),
        pytest.param(create_app, False, False, id="factory"),
        pytest.param("main:app", False, False, id="text"),
    ],
)
def test_insisting_is_possible_where_the_call_can_work(
    candidate: object,
    as_asgi: bool,  # noqa: FBT001 -- from the table
    as_wsgi: bool,  # noqa: FBT001 -- from the table
) -> None:
    assert (as_asgi, as_wsgi) == (may_speak(candidate, "asgi"), may_speak(candidate, "wsgi"))


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (create_app, ()),
        (create_app_with_options, ()),
        (create_app_with_arguments, ("config",)),
        (create_app_with_required_keyword, ("config",)),
        (functools.partial(create_app_with_required_keyword, config=1), ()),
        (functools.partial(wsgi_with_more, 1), ("environ", "start_response")),
        (Middleware, ("app",)),
        (AsgiInstance, ()),
        (print, ()),
    ],
)
def test_missing_arguments_are_named(candidate: object, expected: tuple[str, ...]) -> None:
    assert expected == missing_arguments(candidate)
