"""Twenty kills and more, at moments that another seed moves: TEST_SEED=7 make test-long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.integration.crash import Crashes
from tests.integration.load import Sink

pytestmark = pytest.mark.long


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kills", "block"),
    [(25, ""), (10, "sqlite.sync_delay = 20ms")],
    ids=["in the loop", "in a thread"],
)
async def test_kills(tmp_path: Path, kills: int, block: str) -> None:
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    async with Sink() as sink:
        crashes = Crashes(tmp_path, sink, seed, block)
        try:
            figures = await crashes.run(kills)
        except BaseException as error:
            error.add_note(f"TEST_SEED={seed}")
            raise
    print(f"\nseed {seed}: {figures}")
