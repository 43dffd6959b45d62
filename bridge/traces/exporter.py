"""Spans on their way to the collector: a bounded queue, and a thread that empties it with OpenTelemetry's
exporter (OTLP over HTTP).

The loop appends a tuple and goes on; what a span is in OpenTelemetry's own classes is made in the thread. A
collector that is slow or down costs spans, which are counted, and nothing else. The thread empties the queue
once in `scheduled_delay` and no sooner: a span takes it some 100 us beside the loop, and so its share of the
processor is bounded whatever comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, NamedTuple

from bridge import __version__
from bridge.config.settings import Tracing
from bridge.traces import TracingError

log = logging.getLogger(__name__)

BATCH = 512
"""Spans of one export at most."""
LOG_EVERY_S = 60.0
CLOSE_S = 3.0
"""How long the end of HookMQ waits for the last spans."""


class Span(NamedTuple):
    """One span. Ids are in hexadecimal, `parent` empty for a root; times are Unix nanoseconds.

    `kind` is OpenTelemetry's: consumer, client or producer. `error`: it ended badly.
    """

    name: str
    kind: str
    trace: str
    span: str
    parent: str
    remote: bool  # the parent is another process's
    state: str
    start: int
    end: int
    attributes: dict[str, Any]
    error: bool = False


class Exporter:
    """Takes spans from the loop, and from its thread alone."""

    def __init__(self, settings: Tracing, node: str) -> None:
        """`node` names this process. Raises TracingError where the extra is not installed."""
        try:
            from bridge.traces import otlp  # noqa: PLC0415  an extra
        except ImportError:
            raise TracingError(
                "tracing.enable: found true, and OpenTelemetry is not installed, expected the extra:"
                " pip install 'hookmq[otel]'"
            ) from None
        self.counts = {"exported": 0, "failed": 0, "dropped": 0}
        self._otlp = otlp.Otlp(settings.endpoint, settings.timeout, node, __version__)
        self._endpoint = settings.endpoint
        self._delay = settings.scheduled_delay
        self._limit = settings.max_queue_size
        self._queue: deque[Span] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._log_at = 0.0
        self._thread = threading.Thread(target=self._work, name="hookmq-traces", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Spans in the queue."""
        return len(self._queue)

    def has_room(self) -> bool:
        """Whether a span may be put; if not it is counted as dropped, and need not be made."""
        if len(self._queue) < self._limit:
            return True
        self.counts["dropped"] += 1
        return False

    def put(self, span: Span) -> None:
        """Take a span that `has_room` was asked for."""
        self._queue.append(span)

    def close(self) -> None:
        """Export what waits, for at most `CLOSE_S`. It blocks, so not in the loop's thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join(CLOSE_S)
        self._otlp.shutdown()

    # -- the thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping:
            self._wake.wait(self._delay)
            self._empty()
        self._empty()

    def _empty(self) -> None:
        """Export what waits now; what comes meanwhile waits for the next time."""
        queue = self._queue
        left = len(queue)
        while left:
            spans = [queue.popleft() for _ in range(min(left, BATCH))]
            left -= len(spans)
            try:
                done = self._otlp.export(spans)
            except Exception as error:  # a fault of ours or the library's: the thread goes on
                self._tell(f"{type(error).__name__}: {error}")
                done = False
            else:
                if not done:
                    self._tell("it did not take them")
            self.counts["exported" if done else "failed"] += len(spans)

    def _tell(self, cause: str) -> None:
        now = time.monotonic()
        if now >= self._log_at:
            self._log_at = now + LOG_EVERY_S
            log.warning("tracing.endpoint: spans are lost: %s: %s", self._endpoint, cause[:200])
