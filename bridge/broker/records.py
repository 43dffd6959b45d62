"""How messages stand in the store: those that wait for subscribers, in chunks, and retained ones, one by one.

A chunk holds the messages that one turn of the loop brought for stored sessions, each once, with all the
sessions that are to get it. Structs are array-like: new fields come last and have defaults, so that older
stores are read too. Times are Unix ms; an expiry that is due counts on while nothing runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from bridge.broker.client import Client, Message, message_size
from bridge.mqtt.packets import Properties

QOS_BITS = 3
RETAIN_BIT = 4
_SENDERS = 4096
"""Publishers that are remembered while retained messages are read."""


class Sender(msgspec.Struct, array_like=True):
    """Whose message it is."""

    clientid: str
    username: str | None
    peername: str
    proto_ver: int


class Entry(msgspec.Struct, array_like=True):
    """One message of a chunk. `to` names its deliveries: place in the chunk's `sessions`, then flags (QoS and
    RETAIN), and so on; `identifiers` are those of a session's subscriptions, by its place.

    Encoded as a tuple in this order (`Queues`), since that is faster.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties | None
    sender: int  # place in the chunk's `senders`
    ts: int
    expires: int | None  # Unix ms
    expiry: int | None  # seconds that it had when it came
    number: int
    to: list[int]
    identifiers: dict[int, list[int]] | None
    origin: str | None = None  # where it is not the chunk's


class ChunkRow(msgspec.Struct, array_like=True):
    """A chunk. `origin` is that of the message ids; entries that nobody needs any more are None."""

    origin: str
    sessions: list[str]
    senders: list[Sender]
    entries: list[Entry | None]


class RetainedRow(msgspec.Struct, array_like=True):
    """A retained message; its topic is the row's key."""

    origin: str
    payload: bytes
    qos: int
    properties: Properties | None
    sender: Sender
    ts: int
    expires: int | None
    expiry: int | None
    number: int


encode = msgspec.msgpack.Encoder().encode
decode_chunk = msgspec.msgpack.Decoder(ChunkRow).decode
decode_retained = msgspec.msgpack.Decoder(RetainedRow).decode


class Clock:
    """Between loop time, which everything in memory counts in, and Unix ms, which a store needs."""

    __slots__ = ("_now", "_now_ms")

    def __init__(self, now: float, now_ms: int) -> None:
        self._now = now
        self._now_ms = now_ms

    def stored(self, expires: float | None) -> int | None:
        """An expiry in loop time as Unix ms."""
        return None if expires is None else self._now_ms + round((expires - self._now) * 1000)

    def restored(self, expires: int | None, expiry: int | None) -> float | None:
        """An expiry in Unix ms as loop time. A clock that was set back lengthens no message's life beyond the
        `expiry` seconds that it had."""
        if expires is None:
            return None
        left = (expires - self._now_ms) / 1000
        return self._now + (left if expiry is None else min(left, expiry))


def sender_of(client: Client) -> Sender:
    """What is kept of a message's publisher."""
    return Sender(client.clientid, client.username, client.peername, client.proto_ver)


def sender_client(sender: Sender) -> Client:
    """The publisher of a restored message, as events show it."""
    return Client(
        clientid=sender.clientid,
        username=sender.username,
        peername=sender.peername,
        proto_ver=sender.proto_ver,
    )


def encode_message(message: Message, clock: Clock, origin: str) -> bytes:
    """A retained message as its row."""
    return encode(
        RetainedRow(
            message.origin or origin,
            message.payload,
            message.qos,
            message.properties,
            sender_of(message.client),
            message.ts,
            clock.stored(message.expires),
            message.expiry,
            message.number,
        )
    )


def decode_message(topic: str, row: bytes, clock: Clock, senders: dict[bytes, Client]) -> Message:
    """A retained message of an earlier process. Raises msgspec.DecodeError.

    `senders` are those of the messages before: most messages come from few.
    """
    kept = decode_retained(row)
    name = encode(kept.sender)
    sender = senders.get(name)
    if sender is None:
        if len(senders) >= _SENDERS:
            senders.clear()
        sender = senders[name] = sender_client(kept.sender)
    return Message(
        topic,
        kept.payload,
        kept.qos,
        True,
        kept.properties,
        sender,
        kept.ts,
        clock.restored(kept.expires, kept.expiry),
        message_size(topic, kept.payload, kept.properties),
        kept.number,
        kept.expiry,
        origin=sys.intern(kept.origin),
    )


def decode_entry(entry: Entry, senders: Sequence[Client], clock: Clock, origin: str) -> Message:
    """A queued message of an earlier process."""
    return Message(
        entry.topic,
        entry.payload,
        entry.qos,
        entry.retain,
        entry.properties,
        senders[entry.sender],
        entry.ts,
        clock.restored(entry.expires, entry.expiry),
        message_size(entry.topic, entry.payload, entry.properties),
        entry.number,
        entry.expiry,
        origin=entry.origin or origin,
    )


def entry_of(
    message: Message,
    sender: int,
    clock: Clock,
    to: list[int],
    identifiers: dict[int, list[int]] | None,
) -> tuple[Any, ...]:
    """A queued message as `Entry` has it."""
    return (
        message.topic,
        message.payload,
        message.qos,
        message.retain,
        message.properties,
        sender,
        message.ts,
        None if message.expires is None else clock.stored(message.expires),
        message.expiry,
        message.number,
        to,
        identifiers,
        message.origin,
    )
