"""Tokens, webhooks and settings in a real Chromium: from the first token to its end, with and without scripts."""

from __future__ import annotations

import pytest

from registry import connect
from tests.web.browsing import check_whole, served

pytestmark = pytest.mark.browser


@pytest.fixture
def registry(tmp_path):
    """An empty registry of this test alone."""
    with connect(tmp_path / "home") as registry:
        yield registry


def test_the_first_token_and_the_second_s_end(page, said, registry):
    with served(registry) as at:
        page.goto(f"{at}/tokens")
        check_whole(page, said)
        page.get_by_label("Name", exact=True).fill("boss")
        page.get_by_role("button", name="Make the token").click()
        assert page.evaluate("document.querySelector('[name=first]').validity.valueMissing")  # nothing is sent
        page.get_by_label("I know that from now on everybody must sign in").check()
        page.get_by_role("button", name="Make the token").click()
        page.get_by_role("heading", name="Copy the token of boss now").wait_for()
        assert "sst_" not in page.url
        secret = page.locator(".secret code").inner_text()
        check_whole(page, said)
        page.get_by_role("link", name="Sign in with it").click()
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{at}/")
        registry.create_token("ci")
        page.goto(f"{at}/tokens")
        page.get_by_role("link", name="Revoke ci").click()
        check_whole(page, said)
        page.get_by_role("button", name="Revoke ci").click()
        page.wait_for_url(f"{at}/tokens")
        assert page.get_by_text("1 expired or revoked").is_visible()
        assert {t.name: t.state for t in registry.tokens()} == {"boss": "active", "ci": "revoked"}
        check_whole(page, said)


def test_without_scripts_all_of_it_works(browser, registry):
    secret = registry.create_token("boss", role="admin")[1]
    registry.create_token("ci")
    with served(registry) as at:
        page = browser.new_page(java_script_enabled=False)
        page.goto(f"{at}/login?next=/tokens")
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Revoke ci").click()
        page.get_by_role("button", name="Revoke ci").click()
        page.get_by_text("1 expired or revoked").wait_for()
        page.get_by_label("Name", exact=True).fill("new")
        page.get_by_role("button", name="Make the token").click()
        assert page.locator(".secret code").inner_text().startswith("sst_")
        page.close()


def test_webhooks_and_settings_are_whole(page, said, registry):
    registry.add_webhook("deploy", "http://127.0.0.1:9/hook", events=["alias.moved"], allowed=["127.0.0.1"])
    registry.register_version("m", dim=4)
    registry.set_alias("m", "live", 1)
    registry.send_deliveries()
    with served(registry) as at:
        for path in ("/webhooks", "/webhooks/deploy/remove", "/settings"):
            page.goto(at + path)
            check_whole(page, said)
