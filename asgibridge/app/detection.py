"""Which interface a callable speaks: the decision, without calling or importing anything.

Nothing in Python says "this is an ASGI application", so the way it wants to be called decides:
three positional arguments make ASGI, two make WSGI, and a coroutine function is never WSGI.  What
counts is the function that really runs, so the code object is asked and not
`inspect.signature()`, which believes decorators (`__wrapped__`, `__signature__`) first.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import math
import types
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Nature", "detect", "is_made_without_arguments", "may_speak", "missing_arguments"]

# Words by which the specifications call the arguments.  Only a tie-break: names are free.
_ASGI_NAMES: Final = frozenset({"scope", "receive", "send"})
_WSGI_NAMES: Final = frozenset({"environ", "start_response"})

# Partials, proxies and wrappers around each other; also the end of `f.__wrapped__ = f`.
_MAX_LAYERS: Final = 32

# Implemented in C: what they take is not to be seen, or `(*args, **kwargs)` at best.
_OPAQUE: Final = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)


class Nature(enum.Enum):
    """What an object is to a server."""

    ASGI = "asgi"
    WSGI = "wsgi"
    ASGI2 = "ASGI 2: called with the scope, it returns what takes receive and send"
    FACTORY = "callable without arguments: it probably makes the application"
    ASYNC_FACTORY = "a coroutine function without arguments"
    APPLICATION_CLASS = "a class whose instances are applications"
    UNCLEAR = "callable in both ways, as far as can be seen"
    UNFIT = "callable, but in neither way"
    NOT_CALLABLE = "not callable"


def detect(candidate: object) -> Nature:
    """Say what *candidate* is, by the way in which it is to be called."""
    if not callable(candidate):
        return Nature.NOT_CALLABLE
    if isinstance(candidate, type):
        return _nature_of_class(candidate)
    for shape in _shapes(candidate):
        nature = _nature_of_shape(shape)
        if nature is not Nature.UNCLEAR:
            return nature
    # Last, because `functools.wraps` copies the mark onto wrappers that are no coroutines.
    return Nature.ASGI if _is_marked_as_coroutine(candidate) else Nature.UNCLEAR


def may_speak(candidate: object, interface: Literal["asgi", "wsgi"]) -> bool:
    """Tell whether calling *candidate* as *interface* asks for can work at all.

    For a user who insists: weaker than `detect()`, which prefers the likely reading.
    """
    if not callable(candidate):
        return False
    shape = next(_shapes(candidate), None)
    if shape is None:
        return True
    if interface == "asgi":
        return shape.fits(3)
    return shape.fits(2) and not shape.is_async


def missing_arguments(candidate: object) -> tuple[str, ...]:
    """Name the arguments without which *candidate* can't be called, as far as can be seen."""
    shape = next(_shapes(candidate), None)
    return () if shape is None else (*shape.names[: shape.required], *shape.required_keywords)


