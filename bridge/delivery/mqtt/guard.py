"""What keeps a publisher from publishing for ever what it has published itself.

What a publisher of this HookMQ publishes is a message like any other where it arrives, and may be an event
again: by a rule on messages, or lifted to a business event. No publisher is sent such an event, whichever of
them has published it; webhooks are. It is known by the sender's client id, which stands in events of messages
and of clients alike, also where the publisher comes in by a listener of its own broker.
"""

from __future__ import annotations

from collections.abc import Container

from bridge.events.event import Event
from bridge.events.rules import Condition


def not_published(clientids: Container[str], also: Condition | None) -> Condition:
    """A condition that no event meets whose client is one of these; `also` has to be met too."""
    if also is None:
        return lambda event: event.clientid not in clientids
    wanted = also

    def condition(event: Event) -> bool:
        return event.clientid not in clientids and wanted(event)

    return condition
