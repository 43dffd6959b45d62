"""Who may call, with a clock of the test's own: what counts as a failure, and what takes failures away."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from bridge.admin.access import Access, AccessError
from bridge.admin.api_keys import ApiKeys
from bridge.admin.problems import Problem
from bridge.admin.throttle import FREE_FAILURES
from bridge.config.settings import HttpServer, Secret
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore

SETTINGS = HttpServer(username="admin", password=Secret(value=SecretStr("s3cret:with colon é")))
HOST = "127.0.0.1:8081"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def keys() -> AsyncIterator[ApiKeys]:
    journal = Journal(MemoryStore(), asyncio.get_running_loop())
    yield ApiKeys(journal)
    journal.close()


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def status(access: Access, authorization: str | None, address: str = "192.0.2.1") -> int:
    try:
        access.who(authorization, HOST, None, address)
    except Problem as error:
        return error.status
    return 200


GOOD, BAD = basic("admin", "s3cret:with colon é"), basic("admin", "guess")


async def test_a_valid_key_takes_no_failures_away(keys: ApiKeys) -> None:
    clock = Clock()
    access = Access(SETTINGS, keys, clock)
    key = f"Bearer {keys.create('reader', ['endpoints:read'])}"
    assert [status(access, BAD) for _ in range(FREE_FAILURES + 1)] == [401] * FREE_FAILURES + [429]
    assert status(access, key) == 200  # and is not kept waiting
    assert status(access, GOOD) == 429
    assert status(access, GOOD, "192.0.2.2") == 200  # another address
    clock.now += 1
    assert status(access, BAD) == 401  # one try, and twice the wait
    clock.now += 1
    assert status(access, GOOD) == 429
    clock.now += 1
    assert status(access, GOOD) == 200  # which takes them away
    assert status(access, BAD) == 401
    assert status(access, GOOD) == 200


async def test_no_credentials_are_no_failure(keys: ApiKeys) -> None:
    access = Access(SETTINGS, keys, Clock())
    assert {status(access, None) for _ in range(50)} == {401}
    assert status(access, GOOD) == 200


async def test_open_to_others_is_refused_here_too(keys: ApiKeys) -> None:
    with pytest.raises(AccessError, match="no_auth"):
        Access(HttpServer(auth_type="no_auth", host="0.0.0.0"), keys, Clock())


async def test_without_a_password_keys_alone_are_good(keys: ApiKeys) -> None:
    access = Access(HttpServer(), keys, Clock())
    for guess in (basic("", ""), basic("None", "None"), "Basic Og=="):
        assert status(access, guess) == 401
    assert status(access, f"Bearer {keys.create('a', ['admin'])}") == 200
