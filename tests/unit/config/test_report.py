"""The listings of settings say everything, and the TOML one can be read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.samples import COMPANIONS, SAMPLES

from asgibridge.config.report import REPORTS, as_json, as_table, as_toml
from asgibridge.config.settings import OPTIONS
from asgibridge.config.sources import resolve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", [name for name in OPTIONS if not OPTIONS[name].kind.is_secret])
def test_the_toml_listing_is_a_file_that_says_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / "test.env").write_text("")
    given = {name: SAMPLES[name][0], **COMPANIONS.get(name, {})}
    before = resolve(given, {}, directory=tmp_path)
    (tmp_path / "asgibridge.toml").write_text(as_toml(before.config, before.origins))
    after = resolve({}, {}, directory=tmp_path)
    assert after.config == before.config


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\tb\x7f", "ü\n"])
def test_the_toml_listing_escapes_text(text: str, tmp_path: Path) -> None:
    before = resolve({"access_log_format": text}, {}, directory=tmp_path)
    listing = as_toml(before.config, before.origins)
    (tmp_path / "asgibridge.toml").write_text(listing, encoding="utf-8")
    assert resolve({}, {}, directory=tmp_path).config.access_log_format == text


def test_the_table_shows_value_and_origin_of_every_setting(tmp_path: Path) -> None:
    resolved = resolve({"keep_alive": "2m"}, {"PORT": "5000"}, directory=tmp_path)
    rows = [
        line.split(maxsplit=2) for line in as_table(resolved.config, resolved.origins).split("\n")
    ]
    assert ["keep_alive", "120s", "flag --keep-alive"] in rows
    assert ["port", "5000", "environment PORT"] in rows
    assert ["max_body_size", "1g", "default"] in rows
    assert {row[0] for row in rows if len(row) == 3} == set(OPTIONS)


def test_the_json_listing_has_native_values(tmp_path: Path) -> None:
    resolved = resolve({"keep_alive": "2m", "bind": "a:1"}, {}, directory=tmp_path)
    listed = json.loads(as_json(resolved.config, resolved.origins))
    assert list(listed) == list(OPTIONS)
    assert listed["keep_alive"] == {"value": 120.0, "origin": "flag --keep-alive"}
    assert listed["bind"] == {"value": ["a:1"], "origin": "flag --bind"}
    assert listed["threads"] == {"value": None, "origin": "default"}


def test_no_listing_shows_a_secret(tmp_path: Path) -> None:
    given = {"ssl_certfile": "cert.pem", "ssl_keyfile_password": "open sesame"}
    resolved = resolve(given, {}, directory=tmp_path)
    for report in REPORTS.values():
        listing = report(resolved.config, resolved.origins)
        assert "sesame" not in listing
        assert "(hidden)" in listing
    (tmp_path / "asgibridge.toml").write_text(as_toml(resolved.config, resolved.origins))
    assert resolve({}, {}, directory=tmp_path).config.ssl_certfile == "cert.pem"


def test_an_application_object_is_listed_by_its_name(tmp_path: Path) -> None:
    resolved = resolve({"app": resolve}, {}, directory=tmp_path)
    for report in REPORTS.values():
        assert "resolve" in report(resolved.config, resolved.origins)
