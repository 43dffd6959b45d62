"""Messages that are business events: offered to who makes events of them, before each is accepted.

The event joins the journal's batch of its message, so that the PUBACK or PUBREC promises both. What HookMQ
publishes itself is not offered, so that an event that goes out by MQTT does not come back as another.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from bridge.broker.client import Client
from bridge.broker.hooks import ACCEPT, Hooks
from bridge.mqtt.packets import Publish
from bridge.mqtt.reasons import ReasonCode

Refusal = Literal["", "type", "data", "full"]


class Lifter(Protocol):
    """Makes events of messages."""

    def offer(
        self, topic: str, payload: bytes, clientid: str, username: str | None, peername: str, *, strict: bool
    ) -> Refusal:
        """Look at a message that is not accepted yet; what is to be refused is named.

        `strict`: its sender can be told that its type or its data is refused. Else it is accepted, and no
        event comes of it.
        """

    def looking(self, topic: str, payload: bytes) -> AbstractAsyncContextManager[None] | None:
        """What reads a payload beside the loop when it is entered; inside, `offer` knows what it is. None: no
        event comes of the topic."""

    def take(self) -> None:
        """The message that was offered last has been accepted: its event, if any, joins the open batch."""


_CODES = {
    "type": ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    "data": ReasonCode.PAYLOAD_FORMAT_INVALID,
    "full": ReasonCode.QUOTA_EXCEEDED,
}


class LiftHooks(Hooks):
    """Comes last of all hooks: what it is asked about, nobody else refuses."""

    def __init__(self, lifter: Lifter) -> None:
        self._lifter = lifter
        self._offered: Publish | None = None

    def _offer(self, client: Client, publish: Publish, *, strict: bool) -> Refusal:
        return self._lifter.offer(
            publish.topic, publish.payload, client.clientid, client.username, client.peername, strict=strict
        )

    def on_large(self, client: Client, publish: Publish) -> AbstractAsyncContextManager[None] | None:
        return None if client.own else self._lifter.looking(publish.topic, publish.payload)

    def on_publish(self, client: Client, publish: Publish) -> int:
        self._offered = None
        if client.own:
            return ACCEPT
        refused = self._offer(client, publish, strict=client.proto_ver >= 5 and publish.qos > 0)
        if refused:
            return _CODES[refused]
        self._offered = publish
        return ACCEPT

    def on_published(self, client: Client, publish: Publish, ts: int, number: int) -> None:
        if publish is not self._offered and (  # a will, which nobody is asked about
            client.own or self._offer(client, publish, strict=False)
        ):
            return
        self._offered = None
        self._lifter.take()
