"""Flags, environment, file and defaults: who wins, where a value came from, what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.samples import COMPANIONS, SAMPLES

from asgibridge.config.settings import OPTIONS
from asgibridge.config.sources import Resolved, resolve
from asgibridge.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A current directory with the file that the sample of `env_file` names."""
    (tmp_path / "test.env").write_text("")
    return tmp_path


def mistakes_of(*args: Any, **kwargs: Any) -> tuple[str, ...]:  # noqa: ANN401 - handed on
    with pytest.raises(SettingsError) as caught:
        resolve(*args, **kwargs)
    return caught.value.mistakes


def seen(resolved: Resolved, name: str) -> tuple[object, str]:
    return getattr(resolved.config, name), resolved.origins[name].label


def write_toml(directory: Path, values: dict[str, str]) -> None:
    # A JSON string is a TOML string.
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    (directory / "asgibridge.toml").write_text("".join(lines))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_can_be_a_flag(name: str, directory: Path) -> None:
    text, value = SAMPLES[name]
    resolved = resolve({name: text, **COMPANIONS.get(name, {})}, {}, directory=directory)
    flag = OPTIONS[name].flag
    assert seen(resolved, name) == (value, "argument APP" if name == "app" else f"flag {flag}")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_can_be_a_variable(name: str, directory: Path) -> None:
    text, value = SAMPLES[name]
    variable = f"ASGIBRIDGE_{name.upper()}"
    resolved = resolve(COMPANIONS.get(name, {}), {variable: text}, directory=directory)
    assert seen(resolved, name) == (value, f"environment {variable}")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_can_be_a_line_in_the_file(name: str, directory: Path) -> None:
    text, value = SAMPLES[name]
    write_toml(directory, {name: text})
    resolved = resolve(COMPANIONS.get(name, {}), {}, directory=directory)
    assert seen(resolved, name) == (value, "asgibridge.toml")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_that_nobody_gives_has_its_default(name: str, directory: Path) -> None:
    resolved = resolve({}, {"HOME": "/"}, directory=directory)
    assert seen(resolved, name) == (OPTIONS[name].default, "default")


def test_the_strongest_source_wins(directory: Path) -> None:
    write_toml(directory, {"threads": "3", "backlog": "3", "max_headers": "3"})
    environ = {"ASGIBRIDGE_THREADS": "2", "ASGIBRIDGE_BACKLOG": "2"}
    resolved = resolve({"threads": "1"}, environ, directory=directory)
    assert seen(resolved, "threads") == (1, "flag --threads")
    assert seen(resolved, "backlog") == (2, "environment ASGIBRIDGE_BACKLOG")
    assert seen(resolved, "max_headers") == (3, "asgibridge.toml")


def test_a_wrong_value_that_is_overruled_does_no_harm(directory: Path) -> None:
    environ = {"ASGIBRIDGE_THREADS": "many"}
    assert resolve({"threads": "1"}, environ, directory=directory).config.threads == 1


def test_a_switch_that_is_turned_off_is_named_as_it_was_written(directory: Path) -> None:
    resolved = resolve({"server_header": False}, {}, directory=directory)
    assert seen(resolved, "server_header") == (False, "flag --no-server-header")


def test_an_empty_variable_counts_as_unset(directory: Path) -> None:
    environ = {"ASGIBRIDGE_PORT": "", "PORT": "", "ASGIBRIDGE_CONFIG": "", "ASGIBRIDGE_X": ""}
    assert seen(resolve({}, environ, directory=directory), "port") == (8000, "default")


def test_native_toml_values_are_taken(directory: Path) -> None:
    (directory / "asgibridge.toml").write_text(
        'bind = ["a:1", "b:2"]\nkeep_alive = 1.5\naccess_log = true\nthreads = 3\n'
    )
    config = resolve({}, {}, directory=directory).config
    assert (config.bind, config.keep_alive, config.access_log, config.threads) == (
        ("a:1", "b:2"),
        1.5,
        True,
        3,
    )


def test_toml_keys_may_have_dashes(directory: Path) -> None:
    write_toml(directory, {"worker-connections": "5"})
    assert resolve({}, {}, directory=directory).config.worker_connections == 5


def test_all_mistakes_of_all_sources_are_reported_with_their_origins(directory: Path) -> None:
    (directory / "asgibridge.toml").write_text("thread = 3\nbacklog = 0\n[limits]\nx = 1\n")
    environ = {"ASGIBRIDGE_KEEPALIVE": "5", "ASGIBRIDGE_LOOP": "uvlop"}
    assert mistakes_of({"port": "80a"}, environ, directory=directory) == (
        (
            "environment ASGIBRIDGE_KEEPALIVE: there is no such setting; did you mean "
            "ASGIBRIDGE_KEEP_ALIVE?"
        ),
        "asgibridge.toml: there is no setting thread; did you mean threads?",
        "asgibridge.toml: [limits] is a table; write all settings at the top",
        "flag --port: '80a' is not a whole number; give a whole number from 0 to 65535",
        (
            "environment ASGIBRIDGE_LOOP: 'uvlop' is not a choice (did you mean uvloop?); give "
            "auto, uvloop or asyncio"
        ),
        "asgibridge.toml: backlog: 0 is too small; give a whole number from 1 to 65535",
    )