def is_made_without_arguments(candidate: type) -> bool:
    """Tell whether the class *candidate* makes an instance when called with nothing."""
    return not missing_arguments(candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How a function wants to be called, after what is already bound."""

    names: tuple[str, ...]  # of the positional parameters
    required: int  # how many of them, from the left, have no default
    maximum: float  # infinite with *args
    required_keywords: tuple[str, ...]
    is_async: bool
    is_async_generator: bool
    makes_asgi2_instance: bool

    def fits(self, count: int) -> bool:
        """Tell whether a call with *count* positional arguments is accepted."""
        return self.required <= count <= self.maximum and not self.required_keywords

    def uses(self, names: frozenset[str]) -> bool:
        """Tell whether one of the parameters has one of these *names*."""
        return not names.isdisjoint(self.names)

    def looks_like_factory(self) -> bool:
        """Tell whether it can be called with nothing and has no wish for a request."""
        return self.fits(0) and math.isfinite(self.maximum) and not self.uses(_ALL_NAMES)


_ALL_NAMES: Final = _ASGI_NAMES | _WSGI_NAMES

# What calling a class without a constructor takes.
_NO_ARGUMENTS: Final = _Shape(
    names=(),
    required=0,
    maximum=0,
    required_keywords=(),
    is_async=False,
    is_async_generator=False,
    makes_asgi2_instance=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """Arguments that are given before the server gives its own: `self`, those of partials."""

    count: int = 0
    keywords: frozenset[str] = frozenset()

    def plus(self, count: int, keywords: frozenset[str] = frozenset()) -> _Bound:
        return _Bound(count=self.count + count, keywords=self.keywords | keywords)


_NOTHING_BOUND: Final = _Bound()


def _nature_of_shape(shape: _Shape) -> Nature:
    if shape.is_async_generator or shape.required_keywords:
        return Nature.UNFIT
    if shape.looks_like_factory():
        return Nature.ASYNC_FACTORY if shape.is_async else Nature.FACTORY
    if shape.is_async:
        return Nature.ASGI if shape.fits(3) else Nature.UNFIT
    return _nature_of_plain_shape(shape)


def _nature_of_plain_shape(shape: _Shape) -> Nature:
    match shape.fits(2), shape.fits(3):
        case True, True:
            return _nature_by_names(shape)
        case True, False:
            return Nature.WSGI
        case False, True:  # a plain function that returns another one's coroutine
            return Nature.ASGI
        case _:
            return Nature.ASGI2 if _is_asgi2_function(shape) else Nature.UNFIT


def _nature_by_names(shape: _Shape) -> Nature:
    if shape.uses(_WSGI_NAMES):
        return Nature.WSGI
    if shape.uses(_ASGI_NAMES):
        return Nature.ASGI
    # def app(env, start, extra=None): what PEP 3333 passes is all that it insists on.
    if shape.required == 2:  # noqa: PLR2004 -- environ and start_response
        return Nature.WSGI
    return Nature.UNCLEAR


def _is_asgi2_function(shape: _Shape) -> bool:
    return shape.fits(1) and (shape.names[:1] == ("scope",) or shape.makes_asgi2_instance)


def _nature_of_class(candidate: type) -> Nature:
    """Decide about a class: calling it is making an instance, which then must be something."""
    constructor = next(_shapes(candidate), None)
    call = _find_in_class(candidate, "__call__")
    if call is not None:
        return _nature_of_class_with_call(constructor, call)
    if constructor is None:
        return Nature.UNCLEAR
    # `await Endpoint(scope, receive, send)`, as Starlette's endpoints do.
    if constructor.fits(3) and _find_in_class(candidate, "__await__") is not None:
        return Nature.ASGI
    # PEP 3333 shows it: the constructor is the application and the instance is the iterable.
    if constructor.fits(2) and _find_in_class(candidate, "__iter__") is not None:
        return Nature.WSGI
    return Nature.UNFIT


def _nature_of_class_with_call(constructor: _Shape | None, call: object) -> Nature:
    shape = next(_shapes(call, _NOTHING_BOUND.plus(1)), None)
    takes_receive_and_send = shape is not None and (
        shape.names == ("receive", "send")
        or (shape.is_async and shape.fits(2) and not shape.fits(3))
    )
    if takes_receive_and_send:
        takes_scope = constructor is not None and constructor.required == 1
        return Nature.ASGI2 if takes_scope else Nature.UNFIT
    if shape is not None and _nature_of_shape(shape) is Nature.UNFIT:
        return Nature.UNFIT
    return Nature.APPLICATION_CLASS


def _shapes(candidate: object, bound: _Bound = _NOTHING_BOUND, layer: int = 0) -> Iterator[_Shape]:
    """Yield the shape of what really runs, then of what that says it wraps.

    The later ones are for the case that the earlier ones take anything (`*args, **kwargs`).
    """
    if layer == _MAX_LAYERS:
        return
    inner = layer + 1
    match candidate:
        case functools.partial():
            more = bound.plus(len(candidate.args), frozenset(candidate.keywords))
            yield from _shapes(candidate.func, more, inner)
            return  # its __wrapped__, if any, is that same function, without the arguments
        case types.MethodType():
            yield from _shapes(candidate.__func__, bound.plus(1), inner)
            return  # its __wrapped__ is the function's, asked for there with `self` bound
        case types.FunctionType():
            yield _shape_of_function(candidate, bound)
        case type():
            yield from _shapes_of_constructor(candidate, bound, inner)
            return
        case _ if not isinstance(candidate, _OPAQUE):
            yield from _shapes_of_instance(candidate, bound, inner)
        case _:
            pass  # but it may say what it wraps, as functools.cache does
    wrapped = None
    with suppress(Exception):  # a proxy may have nothing behind it now
        wrapped = getattr(candidate, "__wrapped__", None)
    if callable(wrapped):
        yield from _shapes(wrapped, bound, inner)


def _shapes_of_instance(candidate: object, bound: _Bound, layer: int) -> Iterator[_Shape]:
    # Python looks `__call__` up in the class, never in the instance: so do we.
    call = _find_in_class(type(candidate), "__call__")
    if isinstance(call, types.FunctionType):
        yield from _shapes(call, bound.plus(1), layer)
        return
    bind = getattr(call, "__get__", None)
    if bind is not None:  # staticmethod, partialmethod, a slot, a proxy's
        with suppress(Exception):
            call = bind(candidate, type(candidate))
    if call is not None:
        yield from _shapes(call, bound, layer)


def _shapes_of_constructor(candidate: type, bound: _Bound, layer: int) -> Iterator[_Shape]:
    for name in ("__init__", "__new__"):
        constructor = _find_in_class(candidate, name)
        if isinstance(constructor, staticmethod):  # __new__ is made one by Python
            constructor = constructor.__func__
        if constructor is not None:  # written in C, it yields nothing
            yield from _shapes(constructor, bound.plus(1), layer)
            return
    yield _NO_ARGUMENTS


def _find_in_class(candidate: type, name: str) -> object | None:
    for parent in candidate.__mro__:
        if parent is not object and name in vars(parent):
            found: object = vars(parent)[name]
            return found
    return None


def _shape_of_function(function: types.FunctionType, bound: _Bound) -> _Shape:
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    without_default = len(names) - len(function.__defaults__ or ())
    # partial(app, x=1): x and all after it can only be given by keyword from now on.
    end = next((at for at, name in enumerate(names) if name in bound.keywords), len(names))
    left = names[bound.count : end]
    required_keywords = (
        *names[max(end, bound.count) : without_default],
        *(name for name in keyword_only if name not in (function.__kwdefaults__ or {})),
    )
    takes_any = bool(code.co_flags & inspect.CO_VARARGS) and end == len(names)
    return _Shape(
        names=left,
        required=max(min(without_default, end) - bound.count, 0),
        maximum=math.inf if takes_any else end - bound.count,
        required_keywords=tuple(n for n in required_keywords if n not in bound.keywords),
        is_async=bool(code.co_flags & inspect.CO_COROUTINE),
        is_async_generator=bool(code.co_flags & inspect.CO_ASYNC_GENERATOR),
        makes_asgi2_instance=any(map(_takes_receive_and_send, code.co_consts)),
    )


def _takes_receive_and_send(constant: object) -> bool:
    return (
        isinstance(constant, types.CodeType)
        and bool(constant.co_flags & inspect.CO_COROUTINE)
        and constant.co_argcount == 2  # noqa: PLR2004 -- receive and send
    )


def _is_marked_as_coroutine(candidate: object) -> bool:
    with suppress(Exception):  # a proxy may have nothing behind it now
        if inspect.iscoroutinefunction(candidate):
            return True
        # inspect.markcoroutinefunction() came with Python 3.12; asgiref used asyncio's mark before.
        mark = vars(asyncio.coroutines).get("_is_coroutine")
        return mark is not None and getattr(candidate, "_is_coroutine", None) is mark
    return False
