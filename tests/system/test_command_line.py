"""The installed command: exit codes, streams and messages, as a shell sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import installed_script

from asgibridge import __version__

SECONDS_TO_ANSWER = 30.0


def run(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in an environment without settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ASGIBRIDGE_") and name not in {"PORT", "PYTHONPATH"}
    }
    return subprocess.run(
        [installed_script(), *words],
        cwd=cwd,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_ANSWER,
        check=False,
    )


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"asgibridge {__version__} (")


def test_the_module_is_the_same_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asgibridge", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_ANSWER,
        check=True,
    )
    assert done.stdout == run("--help", cwd=tmp_path).stdout


def test_wrong_settings_from_everywhere_exit_2_with_all_origins(tmp_path: Path) -> None:
    (tmp_path / "asgibridge.toml").write_text('log-level = "loud"\nthread = 3\n')
    done = run("serve", "--port", "80a", cwd=tmp_path, ASGIBRIDGE_KEEP_ALIVE="soon")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert all(line.startswith("asgibridge: ") for line in lines)
    origins = [line.split(": ")[1] for line in lines]
    assert sorted(origins) == [
        "asgibridge.toml",
        "asgibridge.toml",
        "environment ASGIBRIDGE_KEEP_ALIVE",
        "flag --port",
    ]
    assert "did you mean threads?" in done.stderr


def test_settings_shows_where_each_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "asgibridge.toml").write_text('backlog = 5\nenv-file = "a.env"\n')
    (tmp_path / "a.env").write_text("ASGIBRIDGE_THREADS=7\n")
    done = run("settings", "--keep-alive", "5m", cwd=tmp_path, PORT="5000")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert ["keep_alive", "300s", "flag --keep-alive"] in rows
    assert ["port", "5000", "environment PORT"] in rows
    assert ["threads", "7", "environment ASGIBRIDGE_THREADS (env_file)"] in rows
    assert ["backlog", "5", "asgibridge.toml"] in rows
    assert ["loop", "auto", "default"] in rows


def test_check_tells_what_it_found_and_listens_nowhere(tmp_path: Path) -> None:
    (tmp_path / "site_wsgi.py").write_text("def app(environ, start_response):\n    return []\n")
    done = run("check", "site_wsgi:app", "--threads", "3", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    settings, application, listening = done.stdout.splitlines()
    assert settings.startswith("settings     2 given, ")
    assert application == "application  site_wsgi:app, WSGI"
    assert listening == "listening    would be on 127.0.0.1:8000"


def test_check_without_an_application_finds_the_demo(tmp_path: Path) -> None:
    done = run("check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "application  asgibridge.demo:app, " in done.stdout


@pytest.mark.parametrize("command", ["check", "serve"])
def test_the_environment_file_is_loaded_before_the_application(
    command: str, tmp_path: Path
) -> None:
    (tmp_path / "telling.py").write_text(
        "import os\nraise RuntimeError(os.environ['SECRET'], os.environ['KEPT'])\n"
    )
    (tmp_path / ".env").write_text("SECRET='from file'\nKEPT=file\n")
    done = run(command, "telling:app", "--env-file", ".env", cwd=tmp_path, KEPT="real")
    assert done.returncode == 3
    assert "RuntimeError: ('from file', 'real')" in done.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_missing_module_exits_3_with_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "my_site.py").write_text("")
    done = run(command, "my_sit:app", cwd=tmp_path)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("asgibridge: ")
    assert "my_sit" in done.stderr
    assert "my_site" in done.stderr


def test_a_missing_attribute_exits_3_and_suggests_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "my_site.py").write_text("def application(environ, start_response): ...\n")
    done = run("check", "my_site:aplication", cwd=tmp_path)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "application" in done.stderr.replace("aplication", "")


def test_an_application_that_raises_shows_its_own_traceback_and_exits_3(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("1 / 0\n")
    done = run("check", "broken:app", cwd=tmp_path)
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    files = [line.split('"')[1] for line in lines if line.startswith("  File ")]
    assert [Path(file).name for file in files] == ["broken.py", "helper.py"]
    assert lines[-2] == "ZeroDivisionError: division by zero"
    assert lines[-1].startswith("asgibridge: ")
    assert "broken" in lines[-1]


def test_a_syntax_error_shows_the_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def app(:\n")
    done = run("check", "broken:app", cwd=tmp_path)
    assert done.returncode == 3
    assert "def app(:" in done.stderr
    assert "SyntaxError" in done.stderr


def test_errors_have_no_colours_in_a_pipe(tmp_path: Path) -> None:
    assert "\x1b" not in run("serv", cwd=tmp_path).stderr


def test_a_shell_can_load_the_completion(tmp_path: Path) -> None:
    script = run("completion", "bash", cwd=tmp_path).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=10)  # noqa: S607
