"""The pages of the demo escape what visitors sent."""

from __future__ import annotations

import base64
import hashlib

from asgibridge.demo_pages import CHAT_POLICY, chat_page, main_page

EVIL = "<script>alert(1)</script>"


def test_nothing_that_a_visitor_sent_becomes_markup() -> None:
    page = main_page("ASGI", f"/{EVIL}", [("Request", EVIL)], [(EVIL, EVIL)])
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert EVIL not in chat_page(f"/{EVIL}")


def test_links_begin_at_the_root() -> None:
    assert 'href="/shop/chat"' in main_page("ASGI", "/shop", [], [])
    assert "chat" not in main_page("WSGI", "/shop", [], [])
    assert 'href="/shop/"' in chat_page("/shop")


def test_the_policy_names_the_script_of_the_page() -> None:
    script = chat_page("").partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in CHAT_POLICY
