"""What a service manager is told (sd_notify(3), `Type=notify`): ready, reloading, stopping, alive, and a line
for people. Without NOTIFY_SOCKET in the environment nothing is told and no timer runs.

WATCHDOG=1 goes out from the loop that serves clients and webhooks, at half of the time that the manager
allows (WATCHDOG_USEC): a loop that stands still is one that the manager ends and starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

MAX_STATUS = 512
"""Characters of the line for people."""


class Notifier:
    """Tells the service manager that the environment names, if it names one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        status: Callable[[], str],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`status` gives the line for people, one line, whenever the manager is told that all is well."""
        self._loop = loop
        self._status = status
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._every_s = _watchdog_s(environ) if self._address is not None else 0.0
        self._timer: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """Everything is open and served; also the end of a reload."""
        self._send("READY=1", self._status_line())
        if self._every_s and self._timer is None:
            self._alive()

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows."""
        # For Type=notify-reload, which wants to know that this is no older message.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        if self._timer is not None:
            self._timer.cancel()
        self._send("STOPPING=1", "STATUS=Stopping")

    def _alive(self) -> None:
        self._timer = self._loop.call_later(self._every_s, self._alive)
        self._send("WATCHDOG=1", self._status_line())

    def _status_line(self) -> str:
        return "STATUS=" + " ".join(self._status().split())[:MAX_STATUS] if self._address is not None else ""

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        # A manager that does not read must not hold up the loop; the next message says the same.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(self._address)
            sock.send("\n".join(lines).encode())


def _address(text: str) -> str | None:
    """The socket's address: a path, or `@name` in the abstract namespace. None: there is none."""
    if not hasattr(socket, "AF_UNIX") or text[:1] not in ("/", "@") or len(text) < 2:
        return None
    return "\0" + text[1:] if text[0] == "@" else text


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """Seconds between two signs of life (sd_watchdog_enabled(3)); 0: none is wanted."""
    allowed, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not allowed.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(allowed) / 2_000_000
