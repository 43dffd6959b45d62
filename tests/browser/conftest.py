"""One chromium and one HookMQ for all tests of the dashboard; a page of its own for each.

Everything runs in one loop of the session. Tests make endpoints and receivers of their own, so that they do
not see each other's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.browser.site")
pytest.importorskip("playwright.async_api", reason="playwright is not installed here")

from playwright.async_api import Browser, async_playwright  # noqa: E402

from tests.browser.site import Site, Visitor  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
FOUND = CHROMIUM.exists()
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's chromium, without a window."""
    if not FOUND:
        pytest.skip("chromium is not installed here")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A HookMQ with its API, and somebody who is signed in."""
    async with Site(tmp_path_factory.mktemp("hookmq"), browser) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(site: Site) -> AsyncIterator[Visitor]:
    """A page of somebody who is signed in. No fault may have been on it in the end."""
    async with site.visit() as visitor:
        yield visitor
