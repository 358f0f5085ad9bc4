"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result
from support.samples import COMPANIONS, SAMPLES

from asgibridge import __version__
from asgibridge.cli import program
from asgibridge.config.kinds import Shape
from asgibridge.config.settings import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from asgibridge.config.option import Option


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for variable in [option.environment for option in OPTIONS.values()] + ["PORT", "NO_COLOR"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    (tmp_path / "test.env").write_text("")
    return tmp_path


def run(*words: str, color: bool = False) -> Result:
    return CliRunner().invoke(
        program, words, color=color, terminal_width=80, prog_name="asgibridge"
    )


def listed(*words: str) -> dict[str, dict[str, object]]:
    result = run("settings", "--format", "json", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, dict[str, object]] = json.loads(result.stdout)
    return found


def as_words(option: Option, text: str) -> list[str]:
    """Write *text* as *option* is written on a command line."""
    if option.names.is_positional:
        return [text]
    if option.kind.shape is Shape.SWITCH:
        return [option.flag if option.kind.read(text) else option.off_flag]
    if option.kind.shape is Shape.MANY:
        return [word for each in text.split(",") for word in (option.flag, each)]
    return [option.flag, text]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_has_a_flag_that_reaches_the_configuration(name: str) -> None:
    words: list[str] = []
    for each, text in {name: SAMPLES[name][0], **COMPANIONS.get(name, {})}.items():
        words += as_words(OPTIONS[each], text)
    value = "(hidden)" if OPTIONS[name].kind.is_secret else SAMPLES[name][1]
    found = listed(*words)[name]
    assert found["value"] == (list(value) if isinstance(value, tuple) else value)
    assert found["origin"] != "default"


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-p", "80"], "port", 80),
        (["-b", "a:1", "-b", "b:2"], "bind", ["a:1", "b:2"]),
        (["-c", "test.toml"], "threads", 3),
        (["--config=test.toml"], "threads", 3),
    ],
)
def test_common_flags_have_short_forms(
    words: list[str], name: str, value: object, directory: Path
) -> None:
    (directory / "test.toml").write_text("threads = 3\n")
    assert listed(*words)[name]["value"] == value


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_certificate_that_cannot_be_read_is_said_before_anything_starts(command: str) -> None:
    # In a process of its own: `serve` sets a deadline for the process that fails to start.
    words = [sys.executable, "-m", "asgibridge", command, "--ssl-certfile", "/no/cert.pem"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 3
    assert result.stderr.startswith("asgibridge: ssl_certfile /no/cert.pem: cannot read it: ")


def test_nothing_given_is_all_defaults() -> None:
    assert {found["origin"] for found in listed().values()} == {"default"}


@pytest.mark.parametrize("command", ["serve", "check", "settings"])
def test_all_mistakes_are_listed_with_origin_and_exit_code_2(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGIBRIDGE_PROT", "1")
    result = run(command, "--port", "80a", "--bind", "3", "--threads", "0")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        (
            "asgibridge: environment ASGIBRIDGE_PROT: there is no such setting; did you mean "
            "ASGIBRIDGE_PORT?"
        ),
        "asgibridge: flag --port: '80a' is not a whole number; give a whole number from 0 to 65535",
        "asgibridge: flag --threads: 0 is too small; give a whole number from 1 to 10000, or auto",
        "asgibridge: flag --bind: bad address '3': a host is missing; write 127.0.0.1:3 or :3",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["serv"], "there is no command serv; did you mean serve?"),
        (["xyzzy"], "there is no command xyzzy; see asgibridge --help"),
        (
            ["site.wsgi:app"],
            (
                "there is no command site.wsgi:app; to serve an application write asgibridge "
                "serve site.wsgi:app"
            ),
        ),
        (["serve", "--prot", "80"], "there is no option --prot; did you mean --port?"),
        (["serve", "--xyzzy"], "there is no option --xyzzy; see asgibridge serve --help"),
        (["--xyzzy"], "there is no option --xyzzy; see asgibridge --help"),
        (
            ["--port", "80", "serve"],
            (
                "there is no option --port here; settings stand after the command: asgibridge "
                "serve --port"
            ),
        ),
    ],
)
def test_a_usual_slip_is_one_line_with_the_next_step(words: list[str], expected: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"asgibridge: {expected}\n"


def test_other_wrong_usage_points_to_the_help_page() -> None:
    result = run("check", "a:b", "c:d")
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("asgibridge: got unexpected extra argument (c:d)")
    assert second == "asgibridge: see asgibridge check --help"


def test_errors_are_red_on_a_terminal_unless_colours_are_unwanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run("serv", color=True).stderr.startswith("\x1b[31masgibridge: ")
    monkeypatch.setenv("NO_COLOR", "1")
    assert run("serv", color=True).stderr.startswith("asgibridge: ")


def test_help_pages_are_plain_when_colours_are_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1m" in run("serve", "-h", color=True).stdout
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in run("serve", "-h", color=True).stdout


def test_no_words_show_the_help_page_as_an_error() -> None:
    result = run()
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: asgibridge [OPTIONS] COMMAND")


def test_the_version_names_the_parts_that_matter() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"asgibridge {__version__} (CPython ")
    assert "httptools " in result.stdout


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["settings"], ["completion"]])
def test_every_command_has_help_that_fits_eighty_columns(command: list[str], flag: str) -> None:
    result = run(*command, flag)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "-h, --help" in result.stdout


