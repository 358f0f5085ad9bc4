"""Load the application: import it, call its factory, settle which interface it speaks.

The decisions are made elsewhere: `target` reads the text, `detection` tells what an object is,
`refusal` words what is wrong.  Here things are done, in the order in which they can go wrong.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias, cast

from asgibridge.app import refusal
from asgibridge.app.detection import Nature, detect, may_speak
from asgibridge.app.target import Target, parse_target
from asgibridge.errors import ApplicationRaised, LoadError

if TYPE_CHECKING:
    import types

__all__ = ["DEMO", "Application", "LoadedApplication", "load"]

# What is called with (scope, receive, send) or (environ, start_response).
Application: TypeAlias = Callable[..., Any]

# Served when no application is named, so that a fresh install shows something at once.
DEMO: Final = "asgibridge.demo:app"

# Tried in this order when only a module is named: the names that frameworks' tutorials use.
_APPLICATION_NAMES: Final = ("app", "application")
_FACTORY_NAMES: Final = ("create_app", "make_app", *_APPLICATION_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedApplication:
    """An application that can be served, and how."""

    application: Application
    interface: Literal["asgi", "wsgi"]
    name: str  # for logs and messages: "main:app", "main:create_app()"


def load(
    target: str | Application | None,
    *,
    factory: bool = False,
    app_dir: str = ".",
    interface: Literal["auto", "asgi", "wsgi"] = "auto",
) -> LoadedApplication:
    """Load what *target* names: text such as `main:app`, a callable, or None for the demo.

    Args:
        target: Text is imported; a callable is taken as it is.
        factory: The target makes the application when called without arguments.
        app_dir: The folder that is put first on `sys.path`, and stays there, because applications
            go on importing while they run.
        interface: `auto` looks at how the application wants to be called.

    Raises:
        LoadError: There is no such thing, or it is no application.
        ApplicationRaised: The user's code raised; its exception is the `__cause__`.
    """
    found, name = _find(DEMO if target is None else target, factory=factory, app_dir=app_dir)
    if factory:
        found, name = _call_factory(found, name)
    return LoadedApplication(
        application=cast("Application", found),
        interface=_settle_interface(found, name, interface),
        name=name,
    )


def _find(target: object, *, factory: bool, app_dir: str) -> tuple[object, str]:
    if not isinstance(target, str):
        return target, refusal.name_of(target)
    named = parse_target(target)
    if target != DEMO:
        _put_first_on_path(app_dir)
    module = _import(named, app_dir)
    if named.attributes:
        return _follow(module, named), str(named)
    for attribute in _FACTORY_NAMES if factory else _APPLICATION_NAMES:
        path = Target(module=named.module, attributes=(attribute,))
        with suppress(AttributeError):
            return _get_attribute(module, attribute, path), str(path)
    raise LoadError(refusal.no_default_attribute(module, factory=factory))


def _put_first_on_path(app_dir: str) -> None:
    folder = os.path.abspath(app_dir)  # noqa: PTH100 -- text, as sys.path wants it
    if not os.path.isdir(folder):  # noqa: PTH112 -- same
        raise LoadError(f"there is no folder {app_dir!r}; correct app_dir (--app-dir)")
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def _import(named: Target, app_dir: str) -> types.ModuleType:
    try:
        return importlib.import_module(named.module)
    except ModuleNotFoundError as error:
        own = _own_traceback(error.__traceback__)
        if own is not None or not _is_about(error, named.module):
            _raise_for_application(f"importing {named.module}", error)
        # Without the machinery's frames as context: the message says it all.
        raise LoadError(_no_such_module(named, cast("str", error.name), app_dir)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- the border with user code
        _raise_for_application(f"importing {named.module}", error)


def _is_about(error: ModuleNotFoundError, module: str) -> bool:
    """Tell whether the missing module is *module* or one of its parents.

    Asked besides the frames, because an extension module leaves none of its own.
    """
    return error.name is not None and f"{module}.".startswith(f"{error.name}.")


def _no_such_module(named: Target, missing: str, app_dir: str) -> str:
    parent, _, child = missing.rpartition(".")
    if not parent:
        folder = os.path.abspath(app_dir)  # noqa: PTH100 -- as put on sys.path
        return refusal.no_such_module(named, siblings=_modules_in([folder]), folder=folder)
    package = sys.modules.get(parent)
    path = getattr(package, "__path__", None)
    if path is None:
        return refusal.parent_is_no_package(named, parent, child, has_child=hasattr(package, child))
    return refusal.no_such_submodule(named, parent, child, siblings=_modules_in(list(path)))


def _modules_in(folders: list[str]) -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(folders))


def _follow(module: types.ModuleType, named: Target) -> object:
    found: object = module
    for depth, attribute in enumerate(named.attributes):
        try:
            found = _get_attribute(found, attribute, named)
        except AttributeError:
            holder = ".".join((named.module, *named.attributes[:depth]))
            is_module = depth == 0 and _is_submodule(module, attribute)
            raise LoadError(
                refusal.no_such_attribute(named, depth, holder, found, is_module=is_module)
            ) from None
    return found


def _get_attribute(holder: object, attribute: str, named: Target) -> object:
    """Get the attribute; a module or a property may run code for it.

    Raises:
        AttributeError: There is none.
        ApplicationRaised: Anything else came out of it.
    """
    try:
        return getattr(holder, attribute)
    except AttributeError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- the border with user code
        _raise_for_application(f"looking up {named}", error)


def _is_submodule(module: types.ModuleType, name: str) -> bool:
    if not hasattr(module, "__path__"):
        return False
    with suppress(Exception):  # a finder may be anybody's code
        return importlib.util.find_spec(f"{module.__name__}.{name}") is not None
    return False


def _call_factory(found: object, name: str) -> tuple[object, str]:
    if problem := refusal.of_factory(found, name):
        raise LoadError(problem)
    try:
        made = cast("Callable[[], object]", found)()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- the border with user code
        _raise_for_application(f"calling the factory {name}", error)
    if inspect.iscoroutine(made):
        made.close()  # or Python warns that it was never awaited
        raise LoadError(refusal.of_async_factory(name))
    if made is None:
        raise LoadError(f"the factory {name} returned None; let it return the application")
    return made, f"{name}()"


def _settle_interface(
    found: object, name: str, interface: Literal["auto", "asgi", "wsgi"]
) -> Literal["asgi", "wsgi"]:
    nature = detect(found)
    if interface == "auto":
        if nature is Nature.ASGI:
            return "asgi"
        if nature is Nature.WSGI:
            return "wsgi"
    elif _may_be_forced(nature) and may_speak(found, interface):
        return interface
    raise LoadError(refusal.of_application(found, nature, name))


def _may_be_forced(nature: Nature) -> bool:
    """Tell whether a user who names the interface may know better than the detection."""
    return nature in {Nature.ASGI, Nature.WSGI, Nature.UNCLEAR}


def _raise_for_application(doing: str, error: BaseException) -> NoReturn:
    """Raise what the user's code raised as ours, chained, with its own traceback alone."""
    problem = refusal.of_raised(doing, error)
    raise ApplicationRaised(problem) from error.with_traceback(_own_traceback(error.__traceback__))


def _own_traceback(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """Drop the leading frames that are ours or the import machinery's.

    None is left when the user's code was not reached: a syntax error, a module that is missing.
    """
    while traceback is not None and _is_machinery(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback


def _is_machinery(filename: str) -> bool:
    return filename in {__file__, importlib.__file__} or filename.startswith("<frozen importlib")
