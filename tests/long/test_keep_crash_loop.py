"""Many kills under load with persistent subscribers; another seed moves them: TEST_SEED=7 make test-long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.integration.keep_crash import run

pytestmark = pytest.mark.long


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kills", "block"), [(25, ""), (10, "sqlite.sync_delay = 20ms")], ids=["in the loop", "in a thread"]
)
async def test_kills(tmp_path: Path, kills: int, block: str) -> None:
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    try:
        acknowledged, repeats = await run(tmp_path, kills, seed, block)
    except BaseException as error:
        error.add_note(f"TEST_SEED={seed}")
        raise
    print(f"\nseed {seed}: {acknowledged} messages acknowledged, {repeats} came twice at QoS 1")
