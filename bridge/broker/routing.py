"""Application messages: made of a PUBLISH or a will, retained, given to all who subscribed, or to nobody."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from bridge.broker.client import MESSAGE_SIZE, Client, Message, message_size
from bridge.broker.hooks import NO_ACL, SUPERUSER
from bridge.broker.outgoing import deliver, enqueue, give_up, keep, send_launched, takes_now
from bridge.broker.records import RETAIN_BIT
from bridge.broker.session import Delivery, forwardable
from bridge.events.js_json import LARGE
from bridge.mqtt.packets import Publish

if TYPE_CHECKING:
    from bridge.broker.queues import Kept
    from bridge.broker.server import Broker
    from bridge.broker.session import Session, Subscribed
    from bridge.broker.subscriptions import Match, Matched
    from bridge.mqtt.packets import Will

log = logging.getLogger(__name__)

Run = list[tuple["Session", Delivery, int]]
"""Messages that follow each other, to be sent when they are durable: to whom, and the packet id of what is
already in flight to a stored session, else 0."""


def make_message(broker: Broker, client: Client, publish: Publish, ts: int, number: int) -> Message:
    """The application message of a PUBLISH or a will, received at `ts` (Unix ms)."""
    topic, payload, properties = publish.topic, publish.payload, publish.properties
    expires = expiry = None
    size = len(payload) + len(topic) + MESSAGE_SIZE
    if properties is not None:
        expiry = properties.message_expiry_interval
        if expiry is not None:
            expires = broker.loop.time() + expiry
        properties = forwardable(properties)
        size = message_size(topic, payload, properties)
    qos, retain = publish.qos, publish.retain
    return Message(topic, payload, qos, retain, properties, client, ts, expires, size, number, expiry)


def publish_will(broker: Broker, client: Client, will: Will) -> None:
    """Publish a will like any message of its client; its expiry counts from now (section 3.1.3.2.4)."""
    packet = Publish(will.topic, will.payload, will.qos, will.retain, properties=will.properties)
    allowed, source = True, SUPERUSER if client.superuser else NO_ACL
    if broker.subscriptions.match(packet.topic).reserved:  # as its client may not publish there
        allowed, source = False, NO_ACL
    elif client.access is not None:  # its rules may have changed since its CONNECT
        allowed, source = client.access.decide("publish", will.topic, will.qos, will.retain) or (True, "http")
    for on_authorized in broker.hooks.on_authorized:
        on_authorized(client, "publish", packet.topic, allowed, source)
    if not allowed:
        broker.stats.rejected += 1
        return
    # The session of that client id counts as the sender: no local ([MQTT-3.8.3-3]).
    _accept(broker, client, packet, broker.sessions.get(client.clientid))


class Published(NamedTuple):
    """What became of a message: `code` is 0, or the PUBACK reason code (>= 0x80) that refused it.

    `number` is the message's own since the broker's start; `anyone`: somebody has subscribed to its topic.
    """

    code: int
    number: int = 0
    anyone: bool = False


def publish_from_outside(broker: Broker, client: Client, packet: Publish) -> Published:
    """Publish a message that came by another way than a client's connection; `client` stands for its sender.

    It joins the journal's open batch, and goes to subscribers once that is durable. The topic is a valid one.
    """
    hooks = broker.hooks
    for on_authorized in hooks.on_authorized:
        on_authorized(client, "publish", packet.topic, True, NO_ACL)
    for check in hooks.on_publish:
        code = check(client, packet)
        if code:
            broker.stats.rejected += 1
            return Published(code)
    return _accept(broker, client, packet, None)


@asynccontextmanager
async def looked_into(broker: Broker, client: Client, packet: Publish) -> AsyncIterator[None]:
    """Before `publish_from_outside`, which comes inside: have a large payload looked into beside the loop."""
    async with AsyncExitStack() as stack:
        if len(packet.payload) > LARGE:
            for hook in broker.hooks.on_large:
                looking = hook(client, packet)
                if looking is not None:
                    await stack.enter_async_context(looking)
        yield


def _accept(broker: Broker, client: Client, packet: Publish, sender: Session | None) -> Published:
    ts = broker.now_ms()
    hooks = broker.hooks
    number = broker.numbered = broker.numbered + 1
    for on_published in hooks.on_published:
        on_published(client, packet, ts, number)
    message = make_message(broker, client, packet, ts, number)
    if message.retain:
        retain(broker, message)
    broker.stats.received += 1
    matched = broker.subscriptions.match(packet.topic)
    if matched.anyone:
        hand_on(broker, message, sender, matched)
    else:
        for on_dropped in hooks.on_dropped:
            on_dropped(client, packet, ts, number, "no_subscribers")
    return Published(0, number, matched.anyone)


def drop(broker: Broker, client: Client, publish: Publish, reason: str) -> None:
    """Tell of a PUBLISH that is not accepted although its client may publish it."""
    number = broker.numbered = broker.numbered + 1
    for on_dropped in broker.hooks.on_dropped:
        on_dropped(client, publish, broker.read_at, number, reason)


def retain(broker: Broker, message: Message) -> None:
    """Keep, replace or delete the topic's retained message."""
    if not broker.retained.keep(message, broker.loop.time()) and broker.retained.refused == 1:
        log.warning("mqtt.max_retained: the bound is reached, further messages are not retained")
    broker.journal.touch()


def hand_on(broker: Broker, message: Message, sender: Session | None, matched: Matched) -> None:
    """Give an accepted message to all who get it, once it is durable.

    What stored sessions are to get joins the batch now, so that it is stored when the publisher is told.
    """
    if matched.durable and message.qos:
        run = broker.run
        if run is None:
            run = broker.run = []
            broker.journal.after(_dispatch, broker, run)
        _keep(broker, message, sender, matched, run)
    else:
        broker.run = None  # what comes later must not overtake this
        broker.journal.after(route, broker, message, sender)


