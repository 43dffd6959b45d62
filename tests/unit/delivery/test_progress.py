"""The journal asks the lanes that have something to tell, and no other."""

from __future__ import annotations

import pytest

from bridge.config.settings import BacklogBound
from bridge.delivery import lane as lane_module
from bridge.delivery import progress as module
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.parked import Parked
from bridge.delivery.progress import Progress
from bridge.journal.batch import INDEX_BITS, Cursor, Retry
from tests.integration import receiver as scripts
from tests.integration.receiver import Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig


def three(url: str) -> tuple[Rig, Progress]:
    """A process with three lanes, and what looks after them."""
    box = Rig(url, name="first")
    box.add(url, "second")
    box.add(url, "third")
    progress = Progress(box.journal.touch)
    for lane in box.lanes:
        progress.watch(lane)
    box.journal.cursors = progress.cursors
    box.journal.low = progress.low
    return box, progress


async def test_only_lanes_with_progress_are_asked_for_cursors(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, progress = three(receiver.url())
    box.start()
    asked: list[int] = []
    cursor = lane_module.Lane.cursor

    def noted(self: lane_module.Lane) -> Cursor:
        asked.append(self.id)
        return cursor(self)

    monkeypatch.setattr(lane_module.Lane, "cursor", noted)
    second = box.lanes[1]
    seqs = [box.publish(str(n), targets=(second.id,)) for n in range(5)]
    await until(lambda: second.delivered == 5 and not second.dirty)
    assert set(asked) == {second.id}
    assert not list(progress.cursors())
    state = box.store.lane("second")
    assert (state.holes, state.position) == ([], seqs[-1] + 1)
    box.kill()


async def test_progress_made_before_it_was_watched_is_told(receiver: Receiver) -> None:
    box = Rig(receiver.url())
    box.lane._touch()
    progress = Progress(box.journal.touch)
    progress.watch(box.lane)
    assert [change.lane for change in progress.cursors() if isinstance(change, Cursor)] == [box.lane.id]
    assert not list(progress.cursors())
    box.kill()


async def test_an_idle_lane_is_left_alone_until_something_comes(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "TICK_S", 0.02)
    box, progress = three(receiver.url())
    assert len(progress.active) == 3  # nobody knows before the start
    box.start()
    await until(lambda: not progress.active)
    assert [lane._tick_timer for lane in box.lanes] == [None] * 3
    receiver.script = scripts.hang
    seq = box.publish("x", targets=(box.lanes[2].id,))
    await until(lambda: box.lanes[2].in_flight == 1)
    assert list(progress.active) == [box.lanes[2].id]
    assert progress.low() == seq >> INDEX_BITS
    assert progress.oldest_ts() == box.lanes[2].oldest_ts is not None
    for _ in range(3):  # it stays while the request is out
        await until(lambda: box.lanes[2]._tick_timer is not None)
        box.lanes[2]._tick()
    assert list(progress.active) == [box.lanes[2].id]
    receiver.script = None
    receiver.close_connections()
    await until(lambda: not progress.active)
    assert progress.low() is None
    assert progress.oldest_ts() is None
    box.kill()


async def test_an_event_sent_again_by_hand_wakes_its_lane(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "TICK_S", 0.02)
    box, progress = three(receiver.url())
    box.start()
    first = box.lanes[0]
    event = box.event(text="again", targets=(first.id,))
    seq = box.journal.append(event)
    await until(lambda: first.delivered == 1)
    await until(lambda: not progress.active)
    receiver.script = scripts.hang
    assert first.replay([(seq, event)]) == [seq]
    assert list(progress.active) == [first.id]
    assert progress.low() == seq >> INDEX_BITS  # until its row is stored
    box.kill()


async def test_a_lane_that_is_forgotten_is_asked_no_more(receiver: Receiver) -> None:
    """What it would tell could be behind what the lane in its place has told."""
    box, progress = three(receiver.url())
    box.lanes[0]._touch()
    box.lanes[1]._touch()
    progress.forget(box.lanes[0])
    assert [change.lane for change in progress.cursors() if isinstance(change, Cursor)] == [box.lanes[1].id]
    box.kill()


async def test_a_lane_just_parked_pins_what_comes_to_it_still(receiver: Receiver) -> None:
    """Events that the rules before had given it, in a batch that is committed only then."""
    box = Rig(receiver.url())
    parked = Parked(box.store.lane("kept"), box.store, BacklogBound())
    dispatcher = Dispatcher()
    dispatcher.set([box.lane], [parked])
    box.journal.on_commit = [dispatcher.committed]
    assert parked.low_batch() is None
    seq = box.publish("x", targets=(parked.id,))
    await until(lambda: parked.waiting == 1)
    assert parked.low_batch() == seq >> INDEX_BITS
    dispatcher.set([box.lane])
    box.publish("x", targets=(parked.id, box.lane.id))
    await until(lambda: box.lane.matched == 1)
    assert parked.waiting == 1
    box.kill()


async def test_of_many_lanes_progress_waits_a_moment_but_never_for_a_row(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 2)
    box, progress = three(receiver.url())
    box.start()
    await until(lambda: not any(lane.dirty for lane in box.lanes))
    now = 100.0
    progress._now = lambda: now
    first, second, third = box.lanes
    seqs = [box.publish(lane.name, targets=(lane.id,)) for lane in box.lanes]
    await until(lambda: all(lane.delivered == 1 for lane in box.lanes))
    await until(lambda: box.journal._open.number > (seqs[-1] >> INDEX_BITS) + 4)
    assert [lane.dirty for lane in box.lanes] == [True] * 3  # no commit has asked them
    receiver.status = 500
    failed = box.publish("x", targets=(second.id,))
    await until(lambda: second.failed == 1 and not second.dirty)
    rows = box.store.retries(second.id)
    assert [row.seq for row in rows if isinstance(row, Retry)] == [failed]
    assert box.store.lane("second").position == failed + 1  # in one commit with the row
    # Two lanes are few: their progress went with it, or goes with the next commit.
    await until(lambda: not first.dirty and not third.dirty)
    assert box.store.lane("third").position > seqs[2]
    receiver.status = 200
    for lane in box.lanes:
        box.publish(lane.name, targets=(lane.id,))
    await until(lambda: all(lane.delivered == 2 for lane in (first, third)))
    first._touch()
    second._touch()
    third._dirtied()
    now += module.LATE_S / 2
    taken = [change.lane for change in progress.cursors() if isinstance(change, Cursor)]
    assert sorted(taken) == [first.id, second.id]
    first._dirtied()
    second._dirtied()
    assert not list(progress.cursors())  # three again, and none is old
    now += module.LATE_S / 2
    assert [change.lane for change in progress.cursors() if isinstance(change, Cursor)] == [third.id]
    box.kill()


async def test_a_lane_that_stops_has_its_progress_in_the_next_commit(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 0)
    monkeypatch.setattr(module, "LATE_S", 1000.0)
    box, _ = three(receiver.url())
    box.start()
    third = box.lanes[2]
    seq = box.publish("x", targets=(third.id,))
    await until(lambda: third.delivered == 1)
    assert box.store.lane("third").position <= seq
    await third.stop(0.0)
    box.journal.flush()
    assert (box.store.lane("third").position, box.store.lane("third").holes) == (seq + 1, [])
    box.kill()
