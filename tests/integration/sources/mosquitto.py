"""A real mosquitto on a port of its own, which keeps its sessions over a restart."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.process import until

CONF = """
user {user}
listener {port} 127.0.0.1
allow_anonymous {anonymous}
persistence true
persistence_location {folder}/
max_queued_messages 0
max_inflight_messages 100
log_type all
{more}
"""


class Mosquitto:
    """Started and ended as often as a test wants."""

    def __init__(
        self, program: str, folder: Path, port: int, more: str = "", anonymous: str = "true"
    ) -> None:
        folder.mkdir()
        self.port = port
        self._program = program
        self._conf = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._conf.write_text(
            CONF.format(port=port, folder=folder, more=more, anonymous=anonymous, user=getpass.getuser())
        )
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if error is not None:
            error.add_note(f"--- mosquitto said ---\n{self._log.read_text()[-3000:]}")

    async def start(self) -> None:
        with self._log.open("wb") as out:
            self.process = await asyncio.create_subprocess_exec(
                self._program, "-c", str(self._conf), stdout=out, stderr=out
            )
        await until(lambda: "running" in self.log or self.process is None, "mosquitto runs")

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def stop(self) -> None:
        """SIGTERM: it writes its sessions down."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()


Start = Callable[..., Mosquitto]
