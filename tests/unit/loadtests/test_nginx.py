from __future__ import annotations

from pathlib import Path

from loadtests.nginx import configuration, kinds_of_errors


def test_upstream_connections_are_used_again_only_if_asked() -> None:
    kept = configuration(Path("/tmp/x"), 1, 2, is_kept=True)  # noqa: S108  (never opened)
    closed = configuration(Path("/tmp/x"), 1, 2, is_kept=False)  # noqa: S108
    assert "keepalive 16;" in kept
    assert 'proxy_set_header Connection "";' in kept
    assert "keepalive 16;" not in closed
    assert "Connection" not in closed
    for text in (kept, closed):
        assert "proxy_next_upstream off;" in text
        assert "listen 127.0.0.1:1 " in text
        assert "server 127.0.0.1:2 max_fails=0;" in text


def test_errors_are_counted_by_what_they_mean() -> None:
    log = """
[error] upstream prematurely closed connection while reading response header from upstream
[error] recv() failed (104: Connection reset by peer) while reading response header
[error] connect() failed (111: Connection refused) while connecting to upstream
[error] connect() failed (111: Connection refused) while connecting to upstream
[alert] something else
"""
    assert kinds_of_errors(log.strip()) == {
        "closed before the answer": 1,
        "reset": 1,
        "refused": 2,
        "other": 1,
    }
