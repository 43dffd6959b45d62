"""Failed logins: waits that double, a table that is bounded, networks of IPv6."""

from __future__ import annotations

from bridge.admin.throttle import (
    FORGET_S,
    FREE_FAILURES,
    MAX_ADDRESSES,
    MAX_WAIT_S,
    Throttle,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(throttle: Throttle, address: str, times: int) -> None:
    for _ in range(times):
        throttle.failed(address)


def test_the_wait_doubles_up_to_a_bound() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    fail(throttle, "192.0.2.1", FREE_FAILURES - 1)
    assert throttle.wait("192.0.2.1") == 0
    waits = []
    for _ in range(9):
        throttle.failed("192.0.2.1")
        waits.append(throttle.wait("192.0.2.1"))
    assert waits == [1, 2, 4, 8, 16, 32, MAX_WAIT_S, MAX_WAIT_S, MAX_WAIT_S]
    clock.now += MAX_WAIT_S - 1
    assert throttle.wait("192.0.2.1") == 1
    clock.now += 1
    assert throttle.wait("192.0.2.1") == 0
    assert throttle.wait("192.0.2.2") == 0


def test_it_is_forgotten_by_success_and_by_time() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    fail(throttle, "192.0.2.1", 20)
    throttle.passed("192.0.2.1")
    assert throttle.wait("192.0.2.1") == 0
    fail(throttle, "192.0.2.1", 20)
    clock.now += FORGET_S + 1
    throttle.failed("192.0.2.1")
    assert throttle.wait("192.0.2.1") == 0


def test_the_table_is_bounded() -> None:
    throttle = Throttle(Clock())
    fail(throttle, "first", 20)
    for number in range(MAX_ADDRESSES):
        throttle.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle._failed) == MAX_ADDRESSES
    assert throttle.wait("first") == 0


def test_ipv6_counts_by_network() -> None:
    throttle = Throttle(Clock())
    for host in range(20):
        throttle.failed(f"2001:db8::{host:x}")
    assert throttle.wait("2001:db8::ffff") > 0
    assert throttle.wait("2001:db8:0:1::1") == 0
    fail(throttle, "::ffff:192.0.2.1", 20)
    assert throttle.wait("192.0.2.1") > 0
    assert throttle.wait("fe80::1%eth0") == 0
