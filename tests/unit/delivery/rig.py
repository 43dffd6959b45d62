"""A lane with a real journal on a store in memory and a real receiver, which can crash and start again."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable
from typing import Any

from bridge.config.settings import BreakerPolicy, Endpoint
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.lane import Lane
from bridge.delivery.progress import Progress
from bridge.events.event import Event, EventType
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore

NO_BREAKER = BreakerPolicy(failures=1_000_000)


class Rig:
    """One process: store, journal, dispatcher, one lane (more with `add`)."""

    def __init__(
        self,
        url: str,
        store: MemoryStore | None = None,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = lambda: 0.0,
        node: str | None = None,
        **settings: Any,
    ) -> None:
        self.node = node
        self.loop = asyncio.get_running_loop()
        self.store = store if store is not None else MemoryStore()
        self.clock = clock
        self.random = random
        self.journal = Journal(self.store, self.loop, clock=clock)
        self.lanes: list[Lane] = []
        self.dispatcher = Dispatcher()
        self.progress = Progress(self.journal.touch)
        self.lane = self.add(url, **settings)
        self.journal.on_commit.append(self.dispatcher.committed)
        self.journal.cursors = lambda: [lane.cursor() for lane in self.lanes if lane.dirty]
        self.journal.low = self._low

    def _low(self) -> int | None:
        low = min((low for lane in self.lanes if (low := lane.low_batch()) is not None), default=None)
        assert low == self.progress.low(), "a lane is taken for idle that needs something"
        return low

    def add(self, url: str, name: str = "default", **settings: Any) -> Lane:
        """A further lane."""
        # No breaker unless a test asks for one: most are about what each event does by itself.
        settings = {"cancel_timeout": 2000, "pool_size": 4, "breaker": NO_BREAKER} | settings
        lane = Lane(
            Endpoint(url=url, name=name, **settings),
            self.store.lane(name),
            self.journal,
            self.loop,
            clock=self.clock,
            random=self.random,
            node=self.node,
        )
        self.progress.watch(lane)
        lane.on_dirty = self.journal.touch  # here every lane is asked
        self.lanes.append(lane)
        self.dispatcher.set(self.lanes)
        return lane

    def start(self) -> Rig:
        for lane in self.lanes:
            lane.start()
        return self

    def event(
        self,
        kind: EventType = EventType.MESSAGE_PUBLISH,
        client: str = "c",
        text: str = "",
        targets: tuple[int, ...] | None = None,
    ) -> Event:
        return Event(
            int(kind),
            int(self.clock() * 1000),
            client,
            None,
            "127.0.0.1:5000",
            targets if targets is not None else (self.lane.id,),
            topic=text or "t",
            payload=text.encode(),
        )

    def publish(self, text: str = "", targets: tuple[int, ...] | None = None, client: str = "c") -> int:
        """Append a message; the journal commits at the end of the turn. Returns its sequence."""
        return self.journal.append(self.event(text=text, targets=targets, client=client))

    def life(self, client: str, text: str) -> int:
        """Append a lifecycle event of a client; `text` stands in its body as the topic."""
        return self.journal.append(self.event(EventType.SESSION_SUBSCRIBED, client, text))

    def flush(self) -> None:
        """Commit now."""
        self.journal.flush()

    def webhook_id(self, seq: int) -> str:
        return f"msg_{self.store.id}_{seq:016x}"

    def kill(self) -> MemoryStore:
        """What `kill -9` leaves: the store as it was committed last. This process does nothing any more."""
        self.store.on_durable = self.store.on_error = None
        left = copy.deepcopy(self.store)
        self.store.commit = lambda batches: None  # type: ignore[method-assign]
        self.store.trim = lambda before, limit=256: 0  # type: ignore[method-assign]
        for lane in self.lanes:
            lane._stopping = True
            lane.pool.close()
            lane._retries.stop()
            if lane._batcher is not None:
                lane._batcher.stop()
            if lane._permission is not None:
                lane._permission.close()
            for timer in (lane._tick_timer, lane._wake_timer, lane._touch_timer):
                if timer is not None:
                    timer.cancel()
        left.next_batch += 1 << 20
        return left
