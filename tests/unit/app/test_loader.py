"""Importing an application, or saying why there is none to serve."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Literal

import pytest
from flask import Flask
from starlette.applications import Starlette

from asgibridge import demo
from asgibridge.app.loader import LoadedApplication, _is_about, load
from asgibridge.errors import ApplicationRaised, LoadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOP = """
import functools

def app(environ, start_response):
    return []

async def asgi(scope, receive, send):
    pass

async def async_generator(scope, receive, send):
    yield

async def async_wsgi(environ, start_response):
    pass

def create_app(config=None):
    return asgi

async def create_async():
    return asgi

def create_lazily():
    return create_async()

def create_with(config):
    return app

def create_nothing():
    pass

def create_failing():
    return {}["missing"]

def create_exiting():
    raise SystemExit(4)

def anything(*args):
    return app(*args)

class Application:
    def __call__(self, environ, start_response):
        return []

class Middleware(Application):
    def __init__(self, app):
        self.app = app

class Asgi2:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass

class Other:
    pass

class state:
    application = Application()

number = 7
"""

FILES = {
    "shop.py": SHOP,
    "only_application.py": "def application(environ, start_response): return []\n",
    "both.py": "def app(e, s): pass\nasync def application(s, r, t): pass\n",
    "factories.py": "def app(e, s): pass\ndef create_app(): return app\n",
    "neither.py": "from shop import state\nserver = state.application\n",
    "busy.py": (
        "from typing import TYPE_CHECKING, Any, cast\nfrom shop import Other, state\n"
        "site = state.application\nnumber = 7\ndef serve(e, s): pass\n"
    ),
    "makers.py": "def make_server(): pass\n",
    "empty.py": "",
    "raises.py": "def fail():\n    raise ValueError('no database')\nfail()\n",
    "exits.py": "import sys\nsys.exit('usage: exits.py FILE')\n",
    "typo.py": "def app(:\n",
    "needs.py": "import package_that_is_not_installed\n",
    "needs_own.py": "import pkg.missing\n",
    "imports_name.py": "from shop import missing_name\n",
    "lazy.py": "def __getattr__(name):\n    raise KeyError(name)\n",
    "pkg/__init__.py": "",
    "pkg/main.py": "def app(environ, start_response): return []\n",
    "selfish/__init__.py": "import selfish.gone\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[str]:
    """Make a project's folder; what is imported from it is forgotten afterwards."""
    for name, source in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
    path, modules = list(sys.path), set(sys.modules)
    yield str(tmp_path)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def refusal(project: str, target: str, *, factory: bool = False) -> str:
    """Load what must not load, and return what is said about it."""
    with pytest.raises(LoadError) as caught:
        load(target, factory=factory, app_dir=project)
    assert not isinstance(caught.value, ApplicationRaised)
    return str(caught.value)


def raised(project: str, target: str, *, factory: bool = False) -> tuple[str, BaseException]:
    """Load what raises, and return what is said about it, and the original."""
    with pytest.raises(ApplicationRaised) as caught:
        load(target, factory=factory, app_dir=project)
    assert caught.value.__cause__ is not None
    return str(caught.value), caught.value.__cause__


@pytest.mark.parametrize(
    ("target", "factory", "interface", "name"),
    [
        ("shop:app", False, "wsgi", "shop:app"),
        ("shop:asgi", False, "asgi", "shop:asgi"),
        ("shop:state.application", False, "wsgi", "shop:state.application"),
        ("pkg.main:app", False, "wsgi", "pkg.main:app"),
        ("shop:create_app", True, "asgi", "shop:create_app()"),
        ("shop:Application", True, "wsgi", "shop:Application()"),
        ("shop", False, "wsgi", "shop:app"),
        ("only_application", False, "wsgi", "only_application:application"),
        ("both", False, "wsgi", "both:app"),
        ("factories", True, "wsgi", "factories:create_app()"),
        ("factories", False, "wsgi", "factories:app"),
    ],
)
def test_application_is_found(
    project: str,
    target: str,
    factory: bool,  # noqa: FBT001 -- from the table
    interface: str,
    name: str,
) -> None:
    loaded = load(target, factory=factory, app_dir=project)

    assert (interface, name) == (loaded.interface, loaded.name)
    assert callable(loaded.application)


