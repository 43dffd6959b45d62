"""What the tests of the dashboard look at: a real HookMQ, and pages on it that keep count of their faults."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.async_api import Browser, ConsoleMessage, Dialog, Error, Locator, Page, Response, expect

from tests.integration.admin.calling import ADMIN, Api
from tests.integration.mqtt_client import Client
from tests.integration.process import webhook
from tests.integration.receiver import Receiver

DESKTOP = (1280, 800)
TABLET = (768, 1024)
AXE = Path(__file__).resolve().parents[1] / "acceptance" / "node_modules" / "axe-core" / "axe.min.js"
ROUTES = (
    "overview",
    "endpoints",
    "endpoints/new",
    "logs",
    "dead",
    "live",
    "events",
    "clients",
    "subscriptions",
    "publishers",
)
"""The pages that need no parameter."""
TITLES = {
    "overview": "Overview",
    "endpoints": "Endpoints",
    "endpoints/new": "Create endpoint",
    "logs": "Logs",
    "dead": "Dead letters",
    "live": "Live tail",
    "events": "Event types",
    "clients": "Clients",
    "subscriptions": "Subscriptions",
    "publishers": "MQTT publishers",
}
PATIENCE_MS = 15_000
"""How long a page may take for anything: this machine may be busy with other tests."""
expect.set_options(timeout=PATIENCE_MS)
NOT_OURS = ("the server responded with a status of",)
"""chromium reports every answer from 400 on at its console; `Visitor.failed` has those."""


class Visitor:
    """A page, and what went wrong on it: `faults` (console, scripts, policy, dialogs), `failed` answers."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.failed: list[tuple[int, str]] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._console)
        page.on("pageerror", self._error)
        page.on("dialog", self._dialog)
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(text in message.text for text in NOT_OURS):
            self.faults.append(f"{message.type}: {message.text}")

    def _error(self, error: Error) -> None:
        self.faults.append(f"{error}\n{error.stack}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.failed.append((response.status, response.url.removeprefix(self.url)))

    async def go(self, route: str, title: str | None = None) -> None:
        """Show a page by its hash, and wait for its heading."""
        address = f"{self.url}/dashboard/#/{route}"
        if self.page.url == "about:blank":
            await self.page.goto(address)
        else:
            await self.page.evaluate("hash => { location.hash = hash; }", f"#/{route}")
        await self.heading(title or TITLES[route])

    async def heading(self, title: str) -> None:
        """Wait for a page's heading."""
        await expect(self.page.locator("h1")).to_have_text(title)

    async def settled(self) -> None:
        """Wait until nothing is being loaded any more."""
        await expect(self.page.locator(".skeleton")).to_have_count(0)
        await expect(self.page.locator(".table-box[aria-busy=true]")).to_have_count(0)

    def row(self, text: str) -> Locator:
        """The rows of a table with a text."""
        return self.page.locator("tbody tr").filter(has_text=text)

    async def audit(self, *rules: str) -> list[str]:
        """What axe-core finds that is serious or critical, a line for each element; all rules, or these."""
        if not await self.page.evaluate("() => 'axe' in window"):
            # Evaluated, not added as a script: the page's own policy stays in force, and forbids that.
            await self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = await self.page.evaluate(
            "() => axe.run(document, {resultTypes: ['violations']})"
        )
        return [
            f"{one['id']} ({one['impact']}): {node['target']} {node.get('failureSummary', '')}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    async def sideways(self) -> int:
        """By how many pixels the page is wider than its window."""
        wide: int = await self.page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide


class Site:
    """A HookMQ on which every test makes what it needs."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.browser = browser
        self.receiver = Receiver(status=200)
        self.api = Api(folder)
        self._folder = folder
        self._state: Any = None
        self._numbers = itertools.count(1)
        self._clients: list[Client] = []

    async def __aenter__(self) -> Self:
        await self.receiver.start()
        self.api = Api(
            self._folder,
            webhook(self.receiver.url("/file"), "on_message_publish file/#", note='"From the file"'),
        )
        await self.api.start()
        context = await self.browser.new_context()
        signed = await context.request.post(
            self.api.url + "/api/v2/session",
            data={"username": ADMIN[0], "password": ADMIN[1]},
            headers={"X-Requested-With": "hookmq"},
        )
        assert signed.ok, await signed.text()
        self._state = await context.storage_state()
        await context.close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.abort()
        await self.api.__aexit__(kind, error, trace)
        await self.receiver.stop()

    @asynccontextmanager
    async def visit(
        self,
        *,
        signed_in: bool = True,
        size: tuple[int, int] = DESKTOP,
        theme: str = "light",
        faults: bool = True,
        **more: Any,
    ) -> AsyncIterator[Visitor]:
        """A window of its own. `faults`: there may be none in the end."""
        context = await self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,  # type: ignore[arg-type]
            storage_state=self._state if signed_in else None,
            reduced_motion="reduce",
            **more,
        )
        try:
            visitor = Visitor(await context.new_page(), self.api.url)
            yield visitor
            if faults:
                assert visitor.faults == []
        finally:
            await context.close()

    def name(self, text: str) -> str:
        """A name that no other test has."""
        return f"{text} {next(self._numbers)}"

    async def endpoint(self, description: str, events: Sequence[Any], path: str = "/", **keys: Any) -> str:
        """An endpoint at the site's receiver, made over the API; its id."""
        document = {
            "url": self.receiver.url(path),
            "description": description,
            "events": list(events),
            **keys,
        }
        made = await self.api.post("/api/v2/webhooks/endpoints", document)
        assert made.status == 201, made
        identifier: str = made.json["id"]
        return identifier

    async def client(self, name: str, **keys: Any) -> Client:
        """An MQTT 5 client, gone at the end of the session."""
        client = await Client.connect(self.api.port, name, version=5, **keys)
        self._clients.append(client)
        return client
