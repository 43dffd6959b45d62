"""Writes docs/images/dashboard-*.png: each page of the dashboard, of a plant that runs for a minute.

    python -m scripts.screenshots [NAME ...]

Needs chromium. Everything shown is real but for the hour before: a plant that runs for a minute has none, so
its figures are continued backwards.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route, async_playwright, expect

from scripts.demo_plant import DemoPlant
from tests.integration.admin.calling import ADMIN

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SIZE = (1280, 800)
WARM_UP_S = 45.0
MAX_BYTES = 200_000

Work = Callable[[Page, DemoPlant], Awaitable[None]]


def backwards(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The hour that leads to these points."""
    chance = random.Random(7)
    first = points[0]
    at = datetime.fromisoformat(first["at"].replace("Z", "+00:00"))
    made = []
    for step in range(720 - len(points), 0, -1):
        shift = 0.85 + 0.15 * math.sin(step / 80) + chance.uniform(-0.03, 0.03)
        down = 300 < step <= 380  # a receiver was down
        waiting = 40 + 14 * (380 - step) if down else max(40, 1160 - 56 * (300 - step)) if step <= 300 else 40
        made.append(
            {
                **first,
                "at": (at - timedelta(seconds=5 * step)).astimezone(UTC).isoformat().replace("+00:00", "Z"),
                "messages_in_per_s": round(34 * shift, 1),
                "deliveries_per_s": round((26 if down else 58 if 280 < step <= 300 else 45) * shift, 1),
                "failures_per_s": round((6 if down else 1.6) * chance.uniform(0.8, 1.2), 1),
                "backlog": int(waiting * chance.uniform(0.96, 1.04)),
                "clients": (first["clients"] or 17) - (3 if step % 230 < 9 else 0),
            }
        )
    return [*made, *points]


async def _hour(route: Route) -> None:
    response = await route.fetch()
    document = await response.json()
    points = document.get("history", {}).get("points", [])
    if points:
        document["history"]["points"] = backwards(points)
    await route.fulfill(response=response, json=document)


async def _go(page: Page, plant: DemoPlant, route: str) -> None:
    await page.evaluate("hash => { location.hash = hash; }", f"#/{route.format(**plant.ids)}")
    await expect(page.locator(".page-head h1")).to_be_visible()
    await expect(page.locator(".skeleton")).to_have_count(0)
    await page.evaluate("() => document.activeElement.blur()")
    await page.wait_for_timeout(1500)


def at(route: str) -> Work:
    """Show a page."""

    async def work(page: Page, plant: DemoPlant) -> None:
        await _go(page, plant, route)

    return work


async def form(page: Page, plant: DemoPlant) -> None:
    """The form, half filled in."""
    await _go(page, plant, "endpoints/new")
    await page.get_by_label("URL", exact=True).fill("https://erp.example/webhooks/mes")
    await page.get_by_label("Description").fill("ERP: force of the presses")
    await page.get_by_role("button", name="Add an event of the broker").click()
    await page.get_by_label("Topic filter").fill("plant/+/+/force")
    await page.get_by_label("Format").select_option("cloudevents")
    await page.wait_for_timeout(1200)
    await page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")


async def test_event(page: Page, plant: DemoPlant) -> None:
    """A test event, and what came back."""
    await _go(page, plant, "endpoints/{erp}")
    await page.get_by_role("button", name="Send Test Event").click()
    await page.get_by_role("dialog").get_by_role("button", name="Send", exact=True).click()
    await expect(page.get_by_role("dialog")).to_contain_text("was taken")
    await page.wait_for_timeout(300)


async def entry(page: Page, plant: DemoPlant) -> None:
    """An entry of the log, with its attempts and times to come."""
    await _go(page, plant, "logs?endpoint={alarms}&status=failed")
    await page.locator("tbody .link-button").last.click()
    await expect(page.get_by_role("dialog")).to_contain_text("Attempt 1")
    await page.wait_for_timeout(500)


PICTURES: dict[str, Work] = {
    "overview": at("overview"),
    "endpoints": at("endpoints"),
    "endpoint": at("endpoints/{erp}"),
    "form": form,
    "test": test_event,
    "logs": at("logs"),
    "entry": entry,
    "dead": at("dead"),
    "live": at("live"),
    "events": at("events?type=quality.ncr_created"),
    "clients": at("clients"),
    "subscriptions": at("subscriptions"),
    "publishers": at("publishers"),
}


async def _picture(browser: Browser, plant: DemoPlant, name: str, work: Work | None, theme: Any) -> None:
    context = await browser.new_context(
        viewport={"width": SIZE[0], "height": SIZE[1]},
        color_scheme=theme,
        reduced_motion="reduce",
        timezone_id="America/Chicago",
        locale="en-US",
    )
    page = await context.new_page()
    await page.route("**/api/v2/overview", _hour)
    await page.goto(plant.api.url + "/dashboard/")
    await expect(page.locator("h1")).to_be_visible()
    if work is not None:
        await page.get_by_label("User name").fill(ADMIN[0])
        await page.get_by_label("Password").fill(ADMIN[1])
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
        await work(page, plant)
    path = IMAGES / f"dashboard-{name}.png"
    data = await page.screenshot(path=path)
    print(f"{path.name}: {len(data):,} bytes")
    if len(data) > MAX_BYTES:
        raise SystemExit(f"{path.name} is larger than {MAX_BYTES:,} bytes")
    await context.close()


async def main(names: list[str]) -> None:
    """Write the pictures of these names, or all."""
    chosen = {name: work for name, work in PICTURES.items() if not names or name in names}
    with tempfile.TemporaryDirectory() as folder:
        async with DemoPlant(Path(folder)) as plant, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            plant.background()
            await asyncio.sleep(WARM_UP_S)
            if not names or "signin" in names:
                await _picture(browser, plant, "signin", None, "light")
            for name, work in chosen.items():
                await _picture(browser, plant, name, work, "light")
            if not names or "dark" in names:
                await _picture(browser, plant, "overview-dark", PICTURES["overview"], "dark")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
