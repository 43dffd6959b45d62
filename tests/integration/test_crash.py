"""The process is killed under load: nothing acknowledged is lost, and little comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.crash import Crashes
from tests.integration.load import Sink


@pytest.mark.parametrize(
    ("kills", "block"), [(2, ""), (1, "sqlite.sync_delay = 20ms")], ids=["in the loop", "in a thread"]
)
async def test_kill_under_load(tmp_path: Path, kills: int, block: str) -> None:
    async with Sink() as sink:
        await Crashes(tmp_path, sink, 1, block).run(kills)
