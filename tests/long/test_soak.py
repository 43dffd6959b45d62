"""Ten endpoints, each with a fault, while HookMQ is killed: SOAK_SECONDS=600 TEST_SEED=7 make test-long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.receiver.certificates import make_certificates
from tests.long.soak import DRAIN_S, Soak

SECONDS = float(os.environ.get("SOAK_SECONDS", "75"))
KILLS = 10

pytestmark = pytest.mark.long


@pytest.mark.timeout(SECONDS + 3 * DRAIN_S)
async def test_soak(tmp_path: Path, command: Callable[[str], str]) -> None:
    command("openssl")
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    soak = Soak(tmp_path / "mq", make_certificates(tmp_path / "certificates"), seed)
    try:
        figures = await soak.run(SECONDS, KILLS)
    except BaseException as error:
        error.add_note(f"TEST_SEED={seed}")
        raise
    print(f"\nseed {seed}, ten endpoints\n{figures}")
