"""What settings must hold together: each rule looks at two or more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["broken_rules"]

# The defaults of what says where to listen, for telling whether it was said.
_WAYS_TO_LISTEN: Final = {"bind": (), "host": "127.0.0.1", "port": 8000, "uds": None, "fd": None}

_TLS: Final = frozenset(
    {
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_keyfile_password",
        "ssl_ca_certs",
        "ssl_cert_reqs",
        "ssl_ciphers",
    }
)


def broken_rules(values: Mapping[str, Any], place: Callable[[str], str]) -> list[str]:
    """Say which rules *values* break.

    Args:
        values: Checked settings by name.  A setting that is wrong by itself is missing; rules
            about it are left out, so that one slip is one line.
        place: Says where the value of a name was given.

    Returns:
        One line for each broken rule: the fact, then the next step.
    """
    lines: list[str] = []
    for needed, rule in _RULES:
        if needed <= values.keys():
            lines.extend(rule(values, place))
    return lines


def _one_way_to_listen(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    """Refuse a second way to say where to listen.  Host and port are one way together."""
    said = [name for name, default in _WAYS_TO_LISTEN.items() if values[name] != default]
    if {*said} <= {"host", "port"} or len(said) == 1:
        return
    named = " and ".join(place(name) for name in said)
    yield f"{named} each say where to listen; keep one, or put all addresses into bind"


def _mode_needs_unix_socket(
    values: Mapping[str, Any], place: Callable[[str], str]
) -> Iterator[str]:
    if values["uds_mode"] is None or values["uds"] is not None:
        return
    if not any(address.startswith("unix:") for address in values["bind"]):
        yield f"{place('uds_mode')}: there is no Unix socket to apply it to; add uds or remove it"


def _factory_needs_app(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    if values["factory"] and values["app"] is None:
        yield f"{place('factory')}: there is no factory to call; name it as module:function"


def _wsgi_has_no_lifespan(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    if values["lifespan"] == "on" and values["interface"] == "wsgi":
        yield (
            f"{place('lifespan')}: on does not go with {place('interface')}: WSGI has no start-up "
            "events; remove one of them"
        )


def _root_path_is_a_prefix(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    prefix: str = values["root_path"]
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        yield (
            f"{place('root_path')}: {prefix!r} cannot stand before a path; give one that begins "
            "with / and does not end with it, such as /shop"
        )


def _in_flight_fits(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    inner, outer = values["max_in_flight"], values["worker_connections"]
    if inner is not None and inner > outer:
        yield (
            f"{place('max_in_flight')}: {inner} can never be reached with "
            f"{place('worker_connections')} at {outer}; lower the first or raise the second"
        )


def _delay_leaves_time(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    delay, grace = values["shutdown_delay"], values["graceful_timeout"]
    if delay and delay >= grace:
        yield (
            f"{place('shutdown_delay')}: {delay:g}s leaves no time to finish requests with "
            f"{place('graceful_timeout')} at {grace:g}s; lower the first or raise the second"
        )


def _one_worker_reloads(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    if not values["reload"]:
        return
    if values["workers"] > 1:
        yield f"{place('reload')}: it restarts one worker; remove {place('workers')}"
    if values["preload"]:
        yield (
            f"{place('reload')}: it needs an application that is imported anew each time; remove "
            f"{place('preload')}"
        )
    if values["app"] is not None and not isinstance(values["app"], str):
        yield (
            f"{place('reload')}: an object cannot be imported anew; name the application as "
            "module:attribute"
        )


def _jitter_needs_requests(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    if values["max_requests_jitter"] is not None and values["max_requests"] is None:
        yield (
            f"{place('max_requests_jitter')}: there is no number to vary; add max_requests or "
            "remove it"
        )


def _lifetimes_fit(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    longest, least = values["max_lifetime"], values["min_lifetime"]
    if longest is not None and longest < least:
        yield (
            f"{place('max_lifetime')}: {longest:g}s is over before {place('min_lifetime')} at "
            f"{least:g}s; raise the first or lower the second"
        )


def _tls_needs_certificate(values: Mapping[str, Any], place: Callable[[str], str]) -> Iterator[str]:
    if values["ssl_certfile"] is not None:
        return
    for name in ("ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs", "ssl_ciphers"):
        if values[name] is not None:
            yield f"{place(name)}: there is no certificate to go with it; add ssl_certfile"
    if values["ssl_cert_reqs"] != "none":
        yield f"{place('ssl_cert_reqs')}: nothing speaks TLS; add ssl_certfile"


def _client_certificates_are_checked(
    values: Mapping[str, Any], place: Callable[[str], str]
) -> Iterator[str]:
    """Refuse half of it: an authority alone would look like a check and be none."""
    authorities, needs = values["ssl_ca_certs"], values["ssl_cert_reqs"]
    if values["ssl_certfile"] is None:
        return
    if needs != "none" and authorities is None:
        yield (
            f"{place('ssl_cert_reqs')}: there is nothing to check client certificates against; "
            "add ssl_ca_certs"
        )
    elif needs == "none" and authorities is not None:
        yield (
            f"{place('ssl_ca_certs')}: no client is asked for a certificate; set ssl_cert_reqs to "
            "required or optional, or remove it"
        )


# Each rule with the settings it looks at.
_RULES: Final = (
    (frozenset(_WAYS_TO_LISTEN), _one_way_to_listen),
    (frozenset({"uds_mode", "uds", "bind"}), _mode_needs_unix_socket),
    (frozenset({"factory", "app"}), _factory_needs_app),
    (frozenset({"lifespan", "interface"}), _wsgi_has_no_lifespan),
    (frozenset({"root_path"}), _root_path_is_a_prefix),
    (frozenset({"max_in_flight", "worker_connections"}), _in_flight_fits),
    (frozenset({"shutdown_delay", "graceful_timeout"}), _delay_leaves_time),
    (frozenset({"reload", "workers", "preload", "app"}), _one_worker_reloads),
    (frozenset({"max_requests", "max_requests_jitter"}), _jitter_needs_requests),
    (frozenset({"max_lifetime", "min_lifetime"}), _lifetimes_fit),
    (_TLS, _tls_needs_certificate),
    (_TLS, _client_certificates_are_checked),
)
