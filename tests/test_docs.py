"""The written pages: what they point to exists."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from asgibridge.config.settings import OPTIONS

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
CONTENT: Final = DOCS / "content"

PAGES: Final = sorted(CONTENT.rglob("*.md"))
TEXTS: Final = [ROOT / "README.md", *PAGES]

TEST_FILES: Final = sorted((ROOT / "tests").rglob("test_*.py"))

PROMISE: Final = re.compile(r"\[([A-Z]+-\d+)\]")
PROMISES: Final = re.compile(r"\[([A-Z]+)-(\d+)\] to \[\1-(\d+)\]")
INVARIANT: Final = re.compile(r"^\| \[([A-Z]+-\d+)\] \|.*?\| (`.*) \|$", re.MULTILINE)
LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
NAMED_TEST: Final = re.compile(r"`(test_\w+)`")
NAMED_FLAG: Final = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    lines = page.read_text(encoding="utf-8").splitlines()
    return {anchor(line.lstrip("# ")) for line in lines if line.startswith("#")}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, fragment = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{name_of(page)}: {target}"
        if fragment:
            assert fragment in anchors(linked), f"{name_of(page)}: {target}"


def test_every_page_has_its_place_in_the_navigation() -> None:
    project = tomllib.loads((DOCS / "zensical.toml").read_text(encoding="utf-8"))["project"]
    listed = sorted(_leaves(project["nav"]))
    assert [page.relative_to(CONTENT).as_posix() for page in PAGES] == listed


def _leaves(entry: Any) -> list[str]:  # noqa: ANN401 - TOML
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [leaf for each in inner for leaf in _leaves(each)]


def test_tests_that_pages_name_exist() -> None:
    known = {path.stem for path in TEST_FILES} | cited_by_test().keys()
    for page in TEXTS:
        named = set(NAMED_TEST.findall(page.read_text(encoding="utf-8")))
        assert named <= known, name_of(page)


def test_invariants_are_held_by_tests_that_cite_them() -> None:
    cited = cited_by_test()
    text = (CONTENT / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = INVARIANT.findall(text)
    for promise, held_by in rows:
        for name in NAMED_TEST.findall(held_by):
            assert promise in cited[name], f"the docstring of {name} does not cite {promise}"
    assert set().union(*cited.values()) == {promise for promise, _ in rows}


def cited_by_test() -> dict[str, set[str]]:
    """Every test, with the promises that its docstring or that of its module cites."""
    cited: dict[str, set[str]] = {}
    for path in TEST_FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        shared = promises(ast.get_docstring(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                own = promises(ast.get_docstring(node))
                cited.setdefault(node.name, set()).update(own | shared)
    return cited


def promises(docstring: str | None) -> set[str]:
    """The ids in *docstring*; `[GATE-1] to [GATE-5]` stands for all between."""
    text = docstring or ""
    found = set(PROMISE.findall(text))
    for kind, first, last in PROMISES.findall(text):
        found.update(f"{kind}-{number}" for number in range(int(first), int(last) + 1))
    return found


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_flags_in_commands_exist(page: Path) -> None:
    known = {"check", "config", "format", "help", "version"}
    for name, option in OPTIONS.items():
        known.add(name.replace("_", "-"))
        known.add(option.off_flag.removeprefix("--"))
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in {"mermaid", "text"}:
            continue
        for line in text.replace("\\\n", " ").splitlines():
            _, command, arguments = line.partition("asgibridge serve")
            if command:
                assert set(NAMED_FLAG.findall(arguments)) <= known, f"{name_of(page)}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_begins_with_its_title(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if line and not line.startswith("<!--"))
    assert re.match(r"# \S", first)
