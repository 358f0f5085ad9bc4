"""`Config` takes every setting, checks all of them, and lists all mistakes at once."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from support.samples import COMPANIONS, SAMPLES

from asgibridge.config.settings import OPTIONS, Config, examine
from asgibridge.errors import SettingsError


def config(**settings: Any) -> Config:  # noqa: ANN401 - text for any setting
    return Config(**settings)


def mistakes_of(**settings: Any) -> tuple[str, ...]:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(SettingsError) as caught:
        Config(**settings)
    return caught.value.mistakes


def test_there_is_a_sample_of_every_setting_that_differs_from_its_default() -> None:
    assert list(OPTIONS) == list(SAMPLES)
    for name, (_, value) in SAMPLES.items():
        assert OPTIONS[name].default != value, name


def test_the_defaults_are_those_that_were_promised() -> None:
    made = Config()
    assert made.app is None
    assert (made.host, made.port, made.backlog) == ("127.0.0.1", 8000, 2048)
    assert (made.worker_connections, made.max_in_flight, made.threads) == (1000, None, None)
    assert (made.max_head_size, made.max_headers, made.max_target_size) == (65536, 100, 16384)
    assert (made.max_body_size, made.max_body_memory) == (2**30, 2**20)
    assert (made.header_timeout, made.body_timeout, made.write_timeout) == (30, 30, 60)
    assert (made.keep_alive, made.startup_timeout, made.graceful_timeout) == (75, 60, 25)
    assert (made.request_timeout, made.queue_timeout, made.shutdown_delay) == (None, None, 0)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_default_is_a_value_that_the_setting_reads_itself(name: str) -> None:
    option = OPTIONS[name]
    assert option.kind.read(option.default) == option.default
    assert option.kind.read(option.shown_default) == option.default or option.shown_default == ""


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_takes_text_from_python(name: str) -> None:
    text, value = SAMPLES[name]
    made = config(**{name: text}, **COMPANIONS.get(name, {}))
    assert getattr(made, name) == value


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_takes_its_value_from_python(name: str) -> None:
    _, value = SAMPLES[name]
    made = config(**{name: value}, **COMPANIONS.get(name, {}))
    assert getattr(made, name) == value


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_explains_itself_in_sentences(name: str) -> None:
    option = OPTIONS[name]
    assert option.help.endswith((".", ")"))
    assert len(option.help) <= 240, "a help page is read, a manual is searched"
    assert not option.reason or option.reason.endswith(".")


@pytest.mark.parametrize(
    "name", set(OPTIONS) - {"app", "access_log_format", "ssl_keyfile_password"}
)
def test_every_setting_refuses_nonsense_under_its_name(name: str) -> None:
    (mistake,) = mistakes_of(**{name: object()})
    assert mistake.startswith(f"{name}: <object object at")
    assert "; give " in mistake


def test_a_secret_that_is_refused_is_not_shown() -> None:
    (mistake,) = mistakes_of(ssl_keyfile_password=["sesame"], ssl_certfile="cert.pem")
    assert mistake == (
        "ssl_keyfile_password: the value is empty or not text; give the password of the key, or "
        "none"
    )


def test_all_mistakes_are_listed_at_once() -> None:
    assert mistakes_of(port="80a", keep_alive=-1, max_in_flight=2000, interface="wsgl") == (
        "interface: 'wsgl' is not a choice (did you mean wsgi?); give auto, asgi or wsgi",
        "port: '80a' is not a whole number; give a whole number from 0 to 65535",
        ("keep_alive: -1s is too small; give a time such as 30, 1.5, 500ms, 30s, 5m or 1h"),
        (
            "max_in_flight: 2000 can never be reached with worker_connections at 1000; lower the "
            "first or raise the second"
        ),
    )


def test_an_unknown_setting_is_a_type_error_as_in_any_call() -> None:
    with pytest.raises(TypeError, match="prot"):
        config(prot=80)


def test_a_config_cannot_be_changed_but_replaced() -> None:
    made = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.port = 1  # type: ignore[misc]  # the very thing
    assert dataclasses.replace(made, port=1).port == 1
    with pytest.raises(SettingsError):
        dataclasses.replace(made, port=-1)


def test_an_application_object_is_kept_as_it_is() -> None:
    def app() -> None: ...

    assert Config(app=app).app is app


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("127.0.0.1:8000",)),
        ({"host": "::", "port": 80}, ("[::]:80",)),
        ({"host": "[::1]", "port": 80}, ("[::1]:80",)),
        ({"uds": "/run/a"}, ("unix:/run/a",)),
        ({"fd": 0}, ("fd://0",)),
        ({"bind": ["a:1", "unix:/b"]}, ("a:1", "unix:/b")),
    ],
)
def test_addresses_come_from_whichever_setting_names_them(
    settings: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert config(**settings).addresses == expected


def test_values_are_examined_with_the_defaults_of_all_others() -> None:
    clean, mistakes = examine({"port": "1"}, place=str)
    assert mistakes == []
    assert clean == {name: option.default for name, option in OPTIONS.items()} | {"port": 1}


def test_names_in_help_texts_exist() -> None:
    for option in OPTIONS.values():
        for name in re.findall(r"\b[a-z]+_(?:timeout|connections|format)\b", option.help):
            assert name in OPTIONS