def test_settings_that_do_not_go_together_name_both_origins(directory: Path) -> None:
    environ = {"ASGIBRIDGE_MAX_IN_FLIGHT": "2000"}
    assert mistakes_of({}, environ, directory=directory) == (
        (
            "environment ASGIBRIDGE_MAX_IN_FLIGHT: 2000 can never be reached with the default of "
            "worker_connections at 1000; lower the first or raise the second"
        ),
    )


def test_a_name_that_is_like_no_other_is_to_be_removed(directory: Path) -> None:
    assert mistakes_of({}, {"ASGIBRIDGE_XYZZY": "1"}, directory=directory) == (
        (
            "environment ASGIBRIDGE_XYZZY: there is no such setting; remove it (`asgibridge "
            "settings` lists all settings)"
        ),
    )


def test_variables_of_the_test_suite_are_no_settings(directory: Path) -> None:
    resolve({}, {"ASGIBRIDGE_TEST_SLOWNESS": "3"}, directory=directory)


def test_a_key_given_twice_is_a_mistake(directory: Path) -> None:
    write_toml(directory, {"keep_alive": "1", "keep-alive": "2"})
    assert mistakes_of({}, {}, directory=directory) == (
        "asgibridge.toml: keep_alive is given twice; remove one of them",
    )


def test_broken_toml_names_file_and_line(directory: Path) -> None:
    (directory / "asgibridge.toml").write_text("port = 1\nhost = \n")
    (mistake,) = mistakes_of({}, {}, directory=directory)
    assert mistake.startswith("asgibridge.toml: not valid TOML: ")
    assert "line 2" in mistake


def test_another_file_can_be_named_by_flag_or_variable(directory: Path) -> None:
    (directory / "asgibridge.toml").write_text("port = 1\n")
    (directory / "other.toml").write_text("port = 2\n")
    (directory / "third.toml").write_text("port = 3\n")
    environ = {"ASGIBRIDGE_CONFIG": "third.toml"}
    by_flag = resolve({}, environ, directory=directory, config_file="other.toml")
    by_variable = resolve({}, environ, directory=directory)
    assert (seen(by_flag, "port"), by_flag.file) == ((2, "other.toml"), "other.toml")
    assert (seen(by_variable, "port"), by_variable.file) == ((3, "third.toml"), "third.toml")


def test_a_named_file_has_to_be_there(directory: Path) -> None:
    assert mistakes_of({}, {}, directory=directory, config_file="gone.toml") == (
        "cannot read gone.toml: no such file or directory; correct the path",
    )
    assert mistakes_of({}, {"ASGIBRIDGE_CONFIG": "gone.toml"}, directory=directory) == (
        "ASGIBRIDGE_CONFIG: cannot read gone.toml: no such file or directory; correct the path",
    )


def test_a_file_in_another_encoding_is_refused(directory: Path) -> None:
    (directory / "asgibridge.toml").write_bytes(b'host = "\xff"')
    (mistake,) = mistakes_of({}, {}, directory=directory)
    assert mistake == "cannot read asgibridge.toml: it is not UTF-8 text; convert it"


def test_port_is_honoured_and_opens_the_default_host(directory: Path) -> None:
    resolved = resolve({}, {"PORT": "5000"}, directory=directory)
    assert seen(resolved, "port") == (5000, "environment PORT")
    assert seen(resolved, "host") == ("0.0.0.0", "environment PORT")


def test_port_is_stronger_than_the_file_and_leaves_a_given_host_alone(directory: Path) -> None:
    write_toml(directory, {"port": "1", "host": "localhost"})
    resolved = resolve({}, {"PORT": "5000"}, directory=directory)
    assert seen(resolved, "port") == (5000, "environment PORT")
    assert seen(resolved, "host") == ("localhost", "asgibridge.toml")


@pytest.mark.parametrize(
    ("flags", "environ"), [({"port": "1"}, {}), ({}, {"ASGIBRIDGE_PORT": "1"})]
)
def test_port_yields_to_a_port_given_to_us(
    flags: dict[str, str], environ: dict[str, str], directory: Path
) -> None:
    resolved = resolve(flags, {"PORT": "5000", **environ}, directory=directory)
    assert (resolved.config.port, resolved.config.host) == (1, "127.0.0.1")


