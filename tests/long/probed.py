"""HookMQ with a look at its loop from inside: `python -m tests.long.probed start --conf …`.

Every half second it writes to the file that PROBE names, as JSON:

* `packets`: control packets that the decoders took apart, those that ended a connection included;
* `longest`: the longest turn of the loop, in ms of processor time;
* `longest_waiting`: the same with its waits for the disk, without those for a processor;
* `stacks`: where the loop was when a turn had taken 50 ms and more, with how often.

A timer that is due each millisecond tells the turns: it runs once in each turn that takes longer, so that
what is measured is at most a turn, a millisecond and the rest of the turn before it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.mqtt.decoder import Decoder

TICK_S = 0.001
WRITE_S = 0.5
LONG_S = 0.05


class Probe:
    """What is known so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packets = 0
        self.longest = self.longest_waiting = 0.0
        self.stacks: Counter[str] = Counter()
        self.loop: Any = None
        self._schedstat: int | None = None
        self._main = threading.main_thread().ident
        self._last = self._written = time.monotonic()
        self._delay = self._cpu = 0.0

    def start(self, loop: Any) -> None:
        """Begin, in the loop's thread."""
        self.loop = loop
        self._schedstat = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self._last, self._delay, self._cpu = time.monotonic(), self._waited(), time.thread_time()
        loop.call_later(TICK_S, self._tick)
        threading.Thread(target=self._watch, daemon=True).start()

    def _waited(self) -> float:
        """Seconds for which the loop's thread could run and had no processor."""
        assert self._schedstat is not None
        return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9

    def _tick(self) -> None:
        now, delay, cpu = time.monotonic(), self._waited(), time.thread_time()
        self.longest = max(self.longest, cpu - self._cpu)
        self.longest_waiting = max(self.longest_waiting, now - self._last - (delay - self._delay))
        self._last, self._delay, self._cpu = now, delay, cpu
        self.loop.call_later(TICK_S, self._tick)

    def write(self) -> None:
        """Tell what is known."""
        found = {
            "packets": self.packets,
            "longest": self.longest * 1000,
            "longest_waiting": self.longest_waiting * 1000,
            "stacks": self.stacks.most_common(10),
        }
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(found))
        new.replace(self.path)

    def _watch(self) -> None:
        """Look from a thread of its own what takes long."""
        while True:
            time.sleep(LONG_S / 5)
            spent = time.monotonic() - self._last - (self._waited() - self._delay)
            if spent > LONG_S and self._main is not None:
                frame = sys._current_frames().get(self._main)
                lines = [f"{f.name}:{f.lineno}" for f in traceback.extract_stack(frame)[-8:]]
                self.stacks[" < ".join(reversed(lines))] += 1
            if time.monotonic() - self._written > WRITE_S:
                self._written = time.monotonic()
                self.write()


def main() -> None:
    """Install the probe, and start HookMQ."""
    probe = Probe(Path(os.environ["PROBE"]))
    feed: Callable[[Decoder, bytes], list[Any]] = Decoder.feed

    def counted(self: Decoder, data: bytes) -> list[Any]:
        if probe.loop is None:
            probe.start(asyncio_loop())
        broken = self.error is not None
        packets = feed(self, data)
        probe.packets += len(packets) + (self.error is not None and not broken)
        return packets

    Decoder.feed = counted  # type: ignore[method-assign]
    from bridge.cli import main as hookmq

    try:
        code = hookmq()
    finally:
        probe.write()
    raise SystemExit(code)


def asyncio_loop() -> Any:
    """The loop that runs."""
    import asyncio

    return asyncio.get_running_loop()


if __name__ == "__main__":
    main()
