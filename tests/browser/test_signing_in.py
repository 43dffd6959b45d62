"""Signing in and out, with a password and with a key."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.site import Site
from tests.integration.admin.calling import ADMIN

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_wrong_then_right_then_out(site: Site) -> None:
    async with site.visit(signed_in=False) as visitor:
        page = visitor.page
        await page.goto(site.api.url + "/")  # which leads to the dashboard
        await visitor.heading("Sign in to HookMQ")
        assert page.url == site.api.url + "/dashboard/"
        await expect(page.get_by_label("User name")).to_be_focused()

        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_label("User name")).to_have_attribute("aria-invalid", "true")

        await page.get_by_label("User name").fill(ADMIN[0])
        await page.get_by_label("Password").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("The user name or the password is wrong.")
        await expect(page.get_by_label("Password")).to_be_focused()

        await page.get_by_label("Password").fill(ADMIN[1])
        await page.keyboard.press("Enter")
        await visitor.heading("Overview")
        await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
        assert "hookmq_session" not in await page.evaluate("() => document.cookie")

        await page.get_by_role("button", name="Sign out").click()
        await visitor.heading("Sign in to HookMQ")
        await page.reload()
        await visitor.heading("Sign in to HookMQ")


async def test_the_page_that_was_asked_for_is_shown_after_signing_in(site: Site) -> None:
    async with site.visit(signed_in=False) as visitor:
        page = visitor.page
        await page.goto(site.api.url + "/dashboard/#/clients")
        await visitor.heading("Sign in to HookMQ")
        await page.get_by_label("User name").fill(ADMIN[0])
        await page.get_by_label("Password").fill(ADMIN[1])
        await page.keyboard.press("Enter")
        await visitor.heading("Clients")


async def test_a_key_that_may_only_read_sees_no_buttons_that_change(site: Site) -> None:
    key = await site.api.key("reader", "endpoints:read", "clients:read")
    identifier = await site.endpoint(site.name("readable"), ["work_order.*"])
    async with site.visit(signed_in=False) as visitor:
        page = visitor.page
        await page.goto(site.api.url + "/dashboard/#/endpoints")
        await page.get_by_role("tab", name="API key").click()
        await page.get_by_label("API key", exact=True).and_(page.locator("input")).fill(key)
        await page.keyboard.press("Enter")
        await visitor.heading("Endpoints")
        await visitor.settled()
        await expect(page.get_by_role("link", name="Create endpoint")).to_have_count(0)
        await page.evaluate("hash => { location.hash = hash; }", f"#/endpoints/{identifier}")
        await expect(page.get_by_role("tab", name="Deliveries")).to_be_visible()
        for name in ("Delete", "Edit", "Replay", "Disable", "Test", "Rotate secret"):
            await expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
        await visitor.go("clients")
        await visitor.settled()
        await expect(page.get_by_role("button", name="Kick")).to_have_count(0)


async def test_a_session_that_has_ended_leads_to_signing_in(site: Site) -> None:
    async with site.visit(signed_in=False) as visitor:
        page = visitor.page
        await page.goto(site.api.url + "/dashboard/")
        await page.get_by_label("User name").fill(ADMIN[0])
        await page.get_by_label("Password").fill(ADMIN[1])
        await page.keyboard.press("Enter")
        await visitor.heading("Overview")
        await page.context.clear_cookies()
        await page.get_by_role("link", name="Clients", exact=True).click()
        await visitor.heading("Sign in to HookMQ")
        await expect(page.get_by_text("Your session is over")).to_be_visible()
