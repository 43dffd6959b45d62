"""What becomes of every attempt, for the attempt log: gathered in memory, written in small slices.

* On the happy path an attempt costs one tuple of references in a bounded ring: nothing is copied, formatted
  or parsed. What the ring gives up at full speed was never written; its last entries are.
* Failures are all kept, up to `MAX_FAILURES` that wait for the disk.
* Once in `TICK_S` a slice of what has gathered is rendered, secrets masked, and handed to the store's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from bridge.config.settings import AttemptLog
from bridge.delivery.retry import Outcome
from bridge.events.event import Event

if TYPE_CHECKING:
    from bridge.delivery.http import Connection

log = logging.getLogger(__name__)


class AttemptSink(Protocol):
    """What a lane tells of its attempts, before it settles them. Called from the loop; must not raise."""

    def succeeded(self, connection: Connection) -> None:
        """The connection's request was answered with success."""

    def failed(self, connection: Connection, outcome: Outcome) -> None:
        """The connection's request has failed."""

    def unsent(self, seq: int, attempt: int, event: Event, outcome: Outcome) -> None:
        """No request could be made of an event."""
