from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bridge.journal.memory import MemoryStore
from tests.contract.store_support import AnyStore, open_sqlite


@pytest_asyncio.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyStore]:
    """One of the stores, empty. Every test that takes it holds for all of them."""
    made = (
        open_sqlite(tmp_path / "hookmq.db")
        if request.param == "sqlite"
        else MemoryStore(asyncio.get_running_loop())
    )
    yield made
    made.close()
