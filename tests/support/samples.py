"""A value for each setting that is not its default: as text, and as what the text means."""

from __future__ import annotations

from typing import Final

SAMPLES: Final[dict[str, tuple[str, object]]] = {
    "app": ("package.module:attribute", "package.module:attribute"),
    "interface": ("wsgi", "wsgi"),
    "factory": ("true", True),
    "app_dir": ("src", "src"),
    "root_path": ("/shop", "/shop"),
    "lifespan": ("off", "off"),
    "env_file": ("test.env", "test.env"),
    "bind": ("127.0.0.1:1,unix:/a", ("127.0.0.1:1", "unix:/a")),
    "host": ("::1", "::1"),
    "port": ("8001", 8001),
    "uds": ("/run/a", "/run/a"),
    "uds_mode": ("660", 0o660),
    "fd": ("3", 3),
    "backlog": ("100", 100),
    "loop": ("asyncio", "asyncio"),
    "worker_connections": ("500", 500),
    "max_in_flight": ("10", 10),
    "threads": ("3", 3),
    "max_head_size": ("8k", 8192),
    "max_headers": ("50", 50),
    "max_target_size": ("4k", 4096),
    "max_body_size": ("none", None),
    "max_body_memory": ("64k", 65536),
    "parking_delay": ("50ms", 0.05),
    "header_timeout": ("5", 5.0),
    "body_timeout": ("6s", 6.0),
    "write_timeout": ("2m", 120.0),
    "keep_alive": ("5s", 5.0),
    "request_timeout": ("9", 9.0),
    "queue_timeout": ("1.5", 1.5),
    "startup_timeout": ("1h", 3600.0),
    "graceful_timeout": ("10", 10.0),
    "shutdown_delay": ("1", 1.0),
    "ws_max_size": ("1m", 1048576),
    "ws_max_queue": ("8", 8),
    "ws_ping_interval": ("none", None),
    "ws_ping_timeout": ("5", 5.0),
    "ws_handshake_timeout": ("10", 10.0),
    "ws_deflate": ("no", False),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "log_config": ("log.toml", "log.toml"),
    "access_log": ("yes", True),
    "access_log_format": ("common", "common"),
    "server_header": ("no", False),
}

# What a setting needs beside it to make sense.
COMPANIONS: Final[dict[str, dict[str, str]]] = {
    "factory": {"app": "a:b"},
    "uds_mode": {"uds": "/run/a"},
}
