from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from loadtests.scenarios import Kind, ScenarioError, find, load, names

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
title = "A title"
app = "working_wsgi:app"
interface = "wsgi"
[kinds.wait]
path = "/wait/50"
[cases.new]
"""


@pytest.mark.parametrize("name", names())
def test_every_scenario_can_be_read(name: str) -> None:
    assert find(name).cases


def test_cases_share_what_stands_above_them(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text(TEXT + "through = 'nginx'\n[cases.other]\n", encoding="utf-8")
    cases = load(path).cases
    assert [case.kinds for case in cases] == [{"wait": Kind(path="/wait/50")}] * 2
    assert [case.through for case in cases] == ["nginx", "direct"]


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ("[cases.new]", "[cases.new]\nthrough = 'squid'", "no way squid"),
        ("[cases.new]", "[cases.new]\nevent = 'lightning'", "no event lightning"),
        ("path =", "way =", "unknown way"),
        ("[kinds.wait]\npath = '/wait/50'", "", "it needs kinds"),
    ],
)
def test_slips_are_named(tmp_path: Path, old: str, new: str, fact: str) -> None:
    text = TEXT.replace('"/wait/50"', "'/wait/50'").replace(old, new)
    if fact == "it needs kinds":
        text += "event = 'hup'\n"
    path = tmp_path / "some.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=fact):
        load(path)
