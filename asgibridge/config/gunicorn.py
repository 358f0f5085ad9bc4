"""gunicorn's settings in our words: which mean what, which mean nothing, which cannot be.

Pure: gunicorn itself is not imported, so that this can be read and tested without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgibridge.config.groups import RELOADING, WORKERS
from asgibridge.config.option import ENVIRONMENT_PREFIX
from asgibridge.config.settings import OPTIONS, examine
from asgibridge.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["find_pointless", "settings_from_gunicorn"]

# gunicorn/http/message.py: what "0" and values beyond stand for.
_MOST_FIELDS: Final = 32768
_LONGEST_LINE: Final = 8190
_LARGEST_FIELD: Final = 8190
# "GET " and " HTTP/1.1" around the target, which is what we bound.
_AROUND_TARGET: Final = 13
_LARGEST_MESSAGE: Final = OPTIONS["ws_max_size"].default
_NO_LIMIT: Final = 2**40
# Bytes of a head beside its largest field.
_HEAD_BESIDE_FIELD: Final = 64 * 1024

# Setting of ours -> the one of gunicorn that decides it.
_DECIDED: Final = {
    "worker_connections": "worker_connections",
    "threads": "threads",
    "keep_alive": "keepalive",
    "graceful_timeout": "graceful_timeout",
    "max_target_size": "limit_request_line",
    "max_headers": "limit_request_fields",
    "max_header_size": "limit_request_field_size",
    "forwarded_allow_ips": "forwarded_allow_ips",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
    "ssl_ca_certs": "ca_certs",
    "ssl_cert_reqs": "cert_reqs",
    "ssl_ciphers": "ciphers",
    "root_path": "root_path",
    "loop": "asgi_loop",
    "lifespan": "asgi_lifespan",
    "ws_max_size": "websocket_max_message_size",
    "access_log": "accesslog",
    "access_log_format": "access_log_format",
    "log_level": "loglevel",
    "log_format": "logger_class",
    "log_config": "logconfig",
    "app": "wsgi_app",
    "factory": "wsgi_app",
    "app_dir": "chdir",
    "env_file": "raw_env",
    "bind": "bind",
    "host": "bind",
    "port": "bind",
    "uds": "bind",
    "fd": "bind",
    "uds_mode": "umask",
    "backlog": "backlog",
    "workers": "workers",
    "preload": "preload_app",
    "max_requests": "max_requests",
    "max_requests_jitter": "max_requests_jitter",
    "worker_timeout": "timeout",
    "reload": "reload",
}
# What remains of these belongs to a supervisor of ours.
_NOT_FOR_WORKERS: Final = (WORKERS, RELOADING)
# ssl.CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED, which are ints too.
_CERT_REQS: Final = {0: "none", 1: "optional", 2: "required"}

# Setting -> why it has no effect, and what to do instead.
_POINTLESS: Final = {
    "sendfile": "files given as wsgi.file_wrapper are always sent by sendfile(2)",
    "reuse_port": "honoured, but clients then wait for one worker alone while others are free; "
    "leave it out",
    "tmp_upload_dir": "large request bodies go to the system's temporary directory; set TMPDIR",
    "ssl_version": "TLS 1.2 and 1.3 are spoken, always",
    "suppress_ragged_eofs": "the event loop handles them",
    "do_handshake_on_connect": "the event loop does it, within a timeout",
    "http_protocols": "HTTP/1.1 is what is spoken here; put a proxy in front for HTTP/2",
    "http2_cleartext": "HTTP/2 is not spoken here",
    "http2_max_concurrent_streams": "HTTP/2 is not spoken here",
    "http2_initial_window_size": "HTTP/2 is not spoken here",
    "http2_max_frame_size": "HTTP/2 is not spoken here",
    "http2_max_header_list_size": "HTTP/2 is not spoken here",
    "permit_obsolete_folding": "folded headers are refused, always",
    "strip_header_spaces": "blanks before the colon of a header are refused, always",
    "permit_unconventional_http_method": "every method that HTTP's grammar allows and llhttp knows "
    "is taken",
    "permit_unconventional_http_version": "only HTTP/1.0 and HTTP/1.1 are spoken here",
    "casefold_http_method": "methods are case-sensitive, as HTTP says",
    "header_map": "headers with an underscore in their name never reach a WSGI application",
    "http_parser": "requests are always read by llhttp, in C",
    "asgi_disconnect_grace_period": "an application hears http.disconnect and may take its time",
    "uwsgi_allow_ips": "the uwsgi protocol is not spoken here",
    "proxy_allow_ips": "the PROXY protocol is not spoken here",
    "secure_scheme_headers": "the scheme comes from X-Forwarded-Proto, or from Forwarded; let the "
    "proxy set one of them",
    "forwarder_headers": "a proxy's headers never become SCRIPT_NAME, PATH_INFO or REMOTE_USER; "
    "set root_path, or read the header in the application",
}
# Setting -> another value that says no more than what is done anyway.
_HARMLESS: Final = {"secure_scheme_headers": {"X-FORWARDED-PROTO": "https"}}
# Setting -> the values with which it can be served, and what to do with others.
_REFUSED: Final[dict[str, tuple[frozenset[object], str]]] = {
    "protocol": (
        frozenset({"http"}),
        "asgibridge speaks HTTP only; let the proxy speak HTTP too (nginx: proxy_pass)",
    ),
    "proxy_protocol": (
        frozenset({"off", False}),
        "asgibridge does not speak the PROXY protocol; turn it off in the proxy too",
    ),
}


def settings_from_gunicorn(
    values: Mapping[str, Any], environ: Mapping[str, str], *, is_access_logged: bool
) -> dict[str, Any]:
    """Say with which of our settings gunicorn's *values* are honoured.

    What gunicorn has no word for, such as `request_timeout`, comes from `ASGIBRIDGE_...`.

    Args:
        values: All settings of gunicorn, by its own names.
        environ: The environment.
        is_access_logged: Whether gunicorn's logger wants access records.

    Returns:
        Checked values for `Config`, without those of the application.

    Raises:
        SettingsError: Something cannot be served so.  All of it is listed.
    """
    found = _translate(values, environ)
    found["access_log"] = is_access_logged
    extra, mistakes = _from_environment(environ)
    clean, more = examine({**found, **extra}, _place)
    mistakes += [*more, *_refusals(values)]
    if mistakes:
        raise SettingsError(mistakes)
    return clean


def find_pointless(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Say which of *values* somebody changed for nothing, and why: one line for each."""
    return [
        f"{name} has no effect with asgibridge: {why}"
        if name != "reuse_port"
        else f"{name} is {why}"
        for name, why in _POINTLESS.items()
        if name in values and values[name] not in (defaults[name], _HARMLESS.get(name))
    ]


