"""One timer looks after the time limits of all endpoints."""

from __future__ import annotations

import asyncio

from bridge.config.settings import Endpoint
from bridge.delivery.connect import Network
from bridge.delivery.pool import Pool
from bridge.delivery.sweep import Sweeper, Sweepers
from bridge.delivery.target import Target
from tests.integration import receiver as scripts
from tests.integration.receiver import Receiver
from tests.unit.delivery.conftest import until


class Swept:
    """Stays for so many sweeps; fails in every one if told to."""

    def __init__(self, stays: int, *, fails: bool = False) -> None:
        self.left = stays
        self.sweeps = 0
        self.fails = fails

    def sweep(self, now: float) -> bool:
        self.sweeps += 1
        if self.fails:
            raise ValueError("a fault")
        self.left -= 1
        return self.left > 0


async def test_who_has_joined_is_swept_until_it_leaves() -> None:
    sweeper = Sweeper(asyncio.get_running_loop(), 0.001)
    short, long = Swept(2), Swept(5)
    sweeper.join(short)
    sweeper.join(long)
    sweeper.join(long)
    await until(lambda: sweeper._timer is None)
    assert (short.sweeps, long.sweeps) == (2, 5)
    again = Swept(1)
    sweeper.join(again)
    await until(lambda: again.sweeps == 1)
    assert sweeper._timer is None


async def test_a_fault_of_one_is_not_the_others() -> None:
    sweeper = Sweeper(asyncio.get_running_loop(), 0.001)
    broken, sound = Swept(1, fails=True), Swept(3)
    sweeper.join(broken)
    sweeper.join(sound)
    await until(lambda: sound.sweeps == 3)
    assert sweeper._timer is not None
    sweeper.leave(broken)
    assert sweeper._timer is None


async def test_one_sweeper_for_each_interval() -> None:
    sweepers = Sweepers(asyncio.get_running_loop())
    assert sweepers.every(0.1) is sweepers.every(0.1)
    assert sweepers.every(0.1) is not sweepers.every(0.05)


async def test_pools_share_a_timer_while_requests_are_out(receiver: Receiver) -> None:
    loop = asyncio.get_running_loop()
    network = Network(loop)
    receiver.script = scripts.hang
    pools = []
    failed: list[str] = []
    for name in ("a", "b"):
        target = Target(Endpoint(url=receiver.url(), name=name), "ab" * 6)
        pool = Pool(target, 2, 0.1, loop, connector=network.connector(target, name=name))
        pool.on_failure = lambda connection, outcome: failed.append(str(outcome.error))
        pools.append(pool)
        connection = pool.free()
        assert connection is not None
        connection.send(1, 1, b"{}")
    sweeper = network.sweepers.every(0.005)
    assert set(sweeper._joined) == set(pools)
    await until(lambda: failed == ["timeout", "timeout"])
    await until(lambda: sweeper._timer is None)
    assert [pool.slow for pool in pools] == [True, True]
    for pool in pools:
        pool.close()


async def test_a_calm_pool_keeps_only_a_timer_for_what_is_idle(receiver: Receiver) -> None:
    loop = asyncio.get_running_loop()
    target = Target(Endpoint(url=receiver.url()), "ab" * 6)
    pool = Pool(target, 1, 0.1, loop)
    pool.on_success = pool.release
    connection = pool.free()
    assert connection is not None
    connection.send(1, 1, b"{}")
    await until(lambda: bool(pool.idle))
    assert not pool.slow
    assert pool._timer is None
    await until(lambda: pool.slow)
    assert pool._timer is not None
    assert not pool._sweeper._joined
    assert pool.free() is connection
    connection.send(2, 1, b"{}")
    assert pool._timer is None
    assert set(pool._sweeper._joined) == {pool}
    pool.close()
    assert not pool._sweeper._joined
