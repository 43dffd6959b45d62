"""When and where the write-ahead log is synced: one sync at a time, and each covers all committed before it
began.

A disk that answers in well under a millisecond is synced in the loop's thread, since a hop to another thread
costs more than that. A slow one (an SD card takes 5 to 50 ms) is synced by one helper thread: the loop goes
on, and what it commits meanwhile shares the next sync. `Pace` decides between the two from what was measured.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from bridge.journal.wal import WalFile
from bridge.telemetry.histogram import DISK_S, Histogram

SLOW_SECONDS = 0.001
"""A median above it moves the syncs to the helper thread."""
VERY_SLOW_SECONDS = 0.005
"""A median above it does so after three syncs; else it takes eight."""
FAST_SECONDS = 0.0005
"""A lower quartile below it moves them back."""
_LOOP_WINDOW = 16
_THREAD_WINDOW = 64
_SHORTEST_HOLD = 1.0
_LONGEST_HOLD = 60.0


class Pace:
    """Whether syncs belong into the helper thread, from their durations. Times are in seconds.

    In the thread a measured time holds the wait for the interpreter's lock too, which a busy loop gives up
    only now and then: so the way back asks for the lower quartile, and where that erred, the next stay is
    twice as long.
    """

    def __init__(self, *, always_threaded: bool = False) -> None:
        self.threaded = always_threaded
        self._always = always_threaded
        self._samples: deque[float] = deque(maxlen=_LOOP_WINDOW)
        self._hold = _SHORTEST_HOLD
        self._since = 0.0

    def record(self, seconds: float, now: float) -> None:
        """Take one sync's duration into account; `now` is of a clock that never goes back."""
        if self._always:
            return
        samples = self._samples
        samples.append(seconds)
        if not self.threaded:
            # A fast one changes nothing: the common case costs one comparison.
            if seconds > SLOW_SECONDS and sorted(samples)[len(samples) // 2] > (
                SLOW_SECONDS if len(samples) >= 8 else VERY_SLOW_SECONDS if len(samples) >= 3 else math.inf
            ):
                if now - self._since > _LONGEST_HOLD:
                    self._hold = _SHORTEST_HOLD
                self._turn(True, now)
        elif (
            len(samples) == _THREAD_WINDOW
            and seconds < FAST_SECONDS
            and now - self._since >= self._hold
            and sorted(samples)[_THREAD_WINDOW // 4] < FAST_SECONDS
        ):
            self._hold = min(self._hold * 2, _LONGEST_HOLD)
            self._turn(False, now)

    def _turn(self, threaded: bool, now: float) -> None:
        self.threaded = threaded
        self._since = now
        self._samples = deque(maxlen=_THREAD_WINDOW if threaded else _LOOP_WINDOW)


class Syncer:
    """Syncs a write-ahead log on request and reports in the loop's thread.

    `done(number)` says that everything up to the number of a request is durable; numbers only grow. After
    `failed(error)` nothing is synced any more.
    """

    def __init__(
        self,
        wal: WalFile,
        loop: asyncio.AbstractEventLoop,
        delay: float,
        done: Callable[[int], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self.pace = Pace(always_threaded=delay > 0)
        self.times = Histogram(DISK_S)  # of syncs that went well
        self.aside = False  # True: the disk is busy for a while (a checkpoint), spare the loop
        self._wal = wal
        self._loop = loop
        self._delay = delay
        self._done = done
        self._failed = failed
        self._queue: SimpleQueue[int | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._again: int | None = None
        self._stopped = False

    def request(self, number: int) -> None:
        """Sync all that was written so far, and report `number`."""
        if self._stopped:
            return
        if self._busy:
            self._again = number
        elif self.aside or self.pace.threaded:
            self._hand_over(number)
        else:
            start = time.perf_counter()
            try:
                self._wal.sync()
            except OSError as error:
                self._stopped = True
                self._failed(error)
                return
            end = time.perf_counter()
            self.pace.record(end - start, end)
            self.times.observe(end - start)
            self._done(number)

    def _hand_over(self, number: int) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hookmq-sync", daemon=True)
            self._thread.start()
        self._busy = True
        self._queue.put(number)

    def _work(self) -> None:
        clock = time.perf_counter
        while (number := self._queue.get()) is not None:
            failure = None
            start = clock()
            if self._delay:
                time.sleep(self._delay)
            try:
                self._wal.sync()
            except OSError as error:
                failure = error
            try:
                self._loop.call_soon_threadsafe(self._returned, number, clock() - start, failure)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _returned(self, number: int, seconds: float, failure: OSError | None) -> None:
        if self._stopped:
            return
        self._busy = False
        if failure is not None:
            self._stopped = True
            self._failed(failure)
            return
        self.times.observe(seconds)
        if self.pace.threaded:
            self.pace.record(seconds, time.perf_counter())
        again, self._again = self._again, None
        if again is not None and (self.aside or self.pace.threaded):
            # The disk works on while the acknowledgements of the last sync are written.
            self._hand_over(again)
            self._done(number)
        else:
            self._done(number)
            if again is not None:
                self.request(again)

    def stop(self) -> None:
        """Wait for a sync that is under way, and do no other. What it covered is not reported."""
        self._stopped = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
