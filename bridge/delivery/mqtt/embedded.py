"""Publishing at the broker of this process: an event is settled when its message is durable.

The message fires the hooks as any other, so that webhooks see it. It has no time limit: it waits for nothing
but the store.
"""

from __future__ import annotations

import asyncio

from bridge.delivery.connect import Network
from bridge.delivery.mqtt.message import Message, MqttTransport
from bridge.delivery.mqtt.place import ID, Place
from bridge.delivery.retry import ErrorKind, Outcome
from bridge.telemetry.trace_context import to_pairs

BUSY = frozenset({"quota_exceeded", "server_busy", "receive_maximum_exceeded", "message_rate_too_high"})
"""Reason codes that ask for less at a time."""


class EmbeddedTransport(MqttTransport):
    """Messages for the broker that `network.local` is by then."""

    def __init__(self, place: Place, size: int, network: Network, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(place, size, 0.0, loop)
        self._network = network

    def twin(self) -> EmbeddedTransport:
        """See `Transport`."""
        return EmbeddedTransport(self.place, 1, self._network, self._loop)

    def room(self) -> int:
        """See `MqttTransport`."""
        return self.size

    def begin(self, message: Message) -> None:
        """See `MqttTransport`."""
        broker = self._network.local
        place = self.place
        kind: ErrorKind = "refused"
        if broker is None:
            refusal = "there is no broker in this process"
        else:
            seq = message.seq
            try:
                refusal = broker.publish(
                    *(place.clientid, message.topic, message.payload, place.qos, place.retain),
                    place.content_type,
                    [(ID, message.identifier), *(() if message.trace is None else to_pairs(message.trace))],
                    lambda: self._stored(message, seq),
                )
            except ValueError as error:
                refusal = str(error)
                kind = "body"
            if refusal in BUSY:
                kind = "busy"
        if refusal:
            self._loop.call_soon(self._refused, message, message.seq, Outcome(error=kind, text=refusal))

    def _stored(self, message: Message, seq: int) -> None:
        if message.busy and message.seq == seq and not self._closed:
            self.succeed(message, b"accepted, and stored")

    def _refused(self, message: Message, seq: int, outcome: Outcome) -> None:
        if message.busy and message.seq == seq and not self._closed:
            self.fail(message, outcome)
