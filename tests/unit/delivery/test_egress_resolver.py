"""The resolver's cache: freshness, outages, one lookup for all, bounds; and how an address may be spelt."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from bridge.delivery import resolver as module
from bridge.delivery.resolver import (
    FRESH_S,
    MAX_ADDRESSES,
    MAX_NAMES,
    PATIENCE_S,
    RETRY_S,
    STALE_S,
    Address,
    Resolver,
    interleaved,
    literal,
)
from tests.unit.delivery.conftest import until

ONE = Address(socket.AF_INET, "192.0.2.1")
TWO = Address(socket.AF_INET, "192.0.2.2")
SIX = Address(socket.AF_INET6, "2001:db8::1")


class Dns:
    """A name server to be told what to answer, and the clock beside it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.answer: Sequence[Address] | Exception = (ONE,)
        self.gate = asyncio.Event()  # closed: it hangs
        self.gate.set()
        self.asked: list[str] = []
        self.most = 0
        self._now = 0

    async def lookup(self, name: str) -> Sequence[Address]:
        self.asked.append(name)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await self.gate.wait()
        finally:
            self._now -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def fail(self, code: int = socket.EAI_AGAIN) -> None:
        self.answer = socket.gaierror(code, "Temporary failure in name resolution")


@pytest.fixture
def dns() -> Dns:
    return Dns()


@pytest.fixture
async def resolver(dns: Dns) -> AsyncIterator[Resolver]:
    found = Resolver(asyncio.get_running_loop(), lookup=dns.lookup, now=lambda: dns.time)
    yield found
    found.close()


async def test_an_answer_is_kept_for_its_time(dns: Dns, resolver: Resolver) -> None:
    assert await resolver.resolve("mes.example") == (ONE,)
    dns.answer = (TWO,)
    dns.time += FRESH_S - 0.1
    assert await resolver.resolve("MES.example") == (ONE,)
    assert dns.asked == ["mes.example"]
    dns.time += 0.2
    assert await resolver.resolve("mes.example") == (TWO,)
    assert len(dns.asked) == 2


async def test_one_lookup_for_all_who_wait(dns: Dns, resolver: Resolver) -> None:
    dns.gate.clear()
    waiting = [asyncio.ensure_future(resolver.resolve("mes.example")) for _ in range(50)]
    await until(lambda: dns.asked)
    waiting[0].cancel()  # the one who had it begun
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    dns.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [(ONE,)] * 49
    assert len(dns.asked) == 1


async def test_an_outage_is_bridged_by_the_last_answer_for_a_time(dns: Dns, resolver: Resolver) -> None:
    await resolver.resolve("mes.example")
    dns.fail()
    found_at = dns.time
    while dns.time + 7 < found_at + STALE_S:
        dns.time += 7
        assert await resolver.resolve("mes.example") == (ONE,)
    assert resolver.stale > 70
    dns.time = found_at + STALE_S + 1
    with pytest.raises(socket.gaierror, match="Temporary failure"):
        await resolver.resolve("mes.example")
    dns.answer = (TWO,)
    dns.time += RETRY_S
    assert await resolver.resolve("mes.example") == (TWO,)


async def test_an_outage_in_which_nothing_answers_holds_up_one_connection_for_a_moment(
    dns: Dns, resolver: Resolver
) -> None:
    loop = asyncio.get_running_loop()
    await resolver.resolve("mes.example")
    dns.gate.clear()
    dns.time += FRESH_S + 1
    began = loop.time()
    assert await resolver.resolve("mes.example") == (ONE,)
    assert PATIENCE_S - 0.05 < loop.time() - began < PATIENCE_S + 1
    dns.time += PATIENCE_S + 1
    began = loop.time()
    for _ in range(20):
        assert await resolver.resolve("mes.example") == (ONE,)
    assert loop.time() - began < PATIENCE_S
    assert len(dns.asked) == 2  # the one that hangs is still the only one
    dns.answer = (TWO,)
    dns.gate.set()
    await until(lambda: resolver._entries["mes.example"].addresses == (TWO,))
    assert await resolver.resolve("mes.example") == (TWO,)


async def test_an_answer_that_is_too_old_is_not_used_while_nothing_answers(
    dns: Dns, resolver: Resolver
) -> None:
    await resolver.resolve("mes.example")
    dns.gate.clear()
    dns.time += STALE_S + 1
    waiting = asyncio.ensure_future(resolver.resolve("mes.example"))
    assert not (await asyncio.wait([waiting], timeout=PATIENCE_S + 0.1))[0]
    dns.fail()
    dns.gate.set()
    for _ in range(2):  # the second one within the time in which nothing is asked
        with pytest.raises(socket.gaierror):
            await (waiting if not waiting.done() else resolver.resolve("mes.example"))


async def test_a_late_answer_within_the_patience_is_used(dns: Dns, resolver: Resolver) -> None:
    await resolver.resolve("mes.example")
    dns.answer = (TWO,)
    dns.gate.clear()
    dns.time += FRESH_S + 1
    asyncio.get_running_loop().call_later(0.05, dns.gate.set)
    assert await resolver.resolve("mes.example") == (TWO,)
    assert resolver.stale == 0


@pytest.mark.skipif(not module._NO_SUCH_NAME, reason="this system tells no failure from no such name")
async def test_no_such_name_is_an_answer_and_ends_what_was_kept(dns: Dns, resolver: Resolver) -> None:
    await resolver.resolve("mes.example")
    dns.fail(socket.EAI_NONAME)
    dns.time += FRESH_S + 1
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("mes.example")
    assert len(dns.asked) == 2  # the failure is told again without asking
    dns.time += RETRY_S
    with pytest.raises(socket.gaierror):
        await resolver.resolve("mes.example")
    assert len(dns.asked) == 3