def _translate(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    line = values["limit_request_line"]
    fields = values["limit_request_fields"]
    field_size = values["limit_request_field_size"]
    if field_size <= 0:
        field_size = _LARGEST_FIELD
    if not 0 <= line <= _LONGEST_LINE:
        line = _LONGEST_LINE
    return {
        "worker_connections": values["worker_connections"],
        "threads": values["threads"],
        "keep_alive": values["keepalive"],
        "graceful_timeout": values["graceful_timeout"],
        # 0 is no limit: only that of the whole head is left then.
        "max_target_size": max(16, line - _AROUND_TARGET) if line else _HEAD_BESIDE_FIELD,
        "max_headers": fields if 0 < fields <= _MOST_FIELDS else _MOST_FIELDS,
        "max_header_size": max(128, field_size),
        "max_head_size": _HEAD_BESIDE_FIELD + field_size,
        "forwarded_allow_ips": tuple(str(each) for each in values["forwarded_allow_ips"]),
        "ssl_certfile": values["certfile"],
        "ssl_keyfile": values["keyfile"],
        "ssl_ca_certs": values["ca_certs"],
        "ssl_cert_reqs": _CERT_REQS.get(values["cert_reqs"], values["cert_reqs"]),
        "ssl_ciphers": values["ciphers"],
        # gunicorn's own setting is young; its WSGI workers know this variable.
        "root_path": (values.get("root_path") or environ.get("SCRIPT_NAME", "")).rstrip("/"),
        "loop": values.get("asgi_loop", "auto"),
        "lifespan": values.get("asgi_lifespan", "auto"),
        # Young too; 0 is no limit, which is more than any memory here.
        "ws_max_size": values.get("websocket_max_message_size", _LARGEST_MESSAGE) or _NO_LIMIT,
        "access_log_format": values["access_log_format"],
    }


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Read what gunicorn has no word for; complain of what it decides."""
    found = {}
    mistakes = []
    by_variable = {option.environment: name for name, option in OPTIONS.items()}
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or not value:
            continue
        name = by_variable.get(variable)
        if name is None:
            mistakes.append(
                f"environment {variable}: there is no such setting; remove it "
                "(`asgibridge settings` lists all settings)"
            )
        elif name in _DECIDED:
            mistakes.append(
                f"environment {variable}: gunicorn decides this; use its {_DECIDED[name]} instead"
            )
        elif OPTIONS[name].group in _NOT_FOR_WORKERS:
            mistakes.append(
                f"environment {variable}: gunicorn cannot do this; remove it, or leave gunicorn: "
                "`asgibridge serve`"
            )
        else:
            found[name] = value
    return found, mistakes


def _refusals(values: Mapping[str, Any]) -> list[str]:
    return [
        f"gunicorn's {name}={values[name]!r}: {step}"
        for name, (accepted, step) in _REFUSED.items()
        if name in values and values[name] not in accepted
    ]


def _place(name: str) -> str:
    if name in _DECIDED:
        return f"gunicorn's {_DECIDED[name]}"
    return f"environment {OPTIONS[name].environment}"
