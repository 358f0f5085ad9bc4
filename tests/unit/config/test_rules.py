"""Settings that do not go together are refused, with the place of each and a next step."""

from __future__ import annotations

from typing import Any

import pytest

from asgibridge.config import rules
from asgibridge.config.rules import broken_rules
from asgibridge.config.settings import OPTIONS

DEFAULTS = {name: option.default for name, option in OPTIONS.items()}


def broken(**settings: Any) -> list[str]:  # noqa: ANN401 - any setting
    return broken_rules(DEFAULTS | settings, place="<{}>".format)


def test_the_defaults_go_together() -> None:
    assert broken() == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"bind": ("a:1",), "port": 9},
            "<bind> and <port> each say where to listen; keep one, or put all addresses into bind",
        ),
        (
            {"fd": 3, "uds": "/a"},
            "<uds> and <fd> each say where to listen; keep one, or put all addresses into bind",
        ),
        (
            {"uds": "/a", "host": "::1"},
            "<host> and <uds> each say where to listen; keep one, or put all addresses into bind",
        ),
        (
            {"uds_mode": 0o660},
            "<uds_mode>: there is no Unix socket to apply it to; add uds or remove it",
        ),
        ({"reload": True, "workers": 2}, "<reload>: it restarts one worker; remove <workers>"),
        (
            {"reload": True, "preload": True},
            ("<reload>: it needs an application that is imported anew each time; remove <preload>"),
        ),
        (
            {"reload": True, "app": print},
            (
                "<reload>: an object cannot be imported anew; name the application as "
                "module:attribute"
            ),
        ),
        (
            {"max_requests_jitter": 5},
            ("<max_requests_jitter>: there is no number to vary; add max_requests or remove it"),
        ),
        (
            {"max_lifetime": 5.0, "min_lifetime": 6.0},
            (
                "<max_lifetime>: 5s is over before <min_lifetime> at 6s; raise the first or lower "
                "the second"
            ),
        ),
        (
            {"ssl_keyfile": "key.pem"},
            "<ssl_keyfile>: there is no certificate to go with it; add ssl_certfile",
        ),
        (
            {"ssl_cert_reqs": "required"},
            "<ssl_cert_reqs>: nothing speaks TLS; add ssl_certfile",
        ),
        (
            {"ssl_certfile": "cert.pem", "ssl_cert_reqs": "required"},
            (
                "<ssl_cert_reqs>: there is nothing to check client certificates against; add "
                "ssl_ca_certs"
            ),
        ),
        (
            {"ssl_certfile": "cert.pem", "ssl_ca_certs": "authority.pem"},
            (
                "<ssl_ca_certs>: no client is asked for a certificate; set ssl_cert_reqs to "
                "required or optional, or remove it"
            ),
        ),
        ({"factory": True}, "<factory>: there is no factory to call; name it as module:function"),
        (
            {"interface": "wsgi", "lifespan": "on"},
            (
                "<lifespan>: on does not go with <interface>: WSGI has no start-up events; remove "
                "one of them"
            ),
        ),
        (
            {"root_path": "shop/"},
            (
                "<root_path>: 'shop/' cannot stand before a path; give one that begins with / and "
                "does not end with it, such as /shop"
            ),
        ),
        (
            {"max_in_flight": 11, "worker_connections": 10},
            (
                "<max_in_flight>: 11 can never be reached with <worker_connections> at 10; lower "
                "the first or raise the second"
            ),
        ),
        (
            {"shutdown_delay": 5.0, "graceful_timeout": 5.0},
            (
                "<shutdown_delay>: 5s leaves no time to finish requests with <graceful_timeout> at "
                "5s; lower the first or raise the second"
            ),
        ),
    ],
)
def test_a_broken_rule_names_fact_and_next_step(settings: dict[str, Any], expected: str) -> None:
    assert broken(**settings) == [expected]


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "::1", "port": 9},
        {"bind": ("a:1", "unix:/a"), "uds_mode": 0o660},
        {"uds": "/a", "uds_mode": 0o660},
        {"factory": True, "app": "a:b"},
        {"interface": "wsgi", "lifespan": "off"},
        {"root_path": "/a/b"},
        {"max_in_flight": 10, "worker_connections": 10},
        {"worker_connections": 1},
        {"graceful_timeout": 0.0},
    ],
)
def test_what_goes_together_is_left_alone(settings: dict[str, Any]) -> None:
    assert broken(**settings) == []


def test_a_rule_about_a_wrong_setting_keeps_quiet() -> None:
    without = {name: value for name, value in DEFAULTS.items() if name != "worker_connections"}
    assert broken_rules(without | {"max_in_flight": 10**6}, place=str) == []


def test_the_rule_about_listening_knows_the_declared_defaults() -> None:
    for name, default in rules._WAYS_TO_LISTEN.items():
        assert OPTIONS[name].default == default
