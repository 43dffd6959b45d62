"""What every store promises (bridge/journal/store.py), the same tests for each."""

from __future__ import annotations

import pytest

from bridge.journal.batch import INDEX_BITS, MAX_BATCH_EVENTS, Chunk, Cursor, Dead, Put, Retry, Settle
from bridge.journal.codec import event_size
from bridge.journal.store import Backlog, DeadCause, DeadLetter, DeadTotals, LaneState, lane_space
from tests.contract.store_support import AnyStore, commit, event, make_batch, read_all, until


def retry(lane: int, seq: int, attempt: int = 1) -> Retry:
    return Retry(lane, seq, attempt, due=5000, wait=4000, first=900, key="c1", error="503")


def dead(lane: int, seq: int) -> Dead:
    return Dead(lane, seq, attempt=10, at=7000, error="410 gone")


async def test_events_come_back_in_order_at_their_sequences(store: AnyStore) -> None:
    lane = store.lane("a")
    events = [event(f"d{i}", lane.id) for i in range(7)]
    seqs = commit(store, events[:3]) + commit(store, events[3:4]) + commit(store, events[4:])
    assert seqs == sorted(set(seqs))
    assert read_all(store, lane.id, lane.position) == list(zip(seqs, events, strict=True))
    assert read_all(store, lane.id, seqs[4]) == list(zip(seqs[4:], events[4:], strict=True))
    # One call reads whole batches until the bound is passed.
    part, after = store.read(lane.id, seqs[1], 1)
    assert [seq for seq, _ in part] == seqs[1:3]
    assert after == ((seqs[0] >> INDEX_BITS) + 1) << INDEX_BITS
    part, after = store.read(lane.id, 0, 1 << 20)
    assert [seq for seq, _ in part] == seqs
    assert after == store.head


async def test_one_commit_takes_several_batches(store: AnyStore) -> None:
    lane = store.lane("a")
    first = store.next_batch
    store.commit(
        [
            make_batch(first, [event("1", lane.id)], [Put("s", "k", b"old")]),
            make_batch(first + 1, [], [Put("s", "k", b"new")]),
            make_batch(first + 5, [event("2", lane.id), event("3", lane.id)]),
        ]
    )
    assert store.next_batch == first + 6
    assert [e.payload for _, e in read_all(store, lane.id, 0)] == [b"1", b"2", b"3"]
    assert list(store.load("s")) == [("k", b"new")]


async def test_a_lane_gets_its_own_events_alone(store: AnyStore) -> None:
    a, b, c = store.lane("a").id, store.lane("b").id, store.lane("c").id
    seqs = commit(store, [event("1", a), event("2", b), event("3", a, b), event("4")])
    seqs += commit(store, [event("5", b)])
    seqs += commit(store, [event("6", a)])
    assert [seq for seq, _ in read_all(store, a, 0)] == [seqs[0], seqs[2], seqs[5]]
    assert [seq for seq, _ in read_all(store, b, 0)] == [seqs[1], seqs[2], seqs[4]]
    assert read_all(store, c, 0) == []
    assert store.read(c, 0, 1000) == ([], store.head)
    # Its position already lies behind its last event of a batch that it shares.
    assert store.read(a, seqs[3], 1) == ([(seqs[5], event("6", a))], store.head)


