"""Certificates of ours that will run out: listeners', the HTTP server's, and those that requests show.

Looked at when somebody looks at the overview, at most once in `EVERY_S`, in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from bridge.config.settings import Endpoint, Settings

EVERY_S = 600.0
SOON_S = 21 * 86400.0
"""From then on it is told: two renewals of a certificate of 90 days have been missed."""
MAX_FILES = 500
MAX_BYTES = 1 << 20


class Ending(NamedTuple):
    """A certificate that runs out soon, or has; `at` is Unix ms."""

    key: str  # where the configuration names it
    at: int


class Expiry:
    """What was found last."""

    def __init__(self) -> None:
        self.found: list[Ending] = []
        self._looked = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def look(self, settings: Settings, endpoints: Iterable[Endpoint]) -> None:
        """Look again, if it is time: `found` changes a moment later."""
        now = time.monotonic()
        if now - self._looked < EVERY_S or self._task is not None:
            return
        self._looked = now
        self._task = asyncio.get_running_loop().create_task(self._look(_files(settings, endpoints)))

    async def _look(self, files: Mapping[Path, str]) -> None:
        try:
            self.found = await asyncio.to_thread(_ending, files) if files else []
        finally:
            self._task = None

    def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()


def _files(settings: Settings, endpoints: Iterable[Endpoint]) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for listener in settings.listeners:
        if listener.tls and listener.certfile is not None:
            found.setdefault(listener.certfile, f"{listener.key}.certfile")
    server = settings.http_server
    if server is not None and server.certfile is not None:
        found.setdefault(server.certfile, "http_server.certfile")
    for endpoint in endpoints:
        if len(found) >= MAX_FILES:
            break
        tls = endpoint.tls
        if tls is not None and tls.enable and tls.certfile is not None:
            found.setdefault(tls.certfile, f"{endpoint.title}: ssl.certfile")
    return found


def _ending(files: Mapping[Path, str]) -> list[Ending]:
    """Those that run out soon, the first one first. What cannot be read has been told elsewhere."""
    from cryptography import x509  # noqa: PLC0415  takes a while

    until = (time.time() + SOON_S) * 1000
    found: list[Ending] = []
    for path, key in files.items():
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES)
            ends = min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(data))
        except (OSError, ValueError):
            continue
        at = int(ends.timestamp() * 1000)
        if at <= until:
            found.append(Ending(key, at))
    return sorted(found, key=lambda one: one.at)