def test_the_help_of_serve_shows_every_flag_default_and_variable() -> None:
    page = run("serve", "--help").stdout
    for option in OPTIONS.values():
        name = option.flag.removeprefix("--")
        assert name in page
        assert option.environment in page
        assert option.group.intro in page
        assert f"default {option.shown_default}" in page or not option.shown_default


def test_commands_are_listed_in_the_order_in_which_they_are_wanted() -> None:
    page = run("--help").stdout
    names = ["serve", "check", "settings", "completion"]
    assert sorted(names, key=lambda name: page.index(f"\n  {name}\n")) == names


def test_settings_can_be_printed_as_table_and_toml() -> None:
    assert "port" in run("settings").stdout
    assert "port = 8000  # default\n" in run("settings", "--format", "toml").stdout


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete ")]
)
def test_completion_prints_a_script_for_the_shell(shell: str, mark: str) -> None:
    result = run("completion", shell)
    assert (result.exit_code, result.stderr) == (0, "")
    assert mark in result.stdout
    assert "_ASGIBRIDGE_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ("asgibridge", "se", ["serve", "settings"]),
        ("asgibridge serve", "--loo", ["--loop"]),
        ("asgibridge serve --loop", "uv", ["uvloop"]),
    ],
)
def test_a_shell_is_offered_commands_flags_and_choices(
    words: str, incomplete: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", f"{words} {incomplete}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    monkeypatch.setenv("_ASGIBRIDGE_COMPLETE", "bash_complete")
    result = run()
    assert [line.split(",")[1] for line in result.stdout.splitlines()] == expected


@pytest.mark.parametrize(("flag", "kind"), [("--app-dir", "dir"), ("--env-file", "file")])
def test_a_shell_is_told_to_offer_its_own_paths(
    flag: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", f"asgibridge serve {flag} ")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setenv("_ASGIBRIDGE_COMPLETE", "bash_complete")
    assert run().stdout == f"{kind},\n"


def test_an_interrupt_before_the_server_runs_is_quiet() -> None:
    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    # A group with one more command, so that the real one stays as it is.
    group = type(program)(name="asgibridge", commands={"interrupted": interrupted})
    result = CliRunner().invoke(group, ["interrupted"])
    assert result.exit_code == 130
    assert (result.stdout, result.stderr.strip()) == ("", "")


def test_the_exit_code_is_returned_to_callers_from_python() -> None:
    assert program.main(["settings"], standalone_mode=False) == 0