async def test_a_name_without_addresses_is_a_failure(dns: Dns, resolver: Resolver) -> None:
    dns.answer = ()
    with pytest.raises(socket.gaierror, match="no address"):
        await resolver.resolve("mes.example")


async def test_the_same_failure_raised_often_holds_no_growing_traceback(dns: Dns, resolver: Resolver) -> None:
    dns.fail()
    depths = []
    for _ in range(5):
        try:
            await resolver.resolve("mes.example")
        except socket.gaierror as error:
            trace = error.__traceback__
            depth = 0
            while trace is not None:
                depth += 1
                trace = trace.tb_next
            depths.append(depth)
    assert depths[1:] == [depths[1]] * 4


async def test_what_is_kept_is_bounded(dns: Dns, resolver: Resolver) -> None:
    dns.answer = tuple(Address(socket.AF_INET, f"10.0.0.{n}") for n in range(200))
    await resolver.resolve("first.example")
    for n in range(MAX_NAMES + 50):
        found = await resolver.resolve(f"n{n}.example")
        await resolver.resolve("first.example")  # in use: it stays
    assert len(found) == MAX_ADDRESSES
    assert len(resolver._entries) == MAX_NAMES
    assert dns.asked.count("first.example") == 1


async def test_a_name_pushed_out_while_it_is_looked_up_is_asked_again(
    dns: Dns, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 1)
    dns.gate.clear()
    waiting = [
        asyncio.ensure_future(resolver.resolve(name)) for name in ("a.example", "b.example", "a.example")
    ]
    await until(lambda: len(dns.asked) == 3)
    dns.gate.set()
    assert await asyncio.gather(*waiting) == [(ONE,)] * 3


async def test_lookups_at_once_are_bounded(
    dns: Dns, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns.gate.clear()
    waiting = [asyncio.ensure_future(resolver.resolve(f"n{n}.example")) for n in range(40)]
    await until(lambda: len(dns.asked) == module.MAX_LOOKUPS)
    dns.gate.set()
    await asyncio.gather(*waiting)
    assert dns.most == module.MAX_LOOKUPS


# -- the real lookup ---------------------------------------------------------------------------------------


async def test_a_real_name() -> None:
    resolver = Resolver(asyncio.get_running_loop())
    found = await resolver.resolve("localhost")
    assert {address.host for address in found} <= {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror):
        await resolver.resolve("does-not-exist.invalid")
    with pytest.raises(UnicodeError):
        await resolver.resolve("x" * 64 + ".example")


async def test_lookups_that_hang_hold_up_no_other_name_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """getaddrinfo cannot be interrupted: libuv runs two at once, the loop's executor is joined at exit."""
    release = threading.Event()
    real = module._getaddrinfo

    def slow(host: str, flags: int = 0) -> list[Address]:
        if not flags and host.startswith("slow"):
            release.wait(20)
            return []
        return real(host, flags)

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "hookmq-dns"]

    await until(lambda: not threads())  # those of other tests
    monkeypatch.setattr(module, "_getaddrinfo", slow)
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    resolver = Resolver(loop)
    hanging = [asyncio.ensure_future(resolver.resolve(f"slow{n}.invalid")) for n in range(6)]
    try:
        async with asyncio.timeout(5):
            assert await resolver.resolve("localhost")
            await until(lambda: len(threads()) == 6)
            assert all(thread.daemon for thread in threads())
            resolver.close()
            await asyncio.wait(hanging)
            assert all(task.cancelled() for task in hanging)
            release.set()
            await until(lambda: not threads())
            await asyncio.sleep(0)  # what they told the loop
    finally:
        release.set()
    assert failures == []


def test_an_answer_after_the_loop_has_gone_disturbs_nobody() -> None:
    release = threading.Event()
    failures: list[object] = []
    real, hook = module._getaddrinfo, threading.excepthook

    def slow(host: str, flags: int = 0) -> list[Address]:
        if not flags:
            release.wait(20)
        return real(host, flags)

    async def begin() -> None:
        resolver = Resolver(asyncio.get_running_loop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await resolver.resolve("localhost")

    module._getaddrinfo, threading.excepthook = slow, failures.append
    try:
        asyncio.run(begin())
        threads = [thread for thread in threading.enumerate() if thread.name == "hookmq-dns"]
        release.set()
        for thread in threads:
            thread.join(5)
    finally:
        module._getaddrinfo, threading.excepthook = real, hook
    assert threads
    assert failures == []


# -- spellings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("0xA9FEA9FE", "169.254.169.254"),
        ("0", "0.0.0.0"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("１２７.0.0.1", "127.0.0.1"),
    ],
)
def test_an_address_in_any_spelling_that_the_system_takes(host: str, address: str) -> None:
    found = literal(host)
    assert found is not None
    assert found.host == address


@pytest.mark.parametrize(
    "host", ["localhost", "example.com", "", "1.2.3.4.5", "256.1.1.1", "x" * 70, "1.2.3."]
)
def test_a_name_is_no_address(host: str) -> None:
    assert literal(host) is None


def test_a_zone_is_part_of_the_address() -> None:
    name = socket.if_indextoname(1)
    for host in (f"fe80::1%{name}", f"fe80::1%25{name}"):  # RFC 6874
        found = literal(host)
        assert found is not None
        assert found.host.startswith("fe80::1%")


def test_the_families_alternate() -> None:
    more = Address(socket.AF_INET6, "2001:db8::2")
    assert interleaved((SIX, more, ONE, TWO, SIX)) == (SIX, ONE, more, TWO)
    assert interleaved((ONE, TWO)) == (ONE, TWO)
    assert interleaved((ONE, SIX, TWO)) == (ONE, SIX, TWO)
