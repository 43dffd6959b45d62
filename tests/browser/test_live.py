"""What moves by itself: the overview, the live tail, clients that come and go."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.site import Site, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_overview_moves_and_says_what_is_wrong(site: Site, visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("overview")
    await expect(page.locator(".live-state")).to_have_text("Live")
    clients = page.locator('[data-tile="clients"] .tile-value')
    before = int((await clients.inner_text()).replace(",", ""))
    await site.client(site.name("one more"))
    await expect(clients).to_have_text(f"{before + 1:,}")

    identifier = await site.endpoint(site.name("Switched off"), ["work_order.*"])
    await site.api.post(f"/api/v2/webhooks/endpoints/{identifier}/disable")
    problem = page.locator(".problem").filter(has_text="Switched off")
    await expect(problem).to_be_visible(timeout=10000)
    await problem.get_by_role("link").click()
    await visitor.heading(
        (await site.api.get(f"/api/v2/webhooks/endpoints/{identifier}")).json["description"]
    )


async def test_a_plot_has_words_and_a_table(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("overview")
    plot = page.get_by_role("region", name="Clients", exact=True)
    drawing = plot.get_by_role("img")
    assert "now" in (await drawing.locator("desc").text_content() or "")
    table = plot.get_by_role("button", name="Table of Clients")
    await table.click()
    await expect(table).to_have_attribute("aria-expanded", "true")
    await expect(plot.locator("tbody tr").first).to_be_visible()


async def test_pausing_the_live_tail_keeps_its_place(site: Site, visitor: Visitor) -> None:
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/live?topic=tail%2F%23")
    await expect(page.locator(".tail-state")).to_have_text("Live")
    client = await site.client(site.name("tailer"))
    await client.publish("tail/1", b"first", qos=1)
    await client.publish("other/1", b"not this", qos=1)
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("first")

    await page.get_by_role("button", name="Pause").click()
    for number in range(3):
        await client.publish("tail/2", f"while paused {number}".encode(), qos=1)
    await expect(page.get_by_text("3 events since")).to_be_visible()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("tbody tr")).to_have_count(4)
    texts = await page.locator("tbody tr .tail-payload").all_inner_texts()
    assert texts == ["while paused 2", "while paused 1", "while paused 0", "first"]

    await page.locator("tbody .link-button").first.click()
    await expect(page.get_by_role("dialog")).to_contain_text("while paused 2")
    await page.keyboard.press("Escape")
    await page.get_by_label("Topic").fill("tail/#/x")
    await expect(page.locator(".field-error").first).to_contain_text("# stands at the end only")


async def test_a_client_is_found_and_kicked(site: Site, visitor: Visitor) -> None:
    name = site.name("kick-me")
    client = await site.client(name, username="line9")
    await client.subscribe("kick/+/x", 1)
    page = visitor.page
    await visitor.go("clients")
    await page.get_by_label("Client id").fill("kick-me")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.locator("tbody .link-button").first.click()
    sheet = page.get_by_role("dialog")
    await expect(sheet).to_contain_text("kick/+/x")
    await expect(sheet).to_contain_text("line9")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name=f"Kick {name}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Kick").click()
    await client.expect_disconnect(0x98)
    await expect(page.locator("tbody tr")).to_have_count(0)


async def test_subscriptions_by_the_topic_that_they_get(site: Site, visitor: Visitor) -> None:
    client = await site.client(site.name("subscriber"))
    await client.subscribe("subs/+/force", 2)
    page = visitor.page
    await visitor.go("subscriptions")
    await page.get_by_label("Gets messages of").fill("subs/press/force")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("subs/+/force")


async def test_event_types_have_a_schema_and_an_example(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("events")
    await page.get_by_label("Search the types").fill("ncr_created")
    await page.get_by_role("button", name="quality.ncr_created").click()
    await expect(page.get_by_role("heading", name="quality.ncr_created")).to_be_visible()
    await expect(page.get_by_role("region", name="Example of its data")).to_contain_text('"ncr"')
    await expect(page.get_by_role("region", name="Schema")).to_contain_text('"properties"')


async def test_a_server_that_goes_away_is_told(site: Site) -> None:
    async with site.visit(faults=False) as visitor:
        page = visitor.page
        await visitor.go("clients")
        await visitor.settled()
        await page.context.set_offline(True)
        await page.get_by_role("link", name="Subscriptions").click()
        await expect(page.get_by_role("alert")).to_contain_text("HookMQ cannot be reached")
        await page.context.set_offline(False)
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("alert")).to_have_count(0)