@pytest.mark.parametrize("name", ["bind", "uds", "fd"])
def test_port_yields_to_another_way_to_listen(name: str, directory: Path) -> None:
    text, value = SAMPLES[name]
    resolved = resolve({name: text}, {"PORT": "5000"}, directory=directory)
    assert getattr(resolved.config, name) == value
    assert seen(resolved, "port") == (8000, "default")


def test_port_is_honoured_with_a_file_that_lists_no_other_address(directory: Path) -> None:
    (directory / "asgibridge.toml").write_text('bind = []\nuds = "none"\nfd = "none"\n')
    assert resolve({}, {"PORT": "5000"}, directory=directory).config.port == 5000


def test_a_wrong_port_variable_is_named(directory: Path) -> None:
    assert mistakes_of({}, {"PORT": "http"}, directory=directory) == (
        "environment PORT: 'http' is not a whole number; give a whole number from 0 to 65535",
    )


def test_variables_that_kubernetes_sets_for_a_service_are_explained(directory: Path) -> None:
    environ = {"ASGIBRIDGE_PORT": "tcp://10.0.0.1:80", "ASGIBRIDGE_SERVICE_HOST": "10.0.0.1"}
    advice = (
        "Kubernetes sets it for a service named asgibridge; rename the service or set "
        "enableServiceLinks: false"
    )
    mistakes = mistakes_of({}, environ, directory=directory)
    assert f"environment ASGIBRIDGE_PORT: {advice}" in mistakes
    assert f"environment ASGIBRIDGE_SERVICE_HOST: there is no such setting; {advice}" in mistakes


def test_the_environment_file_adds_what_is_not_set(directory: Path) -> None:
    (directory / "test.env").write_text("A=file\nB=file\nASGIBRIDGE_THREADS=3\nPORT=5000\n")
    environ = {"A": "real", "ASGIBRIDGE_ENV_FILE": "test.env"}
    resolved = resolve({}, environ, directory=directory)
    assert resolved.environment == {"B": "file", "ASGIBRIDGE_THREADS": "3", "PORT": "5000"}
    assert seen(resolved, "threads") == (3, "environment ASGIBRIDGE_THREADS (env_file)")
    assert resolved.config.port == 5000


@pytest.mark.parametrize("key", ["env_file", "env-file"])
def test_the_environment_file_can_be_named_in_the_settings_file(key: str, directory: Path) -> None:
    (directory / "test.env").write_text("A=1\n")
    write_toml(directory, {key: "test.env"})
    assert resolve({}, {}, directory=directory).environment == {"A": "1"}
    assert resolve({"env_file": "none"}, {}, directory=directory).environment == {}


def test_mistakes_in_the_environment_file_are_reported_with_all_others(directory: Path) -> None:
    (directory / "test.env").write_text("oops\nASGIBRIDGE_CONFIG=x\n")
    mistakes = mistakes_of({"env_file": "test.env", "port": "x"}, {}, directory=directory)
    assert len(mistakes) == 2
    assert "test.env, line 1: not NAME=VALUE" in mistakes[0]
    assert mistakes[1].startswith("flag --port: ")


def test_the_environment_file_cannot_name_the_files_to_read(directory: Path) -> None:
    (directory / "test.env").write_text("ASGIBRIDGE_CONFIG=x\n")
    (mistake,) = mistakes_of({"env_file": "test.env"}, {}, directory=directory)
    assert mistake.endswith("ASGIBRIDGE_CONFIG comes too late in this file; set it outside")


def test_a_wrong_env_file_setting_is_reported_once(directory: Path) -> None:
    (directory / "asgibridge.toml").write_text("env_file = 5\n")
    (mistake,) = mistakes_of({}, {}, directory=directory)
    assert mistake.startswith("asgibridge.toml: env_file: 5 is not text")


def test_bad_addresses_are_reported_with_their_origin(directory: Path) -> None:
    def check(address: str) -> None:
        if address == "bad":
            raise SettingsError(["bad address; write a good one"])

    environ = {"ASGIBRIDGE_BIND": "good,bad"}
    assert mistakes_of({}, environ, directory=directory, check_address=check) == (
        "environment ASGIBRIDGE_BIND: bad address; write a good one",
    )


def test_web_concurrency_is_honoured_between_our_variable_and_the_file(directory: Path) -> None:
    write_toml(directory, {"workers": "2"})
    environ = {"WEB_CONCURRENCY": "3"}
    assert seen(resolve({}, environ, directory=directory), "workers") == (
        3,
        "environment WEB_CONCURRENCY",
    )
    both = {**environ, "ASGIBRIDGE_WORKERS": "4"}
    assert resolve({}, both, directory=directory).config.workers == 4
    assert mistakes_of({}, {"WEB_CONCURRENCY": "many"}, directory=directory) == (
        (
            "environment WEB_CONCURRENCY: 'many' is not a whole number; give a whole number from "
            "1 to 256"
        ),
    )
