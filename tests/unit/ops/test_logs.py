import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pytest

from asgibridge.errors import SettingsError
from asgibridge.ops.access import AccessLog, AccessRecord
from asgibridge.ops.logs import JsonFormatter, TextFormatter, configure

GENERAL = logging.getLogger("asgibridge")
ACCESS = logging.getLogger("asgibridge.access")
ROOT = logging.getLogger()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    before = [
        (logger, list(logger.handlers), logger.level, logger.propagate)
        for logger in (GENERAL, ACCESS, ROOT)
    ]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def make_record(message: object = "hello", *args: object, **changes: object) -> logging.LogRecord:
    record = logging.LogRecord("asgibridge.net", logging.INFO, "x.py", 1, message, args, None)
    record.created, record.msecs = 1_700_000_000.25, 250.0
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def raised(error: Exception) -> tuple[type[Exception], Exception, TracebackType | None]:
    try:
        raise error  # noqa: TRY301 - only a raised error has a traceback
    except Exception:  # noqa: BLE001 - any that is handed in
        return type(error), error, error.__traceback__


class Mute:
    """Cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class MuteError(Exception):
    """Cannot be printed either."""

    def __str__(self) -> str:
        raise RuntimeError


ODD: dict[str, logging.LogRecord] = {
    "too few arguments": make_record("%s %s", 1),
    "arguments of the wrong type": make_record("%d", "one"),
    "no placeholder": make_record("none", 1, 2),
    "message that cannot be printed": make_record(Mute()),
    "argument that cannot be printed": make_record("%s", Mute()),
    "mapping without the key": make_record("%(a)s", {"b": 1}),
    "message that is no text": make_record({"a": object()}),
    "surrogates": make_record("\udcff\ud800"),
    "time of no calendar": make_record(created=float("nan")),
    "time beyond the calendar": make_record(created=1e300),
    "error that cannot be printed": make_record(exc_info=raised(MuteError())),
    "exc_info of no error": make_record(exc_info=(None, None, None)),
    "a name that is no text": make_record(name=Mute(), threadName=None, process=None),
    "a level of one's own": make_record(levelno=7, levelname="Level 7"),
    "empty": logging.makeLogRecord({}),
}


@pytest.mark.parametrize("record", ODD.values(), ids=ODD)
def test_formatters_never_raise(record: logging.LogRecord) -> None:
    for formatter in (TextFormatter(), TextFormatter(use_colors=True)):
        formatter.format(record).encode()
    line = JsonFormatter().format(record)
    assert [line] == line.splitlines()
    json.dumps(json.loads(line), ensure_ascii=False).encode()


def test_what_does_not_fit_the_message_is_still_shown() -> None:
    assert TextFormatter().format(make_record("%d", "one")).endswith("INFO     %d one")


def test_json_is_one_object_with_the_fields_and_the_exception() -> None:
    record = make_record("a %s\nb", "é", exc_info=raised(KeyError("k")), stack_info="Stack: here")

    told = json.loads(JsonFormatter().format(record))

    exception = told.pop("exception")
    assert exception.startswith("Traceback")
    assert exception.endswith("KeyError: 'k'")
    assert told == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "asgibridge.net",
        "message": "a é\nb",
        "pid": os.getpid(),
        "thread": "MainThread",
        "stack": "Stack: here",
    }


def test_text_is_time_level_message() -> None:
    moment, clock, level, message = TextFormatter().format(make_record("a %d", 1)).split(None, 3)

    assert (moment[:2], clock[5:12], level, message) == ("20", ":20.250", "INFO", "a 1")


def test_only_records_begin_at_the_first_column() -> None:
    forged = "x\n2026-01-01 00:00:00.000+0000 ERROR    forged\r\x1b[31m\x9b\u2028\ttab"

    first, second = TextFormatter().format(make_record("%s", forged)).splitlines()

    assert first.endswith("INFO     x")
    assert second.startswith("    2026-01-01")
    assert second.endswith("forged\\x0d\\x1b[31m\\x9b\\u2028\ttab")


def test_text_shows_exceptions_indented() -> None:
    lines = TextFormatter().format(make_record(exc_info=raised(KeyError("k")))).splitlines()

    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    KeyError: 'k'"


def test_a_formatter_leaves_the_record_as_it_was() -> None:
    record = make_record(exc_info=raised(KeyError("k")))
    TextFormatter(use_colors=True).format(record)

    assert record.exc_text is None


@pytest.mark.parametrize(
    ("level", "color"), [(50, "1;31"), (40, "31"), (30, "33"), (25, "32"), (20, "32"), (10, "36")]
)
def test_colors_follow_the_level(level: int, color: str) -> None:
    text = TextFormatter(use_colors=True).format(make_record(levelno=level))

    assert f"\x1b[{color}mINFO    " in text


def run_on(stderr: Literal["terminal", "pipe"], call: str, **environ: str) -> str:
    """Run *call* and one log call in a fresh interpreter; return what its stderr got."""
    code = (
        "import logging; from asgibridge.ops.logs import configure\n"
        f"{call}\nlogging.getLogger('asgibridge').info('ready')"
    )
    clean = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "TERM"}} | environ
    reader, writer = os.openpty() if stderr == "terminal" else os.pipe()
    try:
        subprocess.run([sys.executable, "-c", code], stderr=writer, env=clean, check=True)
        return os.read(reader, 10_000).decode()
    finally:
        os.close(writer)
        os.close(reader)


@pytest.mark.parametrize(
    ("stderr", "call", "environ", "colored"),
    [
        ("terminal", "configure()", {}, True),
        ("terminal", "configure()", {"NO_COLOR": ""}, True),
        ("terminal", "configure()", {"NO_COLOR": "1"}, False),
        ("terminal", "configure()", {"TERM": "dumb"}, False),
        ("terminal", "configure(colors=False)", {}, False),
        ("terminal", "configure(fmt='json')", {}, False),
        ("pipe", "configure()", {}, False),
        ("pipe", "configure(colors=True)", {"NO_COLOR": "1"}, True),
    ],
)
def test_colors_are_for_terminals(
    stderr: Literal["terminal", "pipe"], call: str, environ: dict[str, str], *, colored: bool
) -> None:
    text = run_on(stderr, call, **environ)

    assert "ready" in text
    assert ("\x1b[" in text) is colored


@pytest.mark.parametrize("gone", ["stderr", "stdout"])
def test_a_process_without_standard_streams_can_log(
    monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr(sys, gone, None)
    configure(access=True)

    GENERAL.info("nobody listens")


def write_access(fmt: str) -> None:
    log = AccessLog(fmt)
    log.write(AccessRecord("192.0.2.1", "GET", b"/x", "1.1", 200, 5, 1_700_000_000.0, 0.5))
    log.flush()


def test_general_log_to_stderr_access_log_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    configure(access=True)
    GENERAL.info("ready")
    logging.getLogger("asgibridge.net").info("child")
    write_access("%(h)s %(r)s")

    out, err = capsys.readouterr()
    assert out == "192.0.2.1 GET /x HTTP/1.1\n"
    assert [line.split(None, 3)[-1] for line in err.splitlines()] == ["ready", "child"]


def test_without_access_log_stdout_stays_empty(capsys: pytest.CaptureFixture[str]) -> None:
    configure(access=False)
    write_access("%(h)s")

    assert capsys.readouterr() == ("", "")


def test_access_records_do_not_depend_on_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure("error", access=True)
    GENERAL.warning("hidden")
    write_access("%(m)s")

    assert capsys.readouterr() == ("GET\n", "")


@pytest.mark.parametrize("access_format", ["combined", "json"])
def test_json_means_json_on_both_streams(
    capsys: pytest.CaptureFixture[str], access_format: str
) -> None:
    configure(fmt="json", access=True, access_format=access_format)
    GENERAL.info("ready")
    write_access(access_format)

    out, err = capsys.readouterr()
    line = json.loads(out)
    assert json.loads(err)["message"] == "ready"
    assert line["logger"] == "asgibridge.access"
    if access_format == "json":
        assert line["target"] == "/x"
    else:
        assert "GET /x HTTP/1.1" in line["message"]
        assert line["time"] == "2023-11-14T22:13:20.500Z"


def test_root_and_other_loggers_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    other = logging.getLogger("application")
    before = [(x.handlers[:], x.level, x.propagate, x.disabled) for x in (ROOT, other)]
    seen: list[logging.LogRecord] = []

    class Spy(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    configure(access=True)
    after = [(x.handlers[:], x.level, x.propagate, x.disabled) for x in (ROOT, other)]
    ROOT.addHandler(Spy())
    GENERAL.error("ours")
    write_access("%(m)s")

    assert before == after
    assert seen == []
    assert "ours" in capsys.readouterr().err


def test_configure_twice_is_as_once(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = logging.NullHandler()
    GENERAL.addHandler(foreign)
    configure("debug", fmt="json", access=True)
    configure("info", access=True)
    GENERAL.info("once")
    GENERAL.debug("hidden")
    write_access("%(m)s")

    out, err = capsys.readouterr()
    assert out == "GET\n"
    assert err.count("\n") == 1
    assert err.endswith("INFO     once\n")
    assert foreign in GENERAL.handlers


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"level": "inof"}, "log_level: 'inof' is no level; did you mean info?"),
        ({"level": "9"}, "use critical, error, warning, info, debug"),
        ({"fmt": "xml"}, "log_format: 'xml' is no format; use text or json"),
        ({"access_format": "%(nope)s"}, "access_log_format: unknown atom %(nope)s"),
    ],
)
def test_wrong_settings_are_refused_and_change_nothing(settings: dict[str, Any], hint: str) -> None:
    configure()
    before = list(GENERAL.handlers)

    with pytest.raises(SettingsError) as caught:
        configure(**settings)

    assert hint in str(caught.value)
    assert before == GENERAL.handlers


FILES = {
    "log.json": json.dumps(
        {
            "formatters": {"mine": {"()": "asgibridge.ops.logs.JsonFormatter"}},
            "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}},
            "loggers": {"asgibridge": {"handlers": ["mine"], "level": "DEBUG"}},
        }
    ),
    "log.toml": """
