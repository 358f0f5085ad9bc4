"""What gunicorn's settings mean, checked against its own defaults."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from gunicorn.config import Config as GunicornConfig

from asgibridge.config.gunicorn import find_pointless, settings_from_gunicorn
from asgibridge.config.settings import OPTIONS
from asgibridge.errors import SettingsError


def defaults() -> dict[str, Any]:
    return {name: setting.get() for name, setting in GunicornConfig().settings.items()}


def translated(environ: dict[str, str] | None = None, **values: Any) -> dict[str, Any]:  # noqa: ANN401
    return settings_from_gunicorn({**defaults(), **values}, environ or {}, is_access_logged=False)


def mistakes(environ: dict[str, str] | None = None, **values: Any) -> list[str]:  # noqa: ANN401
    with pytest.raises(SettingsError) as caught:
        translated(environ, **values)
    return list(caught.value.mistakes)


def test_its_defaults_mean_what_they_say() -> None:
    found = translated()
    expected = {
        "worker_connections": 1000,
        "threads": 1,
        "keep_alive": 2.0,
        "graceful_timeout": 30.0,
        "max_target_size": 4094 - len("GET  HTTP/1.1"),
        "max_headers": 100,
        "max_header_size": 8190,
        "max_head_size": 65536 + 8190,
        "root_path": "",
        "forwarded_allow_ips": ("127.0.0.1", "::1"),
        "ws_max_size": 16 * 2**20,
        "loop": "auto",
        "lifespan": "auto",
        "access_log": False,
        "access_log_format": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    }
    assert expected == {name: found[name] for name in expected}
    rest = {name: value for name, value in found.items() if name not in expected}
    assert rest == {name: OPTIONS[name].default for name in rest}


@pytest.mark.parametrize(
    ("theirs", "value", "ours", "meaning"),
    [
        ("worker_connections", 7, "worker_connections", 7),
        ("threads", 12, "threads", 12),
        ("keepalive", 0, "keep_alive", 0.0),
        ("graceful_timeout", 0, "graceful_timeout", 0.0),
        ("limit_request_line", 0, "max_target_size", 65536),
        ("limit_request_line", 1, "max_target_size", 16),
        ("limit_request_line", 9000, "max_target_size", 8190 - 13),
        ("limit_request_line", -1, "max_target_size", 8190 - 13),
        ("limit_request_fields", 0, "max_headers", 32768),
        ("limit_request_fields", 99999, "max_headers", 32768),
        ("limit_request_fields", 10, "max_headers", 10),
        ("limit_request_field_size", 0, "max_header_size", 8190),
        ("limit_request_field_size", 65536, "max_header_size", 65536),
        ("limit_request_field_size", 65536, "max_head_size", 131072),
        ("root_path", "/shop/", "root_path", "/shop"),
        ("ciphers", None, "ssl_ciphers", None),
        ("asgi_loop", "asyncio", "loop", "asyncio"),
        ("asgi_lifespan", "off", "lifespan", "off"),
        ("access_log_format", "%(h)s", "access_log_format", "%(h)s"),
        ("websocket_max_message_size", 1000, "ws_max_size", 1000),
        ("websocket_max_message_size", 0, "ws_max_size", 2**40),
    ],
)
def test_a_setting_is_honoured(theirs: str, value: Any, ours: str, meaning: object) -> None:  # noqa: ANN401
    assert translated(**{theirs: value})[ours] == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("*", ("*",)), ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")), ("", ())],
)
def test_proxies_are_trusted_as_gunicorn_trusts_them(text: str, meaning: tuple[str, ...]) -> None:
    config = GunicornConfig()
    config.set("forwarded_allow_ips", text)
    found = translated(forwarded_allow_ips=config.forwarded_allow_ips)
    assert (found["proxy_headers"], found["forwarded_allow_ips"]) == (True, meaning)


def test_certificates_are_ours_under_other_names() -> None:
    found = translated(
        certfile="c", keyfile="k", ca_certs="a", cert_reqs=ssl.CERT_REQUIRED, ciphers="x"
    )
    assert {name: value for name, value in found.items() if name.startswith("ssl_")} == {
        "ssl_certfile": "c",
        "ssl_keyfile": "k",
        "ssl_keyfile_password": None,
        "ssl_ca_certs": "a",
        "ssl_cert_reqs": "required",
        "ssl_ciphers": "x",
    }
    assert translated(certfile="c", cert_reqs=0)["ssl_cert_reqs"] == "none"
    assert "gunicorn's cert_reqs" in mistakes(certfile="c", cert_reqs=7)[0]


def test_the_mount_point_comes_from_its_variable_too() -> None:
    assert translated({"SCRIPT_NAME": "/shop"})["root_path"] == "/shop"
    assert translated({"SCRIPT_NAME": "/shop"}, root_path="/a")["root_path"] == "/a"


def test_older_versions_lack_the_settings_for_asgi() -> None:
    old = {name: value for name, value in defaults().items() if not name.startswith("asgi_")}
    del old["root_path"], old["protocol"], old["websocket_max_message_size"]
    found = settings_from_gunicorn(old, {}, is_access_logged=True)
    assert found["ws_max_size"] == OPTIONS["ws_max_size"].default
    assert (found["loop"], found["lifespan"], found["access_log"]) == ("auto", "auto", True)


def test_what_gunicorn_has_no_word_for_comes_from_our_variables() -> None:
    found = translated({"ASGIBRIDGE_REQUEST_TIMEOUT": "30s", "ASGIBRIDGE_MAX_HEAD_SIZE": "1m"})
    assert (found["request_timeout"], found["max_head_size"]) == (30.0, 2**20)
    assert translated({"ASGIBRIDGE_PROXY_HEADERS": "no"})["proxy_headers"] is False


def test_all_mistakes_are_told_at_once() -> None:
    environ = {
        "ASGIBRIDGE_THREADS": "4",
        "ASGIBRIDGE_NONSENSE": "1",
        "ASGIBRIDGE_BODY_TIMEOUT": "soon",
        "ASGIBRIDGE_INTERFACE": "",
        "ASGIBRIDGE_MAX_RSS": "300",
    }
    said = mistakes(environ, worker_connections=0, protocol="uwsgi")
    assert len(said) == 6
    text = "\n".join(said)
    assert "environment ASGIBRIDGE_THREADS: gunicorn decides this; use its threads" in text
    assert "environment ASGIBRIDGE_MAX_RSS: gunicorn cannot do this" in text
    assert "environment ASGIBRIDGE_NONSENSE: there is no such setting" in text
    assert "environment ASGIBRIDGE_BODY_TIMEOUT: " in text
    assert "gunicorn's worker_connections: " in text
    assert "gunicorn's protocol='uwsgi': asgibridge speaks HTTP only" in text


def test_defaults_are_never_pointless() -> None:
    assert find_pointless(defaults(), defaults()) == []


def test_what_is_done_anyway_is_not_pointless() -> None:
    changed = {**defaults(), "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"}}
    assert find_pointless(changed, defaults()) == []
    changed["secure_scheme_headers"] = {"X-SCHEME": "https"}
    assert "the scheme comes from X-Forwarded-Proto" in find_pointless(changed, defaults())[0]


def test_what_was_set_for_nothing_is_named_with_the_reason() -> None:
    changed = {**defaults(), "header_map": "refuse", "reuse_port": True, "threads": 5}
    assert find_pointless(changed, defaults()) == [
        (
            "reuse_port is honoured, but clients then wait for one worker alone while others are "
            "free; leave it out"
        ),
        (
            "header_map has no effect with asgibridge: headers with an underscore in their name "
            "never reach a WSGI application"
        ),
    ]
