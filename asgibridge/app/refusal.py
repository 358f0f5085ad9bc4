"""What is said when something can't be served: the fact, then the next step.

Pure: objects and names come in, text goes out; nothing is imported, called or looked up on disk.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import types
from typing import TYPE_CHECKING

from asgibridge.app.detection import (
    Nature,
    detect,
    is_made_without_arguments,
    missing_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgibridge.app.target import Target

__all__ = [
    "name_of",
    "no_default_attribute",
    "no_such_attribute",
    "no_such_module",
    "no_such_submodule",
    "of_application",
    "of_async_factory",
    "of_factory",
    "of_raised",
    "parent_is_no_package",
]

# Enough to recognise one's project, few enough to read.
_MAX_LISTED = 8

_BOTH_WAYS = "an application is called with (scope, receive, send) or (environ, start_response)"


def name_of(candidate: object) -> str:
    """Name an object that was not found by name: an instance has only its class's."""
    named = candidate if isinstance(candidate, type | types.FunctionType) else type(candidate)
    return f"{named.__module__}:{named.__qualname__}"


def no_such_module(named: Target, *, siblings: Sequence[str], folder: str) -> str:
    """Refuse a module that is neither in *folder* nor elsewhere on the path."""
    top = named.module.partition(".")[0]
    fact = f"there is no module {top!r} in the folder {folder!r} or elsewhere on Python's path"
    if near := _near(top, siblings):
        rest = str(named).removeprefix(top)
        return f"{fact}; did you mean {_joined(repr(name + rest) for name in near)}?"
    step = "start in the project's folder or name that with --app-dir"
    if not named.attributes:
        step = f"write MODULE:ATTRIBUTE, for example main:{top}; if that is what it is, {step}"
    return f"{fact}; {step}{_listing('modules there', siblings)}"


def no_such_submodule(named: Target, parent: str, child: str, *, siblings: Sequence[str]) -> str:
    """Refuse a module that its package, which exists, doesn't have."""
    fact = f"the package {parent!r} has no module {child!r}"
    if near := _near(child, siblings):
        rest = str(named).removeprefix(f"{parent}.{child}")
        return f"{fact}; did you mean {_joined(repr(f'{parent}.{n}{rest}') for n in near)}?"
    return f"{fact}; correct the name{_listing('modules there', siblings)}"


def parent_is_no_package(named: Target, parent: str, child: str, *, has_child: bool) -> str:
    """Refuse main.app where main is a module: mostly a dot in the place of the colon."""
    fact = f"{parent!r} is a module and not a package, so there is no module {parent}.{child}"
    if has_child and not named.attributes:
        attributes = str(named).removeprefix(f"{parent}.")
        return f"{fact}; did you mean '{parent}:{attributes}'?"
    return f"{fact}; write MODULE:ATTRIBUTE with a colon between them"


def no_such_attribute(
    named: Target, depth: int, holder: str, found: object, *, is_module: bool
) -> str:
    """Refuse an attribute (number *depth* of the target's) that *found*, named *holder*, lacks."""
    missing, *after = named.attributes[depth:]
    fact = f"{holder!r} has no attribute {missing!r}"
    if is_module:
        attributes = ".".join(after) or "app"
        return f"{fact}, but a module of that name; write {holder}.{missing}:{attributes}"
    before = named.attributes[:depth]
    public = [name for name in dir(found) if not name.startswith("_") or missing.startswith("_")]
    if near := _near(missing, public):
        paths = (f"{named.module}:{'.'.join((*before, name, *after))}" for name in near)
        return f"{fact}; did you mean {_joined(map(repr, paths))}?"
    own = [name for name in public if _is_own(name, found)]
    return f"{fact}; name an attribute that it has{_listing('there are', own or public)}"


def no_default_attribute(module: types.ModuleType, *, factory: bool) -> str:
    """Refuse a module that was named alone and has none of the usual attributes."""
    tried = "'create_app' nor 'make_app'" if factory else "'app' nor 'application'"
    fact = f"the module {module.__name__!r} has neither {tried}"
    attributes = vars(module).items()
    likely = [name for name, value in attributes if _is_likely(name, value, factory=factory)]
    likely = likely or _near("create_app" if factory else "application", vars(module))
    if likely:
        names = _joined(f"'{module.__name__}:{name}'" for name in likely[:_MAX_LISTED])
        return f"{fact}; did you mean {names}?"
    return f"{fact}; write {module.__name__}:ATTRIBUTE"


