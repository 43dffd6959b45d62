"""Every page: it shows itself, by its link and by its address, in both themes, on a tablet, for everybody."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.site import AXE, ROUTES, TABLET, TITLES, Site, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINKS = ("endpoints", "logs", "dead", "live", "events", "clients", "subscriptions", "publishers", "overview")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def endpoint(site: Site) -> str:
    """An endpoint with a delivery, a dead letter; and a client with a subscription, for pages with rows."""
    site.receiver.scripts.clear()
    identifier = await site.endpoint(
        "Rows for every page", [{"event": "on_message_publish", "topic": "rows/#"}]
    )
    refused = await site.endpoint(
        "Dead letters for every page",
        [{"event": "on_message_publish", "topic": "rows/#"}],
        success=[299],
        retry={"schedule": [0]},
    )
    client = await site.client("rows-client", username="rows")
    await client.subscribe("rows/+/x", 1)
    await client.publish("rows/a/b", b'{"temp": 21.5}', qos=1)
    await site.receiver.wait_for(lambda requests: sum(b"rows/a/b" in r.body for r in requests) >= 2)
    for _ in range(200):
        stats = await site.api.get(f"/api/v2/webhooks/endpoints/{refused}/stats")
        if stats.json["dead"]:
            break
        await asyncio.sleep(0.02)
    return identifier


async def test_a_run_through_every_page(site: Site, endpoint: str) -> None:
    async with site.visit() as visitor:
        page = visitor.page
        await visitor.go("overview")
        nav = page.get_by_role("navigation", name="Pages")
        for route in LINKS:
            link = nav.locator(f'a[href="#/{route}"]')
            await link.click()
            await visitor.heading(TITLES[route])
            await expect(link).to_have_attribute("aria-current", "page")
            await expect(page).to_have_title(f"{TITLES[route]} · HookMQ")
            await expect(page.locator("h1")).to_be_focused()
            await visitor.settled()
            await expect(page.locator(".notice-bad")).to_have_count(0)
        await visitor.go(f"endpoints/{endpoint}", "Rows for every page")
        await visitor.settled()
        await expect(visitor.row("on_message_publish")).to_have_count(1)
        await page.get_by_role("tab", name="Settings").click()
        await expect(page.get_by_role("tabpanel")).to_contain_text("rows/#")
        await visitor.go(f"endpoints/{endpoint}/edit", "Edit Rows for every page")
        await expect(page.get_by_label("URL", exact=True)).to_have_value(site.receiver.url("/"))
        await page.evaluate("() => { location.hash = '#/nothing-there'; }")
        await expect(page.get_by_text("There is no such page")).to_be_visible()
        await page.go_back()
        await visitor.heading("Edit Rows for every page")
        assert [one for one in visitor.failed if one[1] != "/api/v2/mqtt/publishers?limit=1"] == []


async def test_it_is_there_within_a_second(site: Site) -> None:
    async with site.visit() as visitor:
        began = time.monotonic()
        await visitor.page.goto(site.api.url + "/dashboard/")
        await expect(visitor.page.locator(".tile").first).to_be_visible()
        assert time.monotonic() - began < 5  # 0.3 s on a quiet machine


async def test_the_policy_lets_nothing_foreign_in(site: Site) -> None:
    """The page's own policy is in force: neither inline scripts nor inline styles run."""
    async with site.visit(faults=False) as visitor:
        page = visitor.page
        await visitor.go("overview")
        await page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.inline = true";
                document.body.append(script);
                const image = document.createElement("img");
                image.setAttribute("onerror", "window.handler = true");
                image.src = "data:image/png;base64,AAAA";
                document.body.append(image);
            }"""
        )
        assert await page.evaluate("() => window.inline === undefined && window.handler === undefined")
        assert any("Content Security Policy" in fault for fault in visitor.faults)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious(site: Site, endpoint: str, theme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed here (`make peers`)")
    found: dict[str, list[str]] = {}
    rules = () if theme == "light" else ("color-contrast",)  # all else is the same in both
    async with site.visit(theme=theme, signed_in=False) as visitor:
        await visitor.page.goto(site.api.url + "/dashboard/")
        await visitor.heading("Sign in to HookMQ")
        found["sign-in"] = await visitor.audit(*rules)
    async with site.visit(theme=theme) as visitor:
        for route in ROUTES:
            await visitor.go(route)
            await visitor.settled()
            found[route] = await visitor.audit(*rules)
        await visitor.go(f"endpoints/{endpoint}", "Rows for every page")
        await visitor.settled()
        found["endpoint"] = await visitor.audit(*rules)
        await visitor.go(f"endpoints/{endpoint}/edit", "Edit Rows for every page")
        await visitor.page.evaluate(
            "() => document.querySelectorAll('details').forEach(d => { d.open = true; })"
        )
        found["edit"] = await visitor.audit(*rules)
        await visitor.go("logs")
        await visitor.settled()
        await visitor.page.locator("tbody .link-button").first.click()
        await expect(visitor.page.get_by_role("dialog")).to_contain_text("Attempt 1")
        found["entry"] = await visitor.audit(*rules)
    assert {route: faults for route, faults in found.items() if faults} == {}


async def test_on_a_tablet_nothing_is_wider_than_the_page(site: Site, endpoint: str) -> None:
    async with site.visit(size=TABLET) as visitor:
        page = visitor.page
        await visitor.go("overview")
        await page.get_by_role("button", name="Menu").click()
        await expect(page.get_by_role("link", name="Logs")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("link", name="Logs")).to_be_hidden()
        wide = {}
        for route in ROUTES:
            await visitor.go(route)
            await visitor.settled()
            wide[route] = await visitor.sideways()
        await visitor.go(f"endpoints/{endpoint}", "Rows for every page")
        await visitor.settled()
        wide["endpoint"] = await visitor.sideways()
        assert {route: pixels for route, pixels in wide.items() if pixels > 0} == {}


async def test_skipping_to_the_content_by_keyboard(visitor: Visitor) -> None:
    await visitor.go("endpoints")
    page = visitor.page
    await page.evaluate("() => document.activeElement.blur()")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()


async def test_a_theme_that_is_chosen_stays(visitor: Visitor) -> None:
    await visitor.go("overview")
    page = visitor.page
    await page.get_by_label("Theme").select_option("dark")
    await page.reload()
    await visitor.heading("Overview")
    assert await page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    dark = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    await page.get_by_label("Theme").select_option("light")
    assert await page.evaluate("() => getComputedStyle(document.body).backgroundColor") != dark


async def test_a_thousand_endpoints_are_paged_and_searched_by_the_server(visitor: Visitor) -> None:
    """The page asks for 50 rows and no more, however many there are."""
    asked: list[str] = []

    async def answer(route: object) -> None:
        url = route.request.url  # type: ignore[attr-defined]
        asked.append(url)
        row = {
            "source": "api",
            "url": "http://x/",
            "description": "",
            "active": True,
            "events": [],
            "state": "on",
            "reason": "",
        }
        data = [{**row, "id": f"ep_{number}"} for number in range(50)]
        body = json.dumps({"data": data, "next": "more", "total": 1000})
        await route.fulfill(body=body, content_type="application/json")  # type: ignore[attr-defined]

    page = visitor.page
    await page.route("**/api/v2/webhooks/endpoints?*", answer)
    await visitor.go("endpoints")
    await visitor.settled()
    await expect(page.locator("tbody tr")).to_have_count(50)
    await expect(page.get_by_text("1–50 of 1,000 endpoints")).to_be_visible()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("51–100 of 1,000 endpoints")).to_be_visible()
    await page.get_by_label("Search").fill("press")
    await expect(page.get_by_text("1–50 of 1,000 endpoints")).to_be_visible()
    assert "q=press" in asked[-1]
    assert "q=press" in page.url
    assert all("limit=50" in url for url in asked)