def test_none_is_the_demo() -> None:
    path = list(sys.path)

    loaded = load(None)

    assert LoadedApplication(
        application=demo.app, interface="wsgi", name="asgibridge.demo:app"
    ) == (loaded)
    assert path == sys.path


def test_callable_is_taken_as_it_is() -> None:
    flask, starlette = Flask("shop"), Starlette()

    assert LoadedApplication(application=flask, interface="wsgi", name="flask.app:Flask") == (
        load(flask)
    )
    assert LoadedApplication(
        application=starlette, interface="asgi", name="starlette.applications:Starlette"
    ) == load(starlette)


def make_flask() -> Flask:
    return Flask("shop")


def test_callable_may_be_a_factory() -> None:
    loaded = load(make_flask, factory=True)

    assert isinstance(loaded.application, Flask)
    assert f"{__name__}:make_flask()" == loaded.name


def test_app_dir_comes_first_on_the_path_once(project: str) -> None:
    load("shop:app", app_dir=project)
    load("pkg.main:app", app_dir=project)

    assert project == sys.path[0]
    assert sys.path.count(project) == 1


def test_app_dir_is_resolved_when_it_is_used(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    load("shop:app", app_dir=".")

    assert project == sys.path[0]


def test_missing_app_dir_is_refused(project: str) -> None:
    with pytest.raises(LoadError, match=r"there is no folder .*gone'; correct app_dir"):
        load("shop:app", app_dir=f"{project}/gone")


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_named_interface_settles_what_can_not_be_seen(
    project: str, interface: Literal["asgi", "wsgi"]
) -> None:
    assert interface == load("shop:anything", app_dir=project, interface=interface).interface


@pytest.mark.parametrize(
    ("target", "interface", "advice"),
    [
        ("shop:app", "asgi", "leave --interface out or say --interface wsgi"),
        ("shop:asgi", "wsgi", "leave --interface out or say --interface asgi"),
        ("shop:create_app", "wsgi", "add --factory"),
        ("shop:Asgi2", "asgi", "ASGI 2"),
        ("shop:number", "asgi", "not callable"),
    ],
)
def test_named_interface_is_refused_when_the_call_can_not_work(
    project: str, target: str, interface: Literal["asgi", "wsgi"], advice: str
) -> None:
    with pytest.raises(LoadError) as caught:
        load(target, app_dir=project, interface=interface)

    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # no such module
        ("shpo:app", "did you mean 'shop:app'?"),
        ("Shop:app", "did you mean 'shop:app'?"),
        ("shpo.wsgi", "did you mean 'shop.wsgi'?"),
        ("zzz:app", "start in the project's folder or name that with --app-dir (modules there: "),
        ("app", "write MODULE:ATTRIBUTE, for example main:app"),
        ("pkg.mian:app", "the package 'pkg' has no module 'mian'; did you mean 'pkg.main:app'?"),
        ("pkg.zzz:app", "the package 'pkg' has no module 'zzz'; correct the name"),
        ("shop.app", "did you mean 'shop:app'?"),
        ("shop.state.application", "did you mean 'shop:state.application'?"),
        ("shop.zzz:app", "'shop' is a module and not a package"),
        ("shop.zzz:app", "write MODULE:ATTRIBUTE with a colon"),
        # no such attribute
        ("shop:ap", "'shop' has no attribute 'ap'; did you mean 'shop:app'"),
        ("shop:state.aplication", "'shop.state' has no attribute 'aplication'; did you mean "),
        ("shop:state.aplication", "'shop:state.application'?"),
        ("shop:zzz", "name an attribute that it has (there are: "),
        ("busy:zzz", "name an attribute that it has (there are: serve, site)"),
        ("pkg:main.app", "but a module of that name; write pkg.main:app"),
        ("pkg:main", "but a module of that name; write pkg.main:app"),
        ("neither", "has neither 'app' nor 'application'; did you mean 'neither:server'?"),
        ("empty", "has neither 'app' nor 'application'; write empty:ATTRIBUTE"),
        # no application
        ("shop:number", "shop:number is not callable (its type is int)"),
        ("shop:functools", "shop:functools is a module and no application; write functools:app"),
        ("shop:create_app", "add --factory"),
        ("shop:create_async", "there is no event loop yet"),
        ("shop:create_with", "takes (config)"),
        ("shop:anything", "say which: --interface asgi or --interface wsgi"),
        ("shop:Application", "name an instance of it, or add --factory to have one made"),
        ("shop:Middleware", "make an instance of it and name that"),
        ("shop:Asgi2", "wrap it with asgiref.compatibility.guarantee_single_callable"),
        ("shop:Other", "is a class whose instances are no applications"),
        ("shop:async_generator", "is an async generator"),
        ("shop:async_wsgi", "is a coroutine function and takes (environ, start_response)"),
    ],
)
def test_what_is_no_application_is_refused_with_the_next_step(
    project: str, target: str, expected: str
) -> None:
    assert expected in refusal(project, target)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("shop:app", "shop:app is an application and not a factory; leave --factory out"),
        ("shop:create_with", "needs arguments (config)"),
        ("shop:create_nothing", "returned None; let it return the application"),
        ("shop:create_async", "the factory shop:create_async is a coroutine function"),
        ("shop:create_lazily", "the factory shop:create_lazily is a coroutine function"),
        ("shop:number", "--factory: shop:number is not callable"),
        ("shop:Other", "shop:Other() is not callable (its type is Other)"),
        ("makers", "neither 'create_app' nor 'make_app'; did you mean 'makers:make_server'?"),
    ],
)
def test_what_is_no_factory_is_refused_with_the_next_step(
    project: str, target: str, expected: str
) -> None:
    assert expected in refusal(project, target, factory=True)


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("raises:app", ValueError, "importing raises raised ValueError: no database"),
        ("typo:app", SyntaxError, "importing typo raised SyntaxError"),
        ("needs:app", ModuleNotFoundError, "install what brings 'package_that_is_not_installed'"),
        ("needs_own:app", ModuleNotFoundError, "install what brings 'pkg.missing'"),
        ("selfish.gone:app", ModuleNotFoundError, "importing selfish.gone raised"),
        ("imports_name:app", ImportError, "cannot import name 'missing_name'"),
        ("exits:app", SystemExit, "if __name__ == '__main__'"),
        ("lazy:app", KeyError, "looking up lazy:app raised KeyError: 'app'"),
        ("lazy", KeyError, "looking up lazy:app raised KeyError: 'app'"),
    ],
)
def test_what_the_import_raised_is_chained(
    project: str, target: str, kind: type[BaseException], expected: str
) -> None:
    message, original = raised(project, target)

    assert expected in message
    assert isinstance(original, kind)


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        (
            "shop:create_failing",
            KeyError,
            "calling the factory shop:create_failing raised KeyError",
        ),
        ("shop:create_exiting", SystemExit, "ended the program with SystemExit(4)"),
    ],
)
def test_what_the_factory_raised_is_chained(
    project: str, target: str, kind: type[BaseException], expected: str
) -> None:
    message, original = raised(project, target, factory=True)

    assert expected in message
    assert isinstance(original, kind)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("shop.main", True), ("shop", True), ("sho", False), ("shop.mai", False), ("flask", False)],
)
def test_missing_module_is_the_named_one_or_a_parent(
    missing: str,
    expected: bool,  # noqa: FBT001 -- from the table
) -> None:
    assert expected == _is_about(ModuleNotFoundError(name=missing), "shop.main")


def test_traceback_begins_in_the_application(project: str) -> None:
    _, original = raised(project, "raises:app")

    frames = traceback.extract_tb(original.__traceback__)

    assert [frame.name for frame in frames] == ["<module>", "fail"]
    assert {f"{project}/raises.py"} == {frame.filename for frame in frames}


def test_syntax_error_shows_its_line_alone(project: str) -> None:
    _, original = raised(project, "typo:app")

    assert original.__traceback__ is None
    assert "typo.py" in "".join(traceback.format_exception(original))
