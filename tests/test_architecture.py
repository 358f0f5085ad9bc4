"""The shape of the package: what import-linter cannot see."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Final

import pytest

import asgibridge

PACKAGE: Final = Path(asgibridge.__file__).parent
TESTS: Final = Path(__file__).parent
UNIT_TESTS: Final = TESTS / "unit"

MAX_LINES: Final = 400

# Module -> what tests it in place of a file of its own (None: nothing that runs), and why.
TESTED_ELSEWHERE: Final[dict[str, tuple[str | None, str]]] = {
    "__main__.py": ("system/test_command_line.py", "two lines, which only a command runs"),
    "config/groups.py": ("test_generated_docs.py", "headings without behaviour"),
    "flags.py": ("unit/test_cli.py", "what the command line is made of"),
    "interfaces.py": (None, "protocols and names of types: mypy is their test"),
    "net/wiring.py": (None, "fields without behaviour, filled by process/assembly.py"),
    "supervision/fleet.py": (
        "system/test_workers.py",
        "it forks: only a command shows what becomes",
    ),
    "supervision/forked.py": ("system/test_workers.py", "the inside of a forked process"),
    "process/log_setup.py": ("system/test_logs.py", "one call"),
    "supervision/supervisor.py": ("system/test_workers.py", "what it decides is in policy.py"),
    "process/standard_streams.py": (
        "system/test_closed_descriptors.py",
        "closing those of the tests would blind them",
    ),
}

# Module -> why it is one thing although it is long.
LONGER: Final = {
    "config/settings.py": "one table: every setting, declared once",
    "http/parser.py": "one reader: head, body, trailers and limits share what has been read so far",
    "net/connection.py": "one protocol: each event a client can cause, with the state they share",
}


def modules() -> list[Path]:
    """All modules; of packages' own files only those that hold more than a docstring."""
    return [
        path.relative_to(PACKAGE)
        for path in sorted(PACKAGE.rglob("*.py"))
        if len(ast.parse(path.read_text(encoding="utf-8")).body) > 1
    ]


def dotted(path: Path) -> str:
    parts = ("asgibridge", *path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = modules()
# Importing `__main__` is running it, or nearly so.
IMPORTABLE: Final = [path for path in MODULES if path.name != "__main__.py"]


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_module_has_its_test_file(path: Path) -> None:
    if path.name == "__init__.py":
        return  # the package's own names: see below
    mirror = UNIT_TESTS / path.with_name(f"test_{path.name}")
    is_there = mirror.is_file()
    if path.as_posix() in TESTED_ELSEWHERE:
        assert not is_there, f"{path} has a test file now: take it from TESTED_ELSEWHERE"
        instead, _ = TESTED_ELSEWHERE[path.as_posix()]
        assert instead is None or (TESTS / instead).exists(), f"{instead} is missing"
    else:
        assert is_there, f"{mirror.relative_to(TESTS)} is missing"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_is_longer_than_one_thing_needs(path: Path) -> None:
    lines = len((PACKAGE / path).read_text(encoding="utf-8").splitlines())
    if path.as_posix() in LONGER:
        assert lines > MAX_LINES, f"{path} is short again: take it from LONGER"
    else:
        assert lines <= MAX_LINES, f"{path} has {lines} lines: split it, or say in LONGER why not"


def test_exceptions_are_about_modules_that_exist() -> None:
    assert {*TESTED_ELSEWHERE, *LONGER} <= {path.as_posix() for path in MODULES}


@pytest.mark.parametrize("path", IMPORTABLE, ids=str)
def test_what_a_module_defines_in_public_is_what_it_exports(path: Path) -> None:
    module = importlib.import_module(dotted(path))
    exported = set(module.__all__)
    missing = {name for name in exported if not hasattr(module, name)}
    assert not missing, f"{path}: __all__ names what is not there"
    defined = {
        name
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert defined <= exported, f"{path}: put these into __all__ or begin them with an underscore"


def test_the_package_exports_its_public_surface() -> None:
    assert set(asgibridge.__all__) == {"Config", "Server", "WSGIMiddleware", "__version__", "run"}
    for name in asgibridge.__all__:
        assert getattr(asgibridge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Sever'"):
        asgibridge.Sever  # noqa: B018 - the look-up is the test


def test_the_package_alone_imports_neither_loop_nor_parser() -> None:
    """`asgibridge --version` and shell completion answer at once."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module
    }
    assert imported == {"__future__", "typing"}
    assert not [node for node in tree.body if isinstance(node, ast.Import)]


MAY_END: Final = {
    *("process/watchdog.py", "supervision/forked.py", "supervision/reload.py"),
    "supervision/wakeup.py",
}
ENDINGS: Final = {"print", "exit", "sys.exit", "os._exit", "posix._exit"}


def test_only_the_command_line_prints_or_exits() -> None:
    offenders = [
        f"{path}:{call.lineno}"
        for path in MODULES
        # The watchdog ends a process that nothing else can end; forked ones must not go on as
        # if they were their parent; an import that a signal breaks off would take an exception
        # for its own.
        if path.as_posix() not in {"cli.py", *MAY_END}
        for call in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ENDINGS
    ]
    assert offenders == []
