"""From another broker to the journal: its events, for the lanes whose rules want them.

What a source is told of must be in the store before it answers: `record`, then wait for `stored`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.events.event import TOPIC_EVENTS, Event, EventType
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.mqtt.topics import parse_shared

_PUBLISH = EventType.MESSAGE_PUBLISH
_FILTERS = frozenset(
    {
        EventType.CLIENT_SUBSCRIBE,
        EventType.CLIENT_UNSUBSCRIBE,
        EventType.SESSION_SUBSCRIBED,
        EventType.SESSION_UNSUBSCRIBED,
    }
)
"""Events whose topic is a filter."""


class NotTaken(Exception):
    """An event cannot be stored now; the text says why. Whoever brought it has to keep it, or be told."""


class Recorder:
    """Events of sources, into the journal's open batch. All methods run in the loop's thread."""

    def __init__(self, journal: Journal, rules: Callable[[], Rules], loop: asyncio.AbstractEventLoop) -> None:
        """`rules` gives those in force."""
        self.journal = journal
        self._rules = rules
        self._loop = loop

    @property
    def rules(self) -> Rules:
        """Who wants what at present."""
        return self._rules()

    def check(self) -> None:
        """Raises NotTaken while the store refuses to write: what would wait in memory has no bound."""
        if self.journal.stalled:
            raise NotTaken("the store refuses to write")

    def record(self, event: Event) -> bool:
        """Let an event join the open batch for those who want it; whether there is anyone.

        Raises NotTaken, and nothing has happened then: the store refuses to write, or a published message is
        for an endpoint that turns new ones away (`on_full = refuse`).
        """
        self.check()
        rules = self._rules()
        kind = EventType(event.type)
        if kind in TOPIC_EVENTS:
            targets = rules.targets(kind, _real(event.topic) if kind in _FILTERS else event.topic)
        else:
            targets = rules.lanes(kind)
        if targets and rules.conditions:
            event.targets = targets
            targets = rules.passing(event)
        journal = self.journal
        if kind is _PUBLISH:
            if journal.full and not journal.full.isdisjoint(targets):
                raise NotTaken("an endpoint that wants it is full (backlog.on_full = refuse)")
        elif journal.overfull:
            targets = tuple([lane for lane in targets if lane not in journal.overfull])
        if not targets:
            return False
        event.targets = targets
        journal.append(event)
        return True

    async def stored(self) -> None:
        """Wait until all that has joined the batch so far is durable."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.journal.after(_release, future)
        await future


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():  # the caller may have given up
        future.set_result(None)


def _real(topic_filter: str) -> str:
    """The filter that a shared subscription shares; any other as it is."""
    try:
        shared = parse_shared(topic_filter)
    except ValueError:
        return topic_filter
    return shared[1] if shared else topic_filter
