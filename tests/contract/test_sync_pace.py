"""Where syncs run: in the loop's thread while the disk is fast, in the helper thread while it is slow."""

from __future__ import annotations

from itertools import pairwise

from bridge.journal.syncer import Pace

FAST, MIDDLE, SLOW, VERY_SLOW = 0.0002, 0.0007, 0.003, 0.02


def feed(pace: Pace, seconds: float, count: int, now: float) -> float:
    for _ in range(count):
        now += seconds
        pace.record(seconds, now)
    return now


def test_a_slow_disk_is_known_after_few_syncs() -> None:
    for seconds, least in ((VERY_SLOW, 3), (SLOW, 8)):
        pace = Pace()
        now = feed(pace, seconds, least - 1, 100.0)
        assert not pace.threaded
        feed(pace, seconds, 1, now)
        assert pace.threaded


def test_a_few_slow_syncs_among_fast_ones_change_nothing() -> None:
    pace = Pace()
    now = feed(pace, FAST, 16, 100.0)
    for _ in range(50):
        now = feed(pace, SLOW, 7, now)
        now = feed(pace, FAST, 9, now)
    assert not pace.threaded
    feed(pace, SLOW, 9, now)
    assert pace.threaded


def test_it_comes_back_when_the_disk_is_fast_for_a_while() -> None:
    pace = Pace()
    now = feed(pace, VERY_SLOW, 3, 100.0)
    now = feed(pace, MIDDLE, 5000, now)
    assert pace.threaded
    # The wait for the interpreter's lock lengthens most of what the thread measures.
    rounds = 0
    while pace.threaded and rounds < 64:
        now = feed(pace, SLOW, 2, now)
        now = feed(pace, FAST, 1, now)
        rounds += 1
    assert not pace.threaded


def test_each_return_that_erred_makes_the_next_stay_longer() -> None:
    pace = Pace()
    now, stays = 100.0, []
    for _ in range(9):
        now = feed(pace, VERY_SLOW, 3, now)
        assert pace.threaded
        since = now
        while pace.threaded:
            now = feed(pace, FAST, 1, now)
        stays.append(now - since)
    assert 1.0 <= stays[0] < 1.1
    assert all(later > 1.9 * sooner for sooner, later in pairwise(stays[:6]))
    assert stays[-1] < 61
    # After a long time in the loop it is forgiven.
    now = feed(pace, FAST, 16, now + 100)
    now = feed(pace, SLOW, 9, now)
    since = now
    while pace.threaded:
        now = feed(pace, FAST, 1, now)
    assert now - since < 1.1


def test_a_rehearsed_delay_keeps_it_in_the_thread() -> None:
    pace = Pace(always_threaded=True)
    feed(pace, FAST, 100_000, 100.0)
    assert pace.threaded