version = 1
[formatters.mine]
"()" = "asgibridge.ops.logs.JsonFormatter"
[handlers.mine]
class = "logging.StreamHandler"
formatter = "mine"
[loggers.asgibridge]
handlers = ["mine"]
level = "DEBUG"
""",
}


@pytest.mark.parametrize("name", FILES)
def test_a_config_file_is_applied_instead(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    application = logging.getLogger("application.made.before")
    (tmp_path / name).write_text(FILES[name], "utf-8")
    configure("error", access=True)
    configure("error", access=True, config_file=str(tmp_path / name))
    GENERAL.debug("ready")
    write_access("%(m)s")

    out, err = capsys.readouterr()
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["ready", "GET"]
    assert out == ""
    assert not application.disabled


@pytest.mark.parametrize(
    ("name", "text", "hints"),
    [
        ("log.json", "{", ["is not JSON", "line 1 column 2"]),
        ("log.json", "[]", ["holds no object"]),
        ("log.toml", "a = ?", ["is not TOML", "line 1"]),
        ("log.toml", "a = '\udcff'", ["is not TOML"]),
        ("log.yaml", "a: 1", [".json or .toml"]),
        ("log.json", '{"version": 2}', ["version"]),
        (
            "log.json",
            '{"handlers": {"a": {"class": "logging.NoSuchHandler"}}}',
            ["handler 'a'", "NoSuchHandler"],
        ),
        ("log.toml", '[loggers.asgibridge]\nlevel = "LOUD"', ["asgibridge", "LOUD"]),
    ],
)
def test_mistakes_in_a_config_file_are_named(
    tmp_path: Path, name: str, text: str, hints: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(SettingsError) as caught:
        configure(config_file=str(path))

    for hint in ["log_config", str(path), *hints]:
        assert hint in str(caught.value)


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*absent\.json: No such file"):
        configure(config_file=str(tmp_path / "absent.json"))
