"""The SQLite store against its twin in memory: random operations, crashes, and the same answers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, Change, Chunk, Cursor, Dead, Put, Retry, Settle
from bridge.journal.memory import MemoryStore
from bridge.journal.sqlite import SqliteStore
from bridge.journal.store import DeadTotals, LaneState
from tests.contract.store_support import event, make_batch

LANES = ["a", "b", "c"]
numbers = st.integers(0, 1 << 30)


class TwoStores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "0.db"
        self.loop = asyncio.new_event_loop()
        self.disk = SqliteStore.open(self.path, self.loop)
        self.memory = MemoryStore()
        self.seqs: list[int] = [5]  # one that never was
        self.told: tuple[list[int], list[int]] = ([], [])
        self.lane_ids: list[int] = []
        self.clock = 1000
        self.listen()
        for name in LANES[:2]:
            self.lane(name)

    def listen(self) -> None:
        self.disk.on_durable, self.memory.on_durable = self.told[0].append, self.told[1].append

    def teardown(self) -> None:
        self.disk.close()
        self.loop.close()
        shutil.rmtree(self.folder)

    def pick(self, number: int) -> int:
        return self.seqs[number % len(self.seqs)]

    def pick_lane(self, number: int) -> int:
        return self.lane_ids[number % len(self.lane_ids)]

    @rule(name=st.sampled_from(LANES))
    def lane(self, name: str) -> None:
        made = self.disk.lane(name)
        assert made == self.memory.lane(name)
        if made.id not in self.lane_ids:
            self.lane_ids.append(made.id)

    @rule(number=numbers)
    def drop_lane(self, number: int) -> None:
        if number % 4 == 0:
            self.disk.drop_lane(self.pick_lane(number // 4))
            self.memory.drop_lane(self.pick_lane(number // 4))

    def change(self, kind: int, lane: int, which: int) -> Change:
        seq = self.pick(which)
        match kind:
            case 0:
                return Put(f"space{which % 2}", f"key{which % 5}", b"%d" % which if which % 3 else None)
            case 1:
                return Cursor(lane, seq, sorted({self.pick(which // 3), self.pick(which // 5)}))
            case 2 | 3:
                return Retry(lane, seq, which % 9, which, 7, 8, f"c{which % 3}", "503")
            case 7:
                return Chunk(which % 7, b"%d" % which if which % 3 else None)
            case 4:
                return Dead(lane, seq, which % 9, which, "410")
            case _:
                return Settle(lane, seq)

    @rule(
        batches=st.lists(
            st.tuples(
                st.lists(
                    st.tuples(st.lists(st.integers(0, 2), max_size=3, unique=True), numbers), max_size=4
                ),
                st.lists(st.tuples(st.integers(0, 7), numbers, numbers), max_size=6),
                st.integers(-5, 50),  # the clock may go back
            ),
            min_size=1,
            max_size=3,
        )
    )
    def commit(
        self, batches: list[tuple[list[tuple[list[int], int]], list[tuple[int, int, int]], int]]
    ) -> None:
        number = self.disk.next_batch
        made = []
        for contents, changes, step in batches:
            events: list[Event] = []
            for targets, text in contents:
                lanes = {self.lane_ids[t] for t in targets if t < len(self.lane_ids)}
                self.seqs.append(number << INDEX_BITS | len(events))
                events.append(event(str(text), *lanes, size=text % 300))
            self.clock += step
            rows = [self.change(kind, self.pick_lane(lane), which) for kind, lane, which in changes]
            made.append(make_batch(number, events, rows, self.clock))
            number += 1
        self.disk.commit(made)
        self.memory.commit(made)

    @rule(which=numbers, limit=st.integers(1, 5))
    def trim(self, which: int, limit: int) -> None:
        before = self.pick(which) >> INDEX_BITS
        assert self.disk.trim(before, limit) == self.memory.trim(before, limit)

    @rule()
    def sync(self) -> None:
        self.disk._syncer.pace.threaded = False  # no loop runs here that a thread could report to
        self.disk.sync()
        self.memory.sync()
        assert self.told[0] == self.told[1]
        assert self.disk.durable == self.memory.durable

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        self.sync()
        if crash:  # what a killed process leaves behind: the files as they are
            path = self.folder / f"{int(self.path.stem) + 1}.db"
            for suffix in ("", "-wal"):
                shutil.copy(f"{self.path}{suffix}", f"{path}{suffix}")
            self.path = path
        self.disk.close()
        identity = self.disk.id
        self.disk = SqliteStore.open(self.path, self.loop)
        assert self.disk.id == identity
        self.listen()
        # The batch numbers leapt: the twin comes along with the next batch.
        batch = make_batch(self.disk.next_batch)
        self.disk.commit([batch])
        self.memory.commit([batch])
        self.sync()

    @rule(lane=numbers, which=numbers, size=st.integers(0, 2000), at=st.integers(-100, 100))
    def ask(self, lane: int, which: int, size: int, at: int) -> None:
        lane, position = self.pick_lane(lane), self.pick(which) + which % 2
        for method, arguments in (
            ("read", (lane, position, size)),
            ("backlog", (lane, position)),
            ("seek_bytes", (lane, position, size)),
            ("seek_age", (lane, position, self.clock + at)),
        ):
            answers = [getattr(store, method)(*arguments) for store in (self.disk, self.memory)]
            assert answers[0] == answers[1], (method, arguments)

    @invariant()
    def the_same(self) -> None:
        disk, memory = self.disk, self.memory
        assert (disk.head, disk.next_batch) == (memory.head, memory.next_batch)
        lanes: list[LaneState] = disk.lanes()
        assert lanes == memory.lanes()
        for lane in self.lane_ids:
            assert disk.retries(lane) == memory.retries(lane)
            assert disk.dead(lane) == memory.dead(lane)
            for store in (disk, memory):
                old = store.oldest_dead(lane, 1000)
                assert store.dead_totals(lane) == DeadTotals(len(old), sum(each.size for each in old))
                assert [each.seq for each in old] == [
                    letter.seq for letter in sorted(store.dead(lane), key=lambda each: (each.at, each.seq))
                ]
            assert disk.read(lane, 0, 1 << 30) == memory.read(lane, 0, 1 << 30)
        assert disk.fetch(self.seqs) == memory.fetch(self.seqs)
        chunks = list(disk.chunks())
        assert chunks == list(memory.chunks())
        assert [disk.chunk(number) for number, _ in chunks] == [body for _, body in chunks]
        for space in ("space0", "space1"):
            assert list(disk.load(space)) == list(memory.load(space))


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
