"""A thousand events a second, and the page that shows them stays quick."""

from __future__ import annotations

import asyncio
import time

import pytest
from playwright.async_api import expect

from bridge.mqtt.packets import Publish
from tests.browser.site import Site, Visitor
from tests.integration.mqtt_client import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

RATE = 1000
SECONDS = 4.0
MEASURE = """
() => {
    window.frames_ = {longest: 0, count: 0, last: performance.now()};
    const frame = () => {
        const now = performance.now();
        window.frames_.longest = Math.max(window.frames_.longest, now - window.frames_.last);
        window.frames_.count += 1;
        window.frames_.last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}
"""


async def storm(client: Client, until: float) -> int:
    """Publish at the rate, QoS 0, in slices of a hundredth of a second; how many."""
    sent = 0
    began = time.monotonic()
    while (now := time.monotonic()) < until:
        due = int((now - began) * RATE)
        packets = [Publish(f"storm/{n % 50}", b'{"temp": %d}' % n, 0) for n in range(sent, due)]
        client.send(*packets)
        sent = due
        await asyncio.sleep(0.01)
    return sent


@pytest.mark.parametrize("route", ["live?topic=storm%2F%23", "overview"])
async def test_the_page_stays_responsive(site: Site, visitor: Visitor, route: str) -> None:
    page = visitor.page
    await visitor.go(route, "Live tail" if route.startswith("live") else "Overview")
    await expect(page.locator(".tail-state, .live-state").last).to_have_text("Live")
    client = await site.client(site.name("storm"))
    running = asyncio.create_task(storm(client, time.monotonic() + SECONDS))
    try:
        if route.startswith("live"):
            await expect(page.locator("tbody tr")).to_have_count(500)  # its bound
        await page.evaluate(MEASURE)
        await asyncio.sleep(1.5)  # what is measured
        frames = await page.evaluate("() => window.frames_")
        began = time.monotonic()
        await page.get_by_role("link", name="Event types").click()
        await visitor.heading("Event types")
        took = time.monotonic() - began
    finally:
        sent = await running
    assert sent > RATE * SECONDS * 0.8
    assert frames["longest"] < 400, frames  # ms; 50 on a quiet machine
    assert took < 2.0  # s; 0.1 on a quiet machine
