"""What devices send is shown as text on every page that shows it, and never runs."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPT = "<script>window.hacked=1;alert('s')</script>"
IMAGE = "<img src=x onerror=\"window.hacked=1;alert('i')\">"
MARKER = "hostile-7f3a"
CLIENT = f"{MARKER}{SCRIPT}{IMAGE}"
USER = f"{MARKER}-user{IMAGE}"
TOPIC = f"hostile/{SCRIPT.replace('/', '|')}{IMAGE}"
PAYLOAD = f'{{"{SCRIPT}": "{MARKER}", "x": 1}}</pre>{SCRIPT}{IMAGE}'


async def test_scripts_of_devices_are_text_on_every_page(site: Site) -> None:
    description = f"{MARKER} {SCRIPT}{IMAGE}"
    rule = {"event": "on_message_publish", "topic": "hostile/#"}
    identifier = await site.endpoint(description, [rule], "/hostile", headers={"X-Evil": IMAGE})
    await site.endpoint(
        f"{description} dead", [rule], "/hostile-dead", success=[299], retry={"schedule": [0]}
    )
    async with site.visit() as tail, site.visit() as visitor:
        await tail.page.goto(f"{site.api.url}/dashboard/#/live?topic=hostile%2F%23")
        await expect(tail.page.locator(".tail-state")).to_have_text("Live")
        client = await site.client(CLIENT, username=USER)
        await client.subscribe(TOPIC, 1)
        await client.publish(TOPIC, PAYLOAD.encode(), qos=1)
        await site.receiver.wait_for(
            lambda requests: {"/hostile", "/hostile-dead"} <= {one.target for one in requests}
        )

        # Live tail: the row and what opens.
        row = tail.page.locator("tbody tr").first
        await expect(row).to_contain_text(SCRIPT.replace("/", "|"))
        await expect(row.locator(".tail-client")).to_have_text(CLIENT)
        await tail.page.locator("tbody .link-button").first.click()
        await expect(tail.page.get_by_role("dialog").get_by_role("region", name="Payload")).to_contain_text(
            SCRIPT
        )

        page = visitor.page
        await visitor.go("overview")
        await visitor.settled()
        await visitor.go("endpoints")
        await page.get_by_label("Search").fill(MARKER)
        await expect(visitor.row(SCRIPT).first).to_be_visible()
        await visitor.go(f"endpoints/{identifier}", description)
        await expect(visitor.row(CLIENT).first).to_be_visible()
        await page.get_by_role("tab", name="Settings").click()
        await expect(page.get_by_role("tabpanel")).to_contain_text(IMAGE[:16])
        await visitor.go(f"endpoints/{identifier}/edit", f"Edit {description}")
        await expect(page.get_by_label("Description")).to_have_value(description)

        await visitor.go("logs")
        await page.get_by_label("Client").fill(CLIENT)
        await expect(visitor.row(CLIENT).first).to_be_visible()
        await visitor.row(CLIENT).first.locator(".link-button").click()
        sheet = page.get_by_role("dialog")
        await expect(sheet.get_by_role("region", name="Payload")).to_contain_text("<script>")
        await expect(sheet).to_contain_text(CLIENT)
        await page.keyboard.press("Escape")

        await visitor.go("clients")
        await page.get_by_label("Client id").fill(MARKER)
        await expect(visitor.row(CLIENT)).to_contain_text(USER)
        await visitor.row(CLIENT).locator(".link-button").click()
        await expect(page.get_by_role("dialog")).to_contain_text(TOPIC)
        await page.keyboard.press("Escape")
        await visitor.row(CLIENT).get_by_role("button", name="Kick").click()
        await expect(page.get_by_role("dialog")).to_contain_text(CLIENT)
        await page.keyboard.press("Escape")

        await visitor.go("subscriptions")
        await page.get_by_label("Client").fill(CLIENT)
        await expect(visitor.row(TOPIC)).to_be_visible()

        await visitor.go("dead")
        await expect(page.locator("tbody tr").first).to_be_visible()
        await page.locator("tbody tr").first.get_by_role("link").first.click()
        await expect(page.locator("tbody tr").first).to_be_visible()

        for one in (tail, visitor):
            assert await one.page.evaluate("() => window.hacked") is None
            assert (
                await one.page.locator("main script, main img[onerror], dialog script, dialog img").count()
                == 0
            )