def of_application(  # noqa: PLR0911 -- one for each nature
    candidate: object, nature: Nature, name: str
) -> str:
    """Refuse what was found, or what the factory made, as an application."""
    match nature:
        case Nature.NOT_CALLABLE:
            return _of_uncallable(candidate, name)
        case Nature.FACTORY:
            return f"{name} takes no arguments, so it seems to make the application; add --factory"
        case Nature.ASYNC_FACTORY:
            return of_async_factory(name)
        case Nature.ASGI2:
            return (
                f"{name} is an application of ASGI 2 (called with the scope, it returns what takes "
                f"receive and send), which is not served; wrap it with "
                f"asgiref.compatibility.guarantee_single_callable or move it to ASGI 3"
            )
        case Nature.APPLICATION_CLASS:
            return _of_class(candidate, name)
        case Nature.UNCLEAR:
            return (
                f"{name} can be called in any way, so its interface is not to be seen; "
                f"say which: --interface asgi or --interface wsgi"
            )
        case Nature.UNFIT:
            return _of_unfit(candidate, name)
        case Nature.ASGI | Nature.WSGI:
            return (
                f"{name} takes the arguments of {nature.name} alone; "
                f"leave --interface out or say --interface {nature.value}"
            )


def of_factory(candidate: object, name: str) -> str | None:
    """Say why *candidate* can't be called as a factory; None when nothing speaks against it."""
    nature = detect(candidate)
    if nature is Nature.NOT_CALLABLE:
        return f"--factory: {_of_uncallable(candidate, name)}"
    if nature is Nature.ASYNC_FACTORY:
        return of_async_factory(name)
    missing = missing_arguments(candidate)
    if not missing:
        return None
    if nature in {Nature.ASGI, Nature.WSGI}:
        return f"{name} is an application and not a factory; leave --factory out"
    return (
        f"the factory {name} needs arguments ({', '.join(missing)}) and is called without any; "
        f"give them defaults, or name a function without arguments that calls it"
    )


def of_async_factory(name: str) -> str:
    """Refuse a factory that would have to be awaited."""
    return (
        f"the factory {name} is a coroutine function, and there is no event loop yet; make it a "
        f"plain function (with --factory) and do what has to be awaited in the lifespan startup"
    )


def of_raised(doing: str, error: BaseException) -> str:
    """Report that the user's code raised *error* while *doing* something."""
    if isinstance(error, SystemExit):
        return (
            f"{doing} ended the program with SystemExit({error.code!r}); "
            f"put what runs as a script under if __name__ == '__main__'"
        )
    fact = f"{doing} raised {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        step = f"install what brings {error.name!r} where asgibridge runs, or correct the import"
        return f"{fact}; {step}"
    return f"{fact}; correct what its traceback shows"


def _of_uncallable(candidate: object, name: str) -> str:
    if isinstance(candidate, types.ModuleType):
        return f"{name} is a module and no application; write {candidate.__name__}:app"
    kind = type(candidate).__name__
    return f"{name} is not callable (its type is {kind}); {_BOTH_WAYS}"


def _of_class(candidate: object, name: str) -> str:
    fact = f"{name} is a class and no application itself"
    if isinstance(candidate, type) and is_made_without_arguments(candidate):
        return f"{fact}; name an instance of it, or add --factory to have one made"
    return f"{fact}; make an instance of it and name that"


def _of_unfit(candidate: object, name: str) -> str:
    if isinstance(candidate, type):
        return f"{name} is a class whose instances are no applications; {_BOTH_WAYS}"
    called = candidate
    if not isinstance(candidate, types.FunctionType | types.MethodType | functools.partial):
        called = getattr(type(candidate), "__call__", None)  # noqa: B004 -- wanted, not asked about
    if inspect.isasyncgenfunction(called):
        return f"{name} is an async generator (it has a yield); respond with send() in its place"
    takes = f"takes ({', '.join(missing_arguments(candidate))})"
    if inspect.iscoroutinefunction(called):
        return (
            f"{name} is a coroutine function and {takes}; let it take (scope, receive, send) for "
            f"ASGI, or make it a plain function for WSGI"
        )
    return (
        f"{name} {takes}, but {_BOTH_WAYS}; "
        f"if it makes the application, give its arguments defaults and add --factory"
    )


def _is_own(name: str, holder: object) -> bool:
    """Whether it can be called, and was not merely imported to be used."""
    # Looked up in its dictionary: a property would run code of the application's.
    value = getattr(holder, "__dict__", {}).get(name)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return value.__module__ == getattr(holder, "__name__", None)
    return callable(value)


def _is_likely(name: str, value: object, *, factory: bool) -> bool:
    # By their arguments alone too many functions look like applications: instances tell more.
    is_function = isinstance(value, types.FunctionType)
    if name.startswith("_") or isinstance(value, type) or is_function is not factory:
        return False
    nature = detect(value)
    return nature is Nature.FACTORY if factory else nature in {Nature.ASGI, Nature.WSGI}


def _near(name: str, present: Iterable[str]) -> list[str]:
    by_lower = {candidate.lower(): candidate for candidate in present}
    return [by_lower[near] for near in difflib.get_close_matches(name.lower(), by_lower, n=3)]


def _joined(names: Iterable[str]) -> str:
    return " or ".join(names)


def _listing(title: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
    return f" ({title}: {shown})" if names else ""