def route(broker: Broker, message: Message, sender: Session | None) -> None:
    """Give a message to everybody who subscribed to its topic."""
    matched = broker.subscriptions.match(message.topic)
    if not matched.anyone:
        _dropped(broker, message)
    for match in matched.matches:
        session = match.session
        if session is sender and match.local is not match:
            delivery = _to_match(broker, message, sender, match)
            if delivery is None:
                continue
        else:
            qos = match.qos if match.qos < message.qos else message.qos
            retain = message.retain and match.retain_as_published
            delivery = Delivery(message, qos, retain, match.identifiers)
        connection = session.connection
        if connection is not None:
            deliver(connection, session, delivery)
        else:
            _deliver(broker, session, delivery)
    for group in matched.groups:
        member = group.pick()
        if member is not None:
            _deliver(broker, member.session, _to_member(message, member))


def _to_match(broker: Broker, message: Message, sender: Session | None, match: Match) -> Delivery | None:
    if match.session is sender:
        local = match.local
        if local is None:
            retained = message.retain and match.retain_as_published
            for on_delivery_dropped in broker.hooks.on_delivery_dropped:
                on_delivery_dropped(sender.client, message, min(message.qos, match.qos), retained, "no_local")
            return None
        match = local
    return Delivery(
        message,
        min(message.qos, match.qos),
        message.retain and match.retain_as_published,
        match.identifiers,
    )


def _to_member(message: Message, member: Subscribed) -> Delivery:
    options = member.options
    return Delivery(
        message,
        min(message.qos, options.qos),
        message.retain and options.retain_as_published,
        None if member.identifier is None else [member.identifier],
    )


def _keep(broker: Broker, message: Message, sender: Session | None, matched: Matched, run: Run) -> None:
    """Keep a message for stored sessions; what is to be sent once it is durable joins `run`.

    What waits in a stored session's queue is not in it: it goes out when the client takes it.
    """
    kept: Kept | None = None
    waiting: Delivery | None = None  # one for all queues of those who get it alike
    got: set[Session] | None = set() if matched.groups else None
    queues = broker.queues
    settings = broker.settings
    max_len, max_bytes = settings.max_mqueue_len, settings.max_mqueue_bytes
    size = message.size
    room = False
    to: list[int] = []
    places: dict[Session, int] = {}
    for found in matched.matches:
        match = found
        session = match.session
        if session is sender and match.local is not match:
            if match.local is None:
                _to_match(broker, message, sender, match)  # tells of it
                continue
            match = match.local
        qos = match.qos if match.qos < message.qos else message.qos
        retain = message.retain and match.retain_as_published
        if not session.stored or not qos:
            run.append((session, Delivery(message, qos, retain, match.identifiers), 0))
            continue
        if kept is None:
            kept = queues.add(message)
            room = not queues.full
            to = kept.to
            places = kept.chunk.places
        if got is not None:
            got.add(session)
        if session.connection is not None and takes_now(session):
            delivery = Delivery(message, qos, retain, match.identifiers)
            queues.claim(kept, session, delivery)
            run.append((session, delivery, queues.launch(kept, session, delivery)))
            continue
        if (
            waiting is None
            or waiting.qos != qos
            or waiting.retain != retain
            or waiting.identifiers is not match.identifiers
        ):
            waiting = Delivery(message, qos, retain, match.identifiers)
        queue = session.queue
        if (
            queue
            and room
            and len(queue) < max_len
            and session.queue_bytes + size <= max_bytes
            and match.identifiers is None
        ):
            # What `keep` does where there is room: this runs for every absent session of every message.
            waiting.kept = kept
            queue.append(waiting)
            session.queue_bytes += size
            place = places.get(session)
            if place is None:
                place = places[session] = len(places)
            to += (place, qos | RETAIN_BIT if retain else qos)
        else:
            keep(broker, session, waiting, kept)
    if kept is not None:
        queues.refer(kept)
    for group in matched.groups:
        member = group.pick()
        if member is None:
            continue
        session = member.session
        delivery = _to_member(message, member)
        if not session.stored or not delivery.qos:
            run.append((session, delivery, 0))
            continue
        if kept is None or got is None or session in got:  # a place is good for one delivery a session
            kept, got = broker.queues.add(message), set()
        got.add(session)
        if takes_now(session):
            queues.claim(kept, session, delivery)
            run.append((session, delivery, queues.launch(kept, session, delivery)))
        else:
            keep(broker, session, delivery, kept)
        queues.refer(kept)


def _dispatch(broker: Broker, run: Run) -> None:
    """The messages of a run are durable: send them."""
    for session, delivery, packet_id in run:
        if packet_id:
            send_launched(session, delivery, packet_id)
        elif broker.sessions.get(session.clientid) is session:
            _deliver(broker, session, delivery)


def _dropped(broker: Broker, message: Message) -> None:
    """Whoever the message was for has gone since it was accepted."""
    publish = Publish(
        message.topic, message.payload, message.qos, message.retain, properties=message.received()
    )
    for on_dropped in broker.hooks.on_dropped:
        on_dropped(message.client, publish, message.ts, message.number, "no_subscribers")


def _deliver(broker: Broker, session: Session, delivery: Delivery) -> None:
    connection = session.connection
    if connection is not None:
        deliver(connection, session, delivery)
    elif delivery.qos:
        enqueue(broker, session, delivery)
    else:
        give_up(broker, session, delivery, "qos0_msg")
