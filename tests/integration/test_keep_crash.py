"""The process is killed under load: persistent sessions get all that was acknowledged, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.keep_crash import run


@pytest.mark.parametrize(
    ("kills", "block"), [(2, ""), (1, "sqlite.sync_delay = 20ms")], ids=["in the loop", "in a thread"]
)
async def test_kill_under_load(tmp_path: Path, kills: int, block: str) -> None:
    acknowledged, _ = await run(tmp_path, kills, 1, block)
    assert acknowledged > 100