async def test_a_long_stretch_without_events_is_passed_in_bounded_steps(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    number = store.next_batch
    store.commit([make_batch(number + i, [event("x", b)]) for i in range(10_000)])
    last = commit(store, [event("y", a)])
    found, position = store.read(a, 0, 1000)
    assert found == []
    assert number << INDEX_BITS < position < store.head
    while not found:
        found, after = store.read(a, position, 1000)
        assert after > position
        position = after
    assert found == [(last[0], event("y", a))]
    assert store.read(a, position, 1000) == ([], store.head)


async def test_a_new_lane_starts_at_the_tail(store: AnyStore) -> None:
    a = store.lane("a")
    assert a == LaneState(a.id, "a", store.head, [])
    commit(store, [event("1", a.id)])
    b = store.lane("b")
    assert b.position == store.head > a.position
    seqs = commit(store, [event("2", a.id, b.id)])
    assert read_all(store, b.id, b.position) == [(seqs[0], event("2", a.id, b.id))]
    assert store.lane("a") == a
    assert [lane.name for lane in store.lanes()] == ["a", "b"]


async def test_a_cursor_is_kept_with_its_holes(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    seqs = commit(store, [event("1", a, b), event("2", a, b), event("3", a, b)])
    commit(store, [], [Cursor(a, seqs[1], []), Cursor(b, 5, []), Cursor(a, seqs[2], [seqs[0], seqs[1]])])
    assert store.lane("a") == LaneState(a, "a", seqs[2], [seqs[0], seqs[1]])
    assert store.lane("b") == LaneState(b, "b", 5, [])
    commit(store, [], [Cursor(a, store.head, [])])
    assert store.lane("a").holes == []


async def test_a_retry_pins_its_event_until_it_is_settled(store: AnyStore) -> None:
    a = store.lane("a").id
    seqs = commit(store, [event("d1", a), event("2", a)])
    same = commit(store, [event("3", a)], [retry(a, store.next_batch << INDEX_BITS)])
    commit(store, [], [retry(a, seqs[0])])
    commit(store, [], [retry(a, seqs[0], 2), Cursor(a, store.head, [])])
    assert store.retries(a) == [retry(a, seqs[0], 2), retry(a, same[0])]
    assert store.lane("a").retries == 2
    assert store.trim(store.next_batch) == 2
    assert read_all(store, a, 0) == []
    assert store.fetch([*seqs, *same]) == {seqs[0]: event("d1", a), same[0]: event("3", a)}
    # A retry again, when the log has forgotten the event, keeps the copy.
    commit(store, [], [retry(a, seqs[0], 3)])
    assert store.fetch(seqs) == {seqs[0]: event("d1", a)}
    commit(store, [], [Settle(a, seqs[0])])
    assert store.fetch([*seqs, *same]) == {same[0]: event("3", a)}
    assert store.retries(a) == [retry(a, same[0])]


async def test_what_rows_pin_is_known_without_reading_it(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    big = event("2", a, b)
    big.payload = b"x" * 100_000
    seqs = commit(store, [event("1", a, b), big, event("3", a, b)])
    assert store.row_sizes(a) == {}
    commit(store, [], [retry(a, seqs[0]), retry(a, seqs[1]), retry(b, seqs[2]), dead(a, seqs[2])])
    sizes = store.row_sizes(a)
    assert sorted(sizes) == seqs[:2]
    assert 0 < sizes[seqs[0]] < 300
    assert 100_000 <= sizes[seqs[1]] < 100_300
    commit(store, [], [Settle(a, seqs[1])])
    assert sorted(store.row_sizes(a)) == seqs[:1]


async def test_a_dead_letter_pins_its_event(store: AnyStore) -> None:
    a = store.lane("a").id
    seqs = commit(store, [event("1", a), event("2", a), event("3", a)])
    commit(store, [], [retry(a, seqs[0]), retry(a, seqs[1])])
    commit(store, [], [dead(a, seqs[0]), dead(a, seqs[2])])
    store.trim(store.next_batch)
    assert store.dead(a) == [
        DeadLetter(a, seqs[0], 10, 7000, "410 gone"),
        DeadLetter(a, seqs[2], 10, 7000, "410 gone"),
    ]
    assert store.retries(a) == [retry(a, seqs[1])]
    state = store.lane("a")
    assert (state.retries, state.dead) == (1, 2)
    assert sorted(store.fetch(seqs)) == seqs
    # It is sent again by hand, and a second one is thrown away.
    commit(store, [], [retry(a, seqs[0]), Settle(a, seqs[2])])
    assert store.dead(a) == []
    assert [row.seq for row in store.retries(a)] == seqs[:2]
    assert sorted(store.fetch(seqs)) == seqs[:2]


async def test_dead_letters_are_summed_up_and_the_oldest_found(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    assert (store.dead_totals(a), store.oldest_dead(a, 5)) == (DeadTotals(0, 0), [])
    seqs = commit(store, [event(str(n), a, b, size=1000 * n) for n in range(4)])
    died = [Dead(a, seq, 3, at, "why") for seq, at in zip(seqs, (40, 30, 20, 30), strict=True)]
    commit(store, [], [*died, Dead(b, seqs[3], 1, 5, "")])
    assert [(old.at, old.seq) for old in store.oldest_dead(a, 3)] == [
        (20, seqs[2]),
        (30, seqs[1]),
        (30, seqs[3]),
    ]
    totals = store.dead_totals(a)
    assert totals == DeadTotals(4, sum(old.size for old in store.oldest_dead(a, 9)))
    assert 6000 < totals.bytes < 6000 + 4 * 400
    # One goes, one is sent again, one dies again: the totals follow.
    commit(store, [], [Settle(a, seqs[0]), retry(a, seqs[1]), Dead(a, seqs[2], 4, 50, "a longer error")])
    assert [(old.at, old.seq) for old in store.oldest_dead(a, 9)] == [(30, seqs[3]), (50, seqs[2])]
    assert store.dead_totals(a) == DeadTotals(2, sum(old.size for old in store.oldest_dead(a, 9)))
    commit(store, [], [Settle(a, seqs[2]), Settle(a, seqs[3]), Settle(a, seqs[3])])
    assert store.dead_totals(a) == DeadTotals(0, 0)
    assert store.dead_totals(b).letters == 1


async def test_dead_letters_are_grouped_by_cause(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    seqs = commit(store, [event(str(i), a, b) for i in range(6)])
    errors = ["status 503: busy: later", "timeout: x", "status 503", "timeout", "", "status 503: no"]
    letters = [
        Dead(a, seq, 3, 100 + i, error) for i, (seq, error) in enumerate(zip(seqs, errors, strict=True))
    ]
    commit(store, [], [*letters, dead(b, seqs[0])])
    found, end = store.dead_causes(a, -1, 100)
    assert sorted(found) == [
        DeadCause("", 1, 104, 104),
        DeadCause("status 503", 3, 100, 105),
        DeadCause("timeout", 2, 101, 103),
    ]
    assert end is None
    first, end = store.dead_causes(a, -1, 4)
    assert end == seqs[3]
    rest, end = store.dead_causes(a, seqs[3], 4)
    assert end is None
    assert sum(one.letters for one in (*first, *rest)) == 6
    rows, end = store.dead_of(a, "status 503", -1, 100)
    assert ([row.seq for row in rows], end) == ([seqs[0], seqs[2], seqs[5]], None)
    assert rows[0] == DeadLetter(a, seqs[0], 3, 100, "status 503: busy: later")
    rows, end = store.dead_of(a, "timeout", -1, 2)
    assert ([row.seq for row in rows], end) == ([seqs[1]], seqs[1])
    rows, end = store.dead_of(a, "timeout", seqs[1], 2)
    assert ([row.seq for row in rows], end) == ([seqs[3]], seqs[3])
    rows, end = store.dead_of(a, "timeout", seqs[3], 2)
    assert (rows, end) == ([], seqs[5])
    assert store.dead_of(a, "timeout", seqs[5], 2) == ([], None)
    assert store.dead_of(a, "status", -1, 100) == ([], None)
    assert store.dead_causes(b, seqs[0], 100) == ([], None)


async def test_dead_letters_are_read_in_pages(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    seqs = commit(store, [event(str(i), a, b) for i in range(5)])
    commit(store, [], [retry(lane, seq) for lane in (a, b) for seq in seqs])
    commit(store, [], [dead(a, seq) for seq in seqs] + [dead(b, seqs[0])])
    assert [row.seq for row in store.dead(a, limit=2)] == seqs[:2]
    assert [row.seq for row in store.dead(a, seqs[1], 2)] == seqs[2:4]
    assert [row.seq for row in store.dead(a, seqs[3], 2)] == seqs[4:]
    assert store.dead(a, seqs[4], 2) == []
    assert store.dead(a, limit=0) == []
    assert [row.seq for row in store.dead(b)] == seqs[:1]


async def test_two_lanes_pin_one_event(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    [seq] = commit(store, [event("1", a, b)])
    commit(store, [], [retry(a, seq), retry(b, seq)])
    store.trim(store.next_batch)
    commit(store, [], [Settle(a, seq)])
    assert sorted(store.fetch([seq])) == [seq]
    commit(store, [], [dead(b, seq)])
    assert sorted(store.fetch([seq])) == [seq]
    commit(store, [], [Settle(b, seq)])
    assert store.fetch([seq]) == {}


async def test_a_retry_and_its_settling_in_one_commit_leave_nothing(store: AnyStore) -> None:
    a = store.lane("a").id
    [seq] = commit(store, [event("1", a)])
    commit(store, [], [retry(a, seq), Settle(a, seq)])
    store.trim(store.next_batch)
    assert store.retries(a) == []
    assert store.fetch([seq]) == {}


async def test_a_dropped_lane_takes_its_rows_and_pins_along(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    seqs = commit(store, [event("1", a), event("2", a, b), event("3", a)])
    commit(store, [], [retry(a, seqs[0]), retry(a, seqs[1]), retry(b, seqs[1]), dead(a, seqs[2])])
    store.trim(store.next_batch)
    spaces = [lane_space(name, lane) for name in ("groups", "endpoint") for lane in (a, b)]
    commit(store, [], [Put(space, "k", b"v") for space in [*spaces, "other"]])
    store.drop_lane(a)
    assert [space for space in spaces if list(store.load(space))] == spaces[1::2]
    assert list(store.load("other")) == [("k", b"v")]
    assert store.dead_totals(a) == DeadTotals(0, 0)
    assert [lane.id for lane in store.lanes()] == [b]
    assert store.retries(a) == []
    assert store.dead(a) == []
    assert sorted(store.fetch(seqs)) == [seqs[1]]
    # What was under way for it comes too late and leaves no row behind; its id is never given again.
    late = [Put(space, "late", b"v") for space in spaces]
    commit(store, [], [retry(a, seqs[1]), dead(a, seqs[2]), Cursor(a, 5, []), Settle(a, seqs[0]), *late])
    assert store.retries(a) == []
    assert store.dead_totals(a) == DeadTotals(0, 0)
    assert [space for space in spaces if list(store.load(space))] == spaces[1::2]
    assert [key for key, _ in store.load(spaces[1])] == ["k", "late"]
    commit(store, [], [Settle(b, seqs[1])])
    assert store.fetch(seqs) == {}
    again = store.lane("a")
    assert again.id not in (a, b)
    assert again.position == store.head


async def test_state_is_put_deleted_and_loaded_by_space(store: AnyStore) -> None:
    commit(store, [], [Put("qos2", "c1", b"\x01"), Put("qos2", "c0", b""), Put("open", "c1", b"x")])
    assert list(store.load("qos2")) == [("c0", b""), ("c1", b"\x01")]
    commit(store, [], [Put("qos2", "c1", None), Put("qos2", "c2", b"2"), Put("qos2", "none", None)])
    commit(store, [], [Put("open", "c1", None), Put("open", "c1", b"y")])
    assert list(store.load("qos2")) == [("c0", b""), ("c2", b"2")]
    assert list(store.load("open")) == [("c1", b"y")]
    assert list(store.load("other")) == []


async def test_many_state_rows_are_loaded_while_others_are_written(store: AnyStore) -> None:
    keys = [f"{i:05}" for i in range(2_000)] + [""]
    commit(store, [], [Put("s", key, key.encode()) for key in keys])
    loaded = []
    for row in store.load("s"):
        loaded.append(row)
        if len(loaded) % 100 == 0:
            commit(store, [], [Put("t", "k", b"v")])
    assert loaded == [(key, key.encode()) for key in sorted(keys)]


async def test_a_backlog_is_counted_from_a_position(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    events = [event("1", a, size=100), event("22", b), event("333", a, b, size=1000)]
    seqs = commit(store, events) + commit(store, [event("4", a, size=50)])
    one, _, three = map(event_size, events)
    four = event_size(event("4", a, size=50))
    assert store.backlog(a, 0) == Backlog(3, one + three + four)
    assert store.backlog(a, seqs[1]) == Backlog(2, three + four)
    assert store.backlog(b, seqs[2]) == Backlog(1, three)
    assert store.backlog(a, seqs[3]) == Backlog(1, four)
    assert store.backlog(a, store.head) == Backlog(0, 0)
    assert event_size(events[0]) >= 100


async def test_a_position_is_sought_by_bytes(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    seqs = [commit(store, [event("1", a, size=1000), event("2", a)])]
    commit(store, [event("x", b, size=5000)])
    seqs += [commit(store, [event("3", a, size=1000)]), commit(store, [event("4", a, size=1000)])]
    batch = [sum(event_size(e) for s, e in read_all(store, a, 0) if s in part) for part in seqs]
    assert store.seek_bytes(a, 0, 0) == (0, Backlog(0, 0))
    assert store.seek_bytes(a, 0, 1) == (seqs[0][-1] + MAX_BATCH_EVENTS - 1, Backlog(2, batch[0]))
    assert store.seek_bytes(a, seqs[0][1], batch[0]) == (
        seqs[2][0],
        Backlog(2, event_size(event("2", a)) + batch[1]),
    )
    position, between = store.seek_bytes(a, 0, batch[0] + 1)
    assert position == seqs[2][0]
    assert between == Backlog(3, batch[0] + batch[1])
    assert store.backlog(a, position) == Backlog(1, batch[2])
    assert store.seek_bytes(a, 0, 1 << 40) == (store.head, Backlog(4, sum(batch)))


async def test_a_position_is_sought_by_age(store: AnyStore) -> None:
    a, b = store.lane("a").id, store.lane("b").id
    first = commit(store, [event("1", a), event("2", a)], at=1000)
    commit(store, [event("x", b)], at=2000)
    third = commit(store, [event("3", a)], at=3000)
    size = event_size(event("1", a))
    assert store.seek_age(a, 0, 500) == (first[0], Backlog(0, 0))
    assert store.seek_age(a, first[1], 1000) == (first[1], Backlog(0, 0))
    position, between = store.seek_age(a, first[0], 1001)
    assert first[1] < position < third[0]
    assert between == Backlog(2, 2 * size)
    assert store.seek_age(a, first[1], 3000) == (third[0], Backlog(1, size))
    assert store.seek_age(a, 0, 3001) == (store.head, Backlog(3, 3 * size))


async def test_trimming_goes_in_steps_from_the_oldest(store: AnyStore) -> None:
    a = store.lane("a").id
    seqs = [commit(store, [event(str(i), a)])[0] for i in range(10)]
    numbers = [seq >> INDEX_BITS for seq in seqs]
    assert store.trim(numbers[0]) == 0
    assert store.trim(numbers[8], 5) == 5
    assert [seq for seq, _ in read_all(store, a, 0)] == seqs[5:]
    assert store.trim(numbers[8], 5) == 3
    assert store.trim(numbers[8], 5) == 0
    assert [seq for seq, _ in read_all(store, a, 0)] == seqs[8:]
    assert store.fetch(seqs) == {seqs[8]: event("8", a), seqs[9]: event("9", a)}
    assert store.backlog(a, 0).events == 2


async def test_a_sync_reports_what_it_covers_once(store: AnyStore) -> None:
    told: list[int] = []
    store.on_durable = told.append
    before = store.durable
    assert before == store.next_batch - 1
    a = store.lane("a").id
    commit(store, [event("1", a)])
    commit(store, [event("2", a)])
    assert store.durable == before
    store.sync()
    await until(lambda: told)
    assert told == [before + 2]
    assert store.durable == before + 2
    store.sync()
    commit(store, [event("3", a)])
    store.sync()
    await until(lambda: len(told) > 1)
    assert told == [before + 2, before + 3]
    # Closing leaves nothing behind that is committed and not durable.
    commit(store, [event("4", a)])
    store.close()
    assert told == [before + 2, before + 3, before + 4]


async def test_a_commit_inside_on_durable_is_not_lost(store: AnyStore) -> None:
    a = store.lane("a").id
    told: list[int] = []

    def durable(number: int) -> None:
        told.append(number)
        if len(told) < 3:
            commit(store, [event(str(number), a)])
            store.sync()

    store.on_durable = durable
    commit(store, [event("1", a)])
    store.sync()
    await until(lambda: len(told) == 3)
    assert told == sorted(told)
    assert store.durable == store.next_batch - 1


async def test_a_wrong_number_changes_nothing(store: AnyStore) -> None:
    a = store.lane("a").id
    commit(store, [event("1", a)])
    number, head = store.next_batch, store.head
    bad = [
        make_batch(number, [event("2", a)], [Put("s", "k", b"v")]),
        make_batch(number, [event("3", a)]),
    ]
    with pytest.raises(ValueError, match=f"batch {number} is not above {number}"):
        store.commit(bad)
    too_many = make_batch(number, [event("x", a)] * (MAX_BATCH_EVENTS + 1))
    with pytest.raises(ValueError, match="4097 events"):
        store.commit([too_many])
    assert (store.next_batch, store.head) == (number, head)
    assert list(store.load("s")) == []
    store.commit(bad[:1])
    assert [e.payload for _, e in read_all(store, a, 0)] == [b"1", b"2"]


async def test_a_full_batch_and_a_long_payload(store: AnyStore) -> None:
    a = store.lane("a").id
    seqs = commit(store, [event(str(i), a) for i in range(MAX_BATCH_EVENTS)])
    seqs += commit(store, [event("long", a, size=10 << 20)])
    assert [seq for seq, _ in read_all(store, a, 0)] == seqs
    assert len(store.fetch(seqs[-1:])[seqs[-1]].payload) == 10 << 20
    assert store.size() > 10 << 20


async def test_changes_of_lanes_are_written_without_a_batch(store: AnyStore) -> None:
    """What a journal does where a commit was refused for want of room."""
    a = store.lane("a").id
    seqs = commit(store, [event("1", a), event("2", a), event("3", a)])
    number, head = store.next_batch, store.head
    store.mend([])
    store.mend(
        [
            retry(a, seqs[0]),
            retry(a, seqs[1]),
            Settle(a, seqs[1]),
            Cursor(a, seqs[2], []),
            Put(lane_space("s", a), "k", b"v"),
            retry(99, seqs[2]),
            Put(lane_space("s", 99), "k", b"v"),
        ]
    )
    assert (store.next_batch, store.head) == (number, head)
    assert store.retries(a) == [retry(a, seqs[0])]
    assert store.lane("a").position == seqs[2]
    assert list(store.load(lane_space("s", a))) == [("k", b"v")]
    assert list(store.load(lane_space("s", 99))) == []
    assert store.trim(number) == 1
    assert store.fetch(seqs) == {seqs[0]: event("1", a)}
    seqs += commit(store, [event("4", a)])
    assert seqs[3] >> INDEX_BITS == number


async def test_changes_alone_move_the_head_and_leave_no_batch(store: AnyStore) -> None:
    head = store.head
    commit(store, [], [Put("s", "k", b"v")])
    assert store.head == head + MAX_BATCH_EVENTS
    assert store.trim(store.next_batch) == 0


async def test_a_retry_of_an_event_that_is_gone_keeps_its_row(store: AnyStore) -> None:
    a = store.lane("a").id
    [seq] = commit(store, [event("1", a)])
    store.trim(store.next_batch)
    commit(store, [], [retry(a, seq), retry(a, seq + 1)])
    assert [row.seq for row in store.retries(a)] == [seq, seq + 1]
    assert store.fetch([seq, seq + 1]) == {}
    commit(store, [], [Settle(a, seq), Settle(a, seq + 1)])
    assert store.retries(a) == []


async def test_the_id_is_twelve_hex_digits(store: AnyStore) -> None:
    assert len(store.id) == 12
    assert set(store.id) <= set("0123456789abcdef")


async def test_chunks_of_queued_messages(store: AnyStore) -> None:
    assert list(store.chunks()) == []
    lane = store.lane("a").id
    number = store.next_batch << 8
    seqs = commit(store, [event("1", lane)], [Chunk(number + 2, b"two"), Chunk(number, b"zero")])
    commit(store, [], [Chunk(number + 1, b"x" * 100_000)])
    assert list(store.chunks()) == [(number, b"zero"), (number + 1, b"x" * 100_000), (number + 2, b"two")]
    assert store.chunk(number + 2) == b"two"
    assert store.chunk(number + 3) is None
    # Written anew, deleted, and in one commit whichever comes last.
    commit(store, [], [Chunk(number, b"less"), Chunk(number + 1, None), Chunk(number + 9, None)])
    commit(store, [], [Chunk(number + 2, None), Chunk(number + 2, b"again"), Chunk(number + 3, b"x")])
    commit(store, [], [Chunk(number + 3, b"y"), Chunk(number + 3, None)])
    assert list(store.chunks()) == [(number, b"less"), (number + 2, b"again")]
    # They are no part of the log: neither holds the other.
    assert store.trim(store.next_batch) == 1
    assert list(store.chunks()) == [(number, b"less"), (number + 2, b"again")]
    assert store.fetch(seqs) == {}
    store.mend([Chunk(number, None)])
    assert [each for each, _ in store.chunks()] == [number + 2]


async def test_more_chunks_than_one_page_of_them(store: AnyStore) -> None:
    number = store.next_batch << 8
    commit(store, [], [Chunk(number + i, b"%d" % i) for i in range(100)])
    assert list(store.chunks()) == [(number + i, b"%d" % i) for i in range(100)]
