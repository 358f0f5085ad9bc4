"""Pages made from declarations are what the declarations say today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgibridge.config.settings import OPTIONS

if TYPE_CHECKING:
    import types

SCRIPT = Path(__file__).parent.parent / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> types.ModuleType:
    """The script as a module; `docs` is no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_pages_are_current(generate: types.ModuleType) -> None:
    assert generate.stale_pages() == [], "run docs/generate.py and commit the pages"


def test_a_stale_page_is_named(
    generate: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "CONTENT", tmp_path)
    for page, render in generate.PAGES.items():
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(render(), encoding="utf-8")
    assert generate.stale_pages(tmp_path) == []
    (tmp_path / "reference/settings.md").write_text("old", encoding="utf-8")
    assert generate.stale_pages(tmp_path) == ["reference/settings.md"]
    assert generate.main(["--check"]) == 1
    assert (tmp_path / "reference/settings.md").read_text(encoding="utf-8") == "old"
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_every_setting_has_its_row(generate: types.ModuleType) -> None:
    page = generate.PAGES["reference/settings.md"]()
    for name, option in OPTIONS.items():
        assert f"\n### {name}\n" in page
        assert f"`{option.environment}`" in page
