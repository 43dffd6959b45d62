"""Topic filters, subscription options and shared subscriptions (sections 3.8, 3.10, 4.7, 4.8)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from bridge.broker.client import Client as BrokerClient
from bridge.broker.hooks import Hooks
from bridge.broker.routing import publish_from_outside
from bridge.mqtt.packets import (
    Properties,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client

# What section 4.7 says of its own examples.
MATCHES = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/#", "sport", True),
    ("#", "anything/at/all", True),
    ("#", "/", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("#", "$SYS/monitor/Clients", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/monitor/Clients", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("Accounts", "ACCOUNTS", False),
    ("Accounts payable", "Accounts payable", True),
    ("/A", "A", False),
    ("a/+/c/#", "a/b/c/d/e", True),
    ("é/#", "é/ñ", True),
]


@pytest.mark.mqtt3("3.3.2-3", "4.7.1-2", "4.7.1-3", "4.7.2-1")
@pytest.mark.mqtt5("3.3.2-3", "4.7.1-1", "4.7.1-2", "4.7.2-1")
@pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHES)
async def test_wildcards(broker: Running, topic_filter: str, topic: str, expected: bool) -> None:
    client = await broker.connect("c")
    await client.subscribe(topic_filter)
    if topic.startswith("$SYS/"):  # which is the broker's own
        sender = BrokerClient(clientid="broker", username=None, peername="")
        publish_from_outside(broker.broker, sender, Publish(topic, b"x"))
    else:
        await client.publish(topic, b"x")
    if expected:
        assert (await client.expect(Publish)).topic == topic
    await client.silent()


@pytest.mark.mqtt3("4.7.1-2", "4.7.1-3", "4.7.3-1")
@pytest.mark.mqtt5("4.7.1-1", "4.7.1-2", "4.7.3-1", "4.8.2-1", "4.8.2-2")
@pytest.mark.parametrize(
    "topic_filter", ["a/#/b", "a#", "a/b+", "+a", "", "$share//a", "$share/g", "$share/g/", "$share/+/a"]
)
async def test_an_invalid_filter(broker: Running, version: int, topic_filter: str) -> None:
    client = await broker.connect("c", version=version)
    client.send(Subscribe(1, [Subscription("ok"), Subscription(topic_filter)]))
    # 0x8F in a SUBACK is for filters that are correctly formed (section 3.9.3).
    await client.expect_disconnect(0x82 if topic_filter.startswith("$share") else 0x81)
    assert broker.recorder.of("subscribe", "subscribed") == []  # nothing of a malformed packet counts


@pytest.mark.mqtt3("3.8.3-3")
@pytest.mark.mqtt5("3.8.3-2")
async def test_a_subscribe_without_filters(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-3.8.3-2]
    client.raw(b"\x82\x02\0\x01" if version < 5 else b"\x82\x03\0\x01\0")
    await client.expect_disconnect(0x82)


@pytest.mark.mqtt5("3.9.3-2")
async def test_too_many_levels(start: Start) -> None:
    broker = await start(max_topic_levels=3)
    client = await broker.connect("c", version=5)
    assert await client.subscribe("a/b/c") == 0
    assert await client.subscribe("a/b/c/d") == 0x8F
    assert await client.subscribe("$share/g/a/b/c") == 0
    assert await client.subscribe("$share/g/a/b/c/d") == 0x8F
    client.send(Publish("a/b/c/d", b"x"))
    await client.expect_disconnect(0x90)
    for version in (3, 4):
        for packet in (Subscribe(1, [Subscription("a/b/c/d")]), Publish("a/b/c/d", b"x")):
            client = await broker.connect("c", version=version)
            client.send(packet)
            assert await client.wait_closed() == []


async def test_as_many_levels_as_mosquitto_takes(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    for topic in ("/" * 200, "abc/" * 199 + "d"):
        assert await client.subscribe(topic) == 0
        await client.publish(topic, b"x")
        assert (await client.expect(Publish)).topic == topic
    client.send(Publish("/" * 201, b"x"))
    await client.expect_disconnect(0x90)


@pytest.mark.mqtt3("3.3.5-1")
@pytest.mark.mqtt5("3.3.4-2")
async def test_overlapping_subscriptions_are_one_message_of_the_highest_qos(
    broker: Running, version: int
) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-3.3.4-2]
    await client.subscribe("a/b", 0)
    await client.subscribe("a/+", 2)
    await client.subscribe("#", 1)
    client.send(Publish("a/b", b"x", 2, packet_id=99))
    assert (await client.expect(Publish)).qos == 2
    await client.ping()
    assert not [p for p in client.inbox if type(p) is Publish]


@pytest.mark.mqtt3("3.8.4-3")
@pytest.mark.mqtt5("3.8.4-3")
async def test_a_subscription_is_replaced(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-3.8.4-3]
    await client.subscribe("a", 0)
    await client.subscribe("a", 1)
    await client.publish("a", b"x", 1)
    assert (await client.expect(Publish)).qos == 1
    await client.silent()
    assert len(broker.broker.subscriptions) == 1


@pytest.mark.mqtt3("2.3.1-7", "3.10.4-2", "3.10.4-4", "3.10.4-5", "3.10.4-6")
@pytest.mark.mqtt5("2.2.1-6", "3.10.4-2", "3.10.4-4", "3.10.4-5", "3.10.4-6", "3.11.3-1", "3.11.3-2")
async def test_unsubscribe(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    client.send(Subscribe(1, [Subscription("a"), Subscription("b/#"), Subscription("c")]))
    await client.expect(Suback)
    client.send(Unsubscribe(2, ["a", "b/#", "never", "a"]))
    codes = [0, 0, 0x11, 0x11] if version == 5 else []
    assert await client.expect(Unsuback) == Unsuback(2, codes)
    for topic in ("a", "b/x", "c"):
        await client.publish(topic, b"x")
    assert (await client.expect(Publish)).topic == "c"
    await client.silent()
    assert broker.recorder.of("unsubscribe", "unsubscribed") == [
        ("unsubscribe", "c", "a"),
        ("unsubscribed", "c", "a"),
        ("unsubscribe", "c", "b/#"),
        ("unsubscribed", "c", "b/#"),
        ("unsubscribe", "c", "never"),
        ("unsubscribe", "c", "a"),
    ]
    assert broker.broker.sessions["c"].subscription_bytes == broker.broker.subscriptions.bytes == 513


@pytest.mark.mqtt5("3.9.3-2")
async def test_subscriptions_are_bounded_in_number(start: Start, version: int) -> None:
    broker = await start(max_subscriptions=100)
    client = await broker.connect("c", version=version)
    client.send(Subscribe(1, [Subscription(f"t/{number}") for number in range(150)]))
    full = 0x97 if version == 5 else 0x80
    assert (await client.expect(Suback)).reason_codes == [0] * 100 + [full] * 50
    assert await client.subscribe("t/7", 1) == 1  # one that is there may change
    await client.unsubscribe("t/7")
    assert await client.subscribe("t/120") == 0
    assert len(broker.broker.subscriptions) == 100


async def test_ten_thousand_subscriptions(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    client.send(Subscribe(1, [Subscription(f"plant/{n % 100}/{n}/+") for n in range(10_001)]))
    codes = (await client.expect(Suback)).reason_codes
    assert codes == [0] * 10_000 + [0x97]
    await client.publish("plant/42/4242/x", b"x")
    await client.expect(Publish)
    await client.disconnect()
    await broker.until(lambda: len(broker.broker.subscriptions) == 0)


async def test_subscriptions_are_bounded_in_bytes(start: Start) -> None:
    broker = await start(max_mqueue_bytes=14_000)
    client = await broker.connect("c", version=5)
    codes = [await client.subscribe("x" * 1000 + f"{number}") for number in range(12)]
    assert codes == [0] * 9 + [0x97] * 3
    await client.unsubscribe("x" * 1000 + "0")
    assert await client.subscribe("x" * 1000 + "11") == 0


class Guarded(Hooks):
    def on_subscribe(self, client: BrokerClient, subscription: Subscription, properties: object) -> int:
        return 0x87 if subscription.topic_filter.startswith("secret") else 0


@pytest.mark.mqtt3("3.8.4-5", "3.9.3-2")
@pytest.mark.mqtt5("3.8.4-6", "3.8.4-7")
async def test_a_hook_may_refuse_a_subscription(start: Start, version: int) -> None:
    broker = await start(hooks=(Guarded(),))
    client = await broker.connect("c", version=version)
    client.send(Subscribe(1, [Subscription("secret/#"), Subscription("open", 1)]))
    assert (await client.expect(Suback)).reason_codes == [0x87 if version == 5 else 0x80, 1]
    assert broker.recorder.of("subscribed") == [("subscribed", "c", "open", 1)]


@pytest.mark.mqtt5("3.8.3-3")
async def test_no_local(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # [MQTT-3.8.3-3]
    other = await broker.connect("o", version=5)
    await client.subscribe("a", 1, no_local=True)
    await client.publish("a", b"mine", 1)
    await client.silent()
    await other.publish("a", b"other", 1)
    assert (await client.expect(Publish)).payload == b"other"


async def test_no_local_on_one_of_two_overlapping_subscriptions(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    other = await broker.connect("o", version=5)
    await client.subscribe("a", 2, no_local=True, identifier=1)
    await client.subscribe("#", 1, identifier=2)
    await client.publish("a", b"mine", 1)
    message = await client.expect(Publish)
    assert (message.qos, message.properties) == (1, Properties(subscription_identifier=[2]))
    await other.publish("a", b"other", 1)
    message = await client.expect(Publish)
    assert message.properties is not None
    assert sorted(message.properties.subscription_identifier or ()) == [1, 2]


@pytest.mark.mqtt5("3.8.3-4")
async def test_no_local_on_a_shared_subscription(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # [MQTT-3.8.3-4]
    client.send(Subscribe(1, [Subscription("$share/g/a", no_local=True)]))
    await client.expect_disconnect(0x82)


@pytest.mark.mqtt5("3.3.4-3", "3.3.4-4")
async def test_subscription_identifiers(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # [MQTT-3.3.4-3] to [MQTT-3.3.4-5]
    await client.subscribe("a/b", identifier=1)
    await client.subscribe("a/+", identifier=268435455)
    await client.subscribe("#")
    await client.subscribe("other", identifier=9)
    await client.publish("a/b", b"x")
    message = await client.expect(Publish)
    assert message.properties is not None
    assert sorted(message.properties.subscription_identifier or ()) == [1, 268435455]
    await client.subscribe("a/b", identifier=3)  # replaced
    await client.subscribe("a/+")  # taken away
    await client.publish("a/b", b"x")
    assert (await client.expect(Publish)).properties == Properties(subscription_identifier=[3])


@pytest.mark.mqtt5("3.3.2-4", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20")
async def test_what_goes_through_unaltered(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    await client.subscribe("a", 2)
    properties = Properties(
        payload_format_indicator=1,
        content_type="text/plain",
        response_topic="answer/here",
        correlation_data=b"\x00\x01\xff",
        user_property=[("b", "2"), ("a", "1"), ("b", "2")],
    )
    for qos in (0, 1, 2):
        client.send(Publish("a", b"\xff", qos, packet_id=qos + 90 if qos else 0, properties=properties))
        message = await client.expect(Publish)
        assert (message.payload, message.properties) == (b"\xff", properties)


async def test_properties_do_not_reach_older_clients(broker: Running) -> None:
    client = await broker.connect("c", version=4)
    publisher = await broker.connect("p", version=5)
    await client.subscribe("a", 1)
    await publisher.publish("a", b"x", 1, content_type="t", user_property=[("k", "v")])
    assert (await client.expect(Publish)).payload == b"x"


@pytest.mark.mqtt5("3.3.2-5", "3.3.2-6")
async def test_message_expiry(broker: Running) -> None:
    publisher = await broker.connect("p", version=5)
    session = Properties(session_expiry_interval=100)
    client = await broker.connect("c", version=5, clean=False, properties=session)
    await client.subscribe("a", 1)
    await publisher.publish("a", b"now", 1, message_expiry_interval=10)
    message = await client.expect(Publish)
    assert message.properties is not None
    assert message.properties.message_expiry_interval in (9, 10)
    await client.disconnect()
    await publisher.publish("a", b"short", 1, message_expiry_interval=1)
    await publisher.publish("a", b"long", 1, message_expiry_interval=10)
    await publisher.publish("a", b"zero", 1, message_expiry_interval=0)
    await publisher.publish("a", b"forever", 1)
    await asyncio.sleep(1.1)
    client = await broker.connect("c", version=5, clean=False, properties=session)
    await client.expect(Publish)  # "now" again, which was not acknowledged
    message = await client.expect(Publish)  # [MQTT-3.3.2-5]
    assert message.payload == b"long"
    assert message.properties is not None
    assert message.properties.message_expiry_interval in (7, 8, 9)  # [MQTT-3.3.2-6]
    message = await client.expect(Publish)
    assert (message.payload, message.properties) == (b"forever", None)
    await client.silent()
    assert len(broker.broker.sessions["c"].inflight) == 3


async def test_expired_messages_are_not_sent_to_older_clients(broker: Running) -> None:
    publisher = await broker.connect("p", version=5)
    client = await broker.connect("c", clean=False)
    await client.subscribe("a", 1)
    await client.disconnect()
    await publisher.publish("a", b"zero", 1, message_expiry_interval=0)
    await publisher.publish("a", b"x", 1)
    client = await broker.connect("c", clean=False)
    assert (await client.expect(Publish)).payload == b"x"
    await client.silent()


async def members(
    broker: Running, count: int, topic_filter: str = "$share/g/a/#", qos: int = 1
) -> list[Client]:
    clients = [await broker.connect(f"m{number}", version=5) for number in range(count)]
    for client in clients:
        assert await client.subscribe(topic_filter, qos) == qos
    return clients


async def received(clients: list[Client]) -> list[list[bytes]]:
    for client in clients:
        await client.ping()
    return [[p.payload for p in client.inbox if type(p) is Publish] for client in clients]


async def test_one_member_of_a_group_gets_each_message(broker: Running) -> None:
    clients = await members(broker, 3)  # [MQTT-4.8.2-4]
    other_group = await broker.connect("h", version=5)
    await other_group.subscribe("$share/h/a/x")
    alone = await broker.connect("alone")
    await alone.subscribe("a/#")
    publisher = await broker.connect("p")
    for number in range(30):
        await publisher.publish("a/x", b"%d" % number, 1)
    got = await received(clients)
    assert sorted(int(p) for part in got for p in part) == list(range(30))
    assert [len(part) for part in got] == [10, 10, 10]
    assert [len(part) for part in await received([other_group, alone])] == [30, 30]


async def test_the_rest_goes_on_when_a_member_leaves(broker: Running) -> None:
    one, two, three = await members(broker, 3)
    publisher = await broker.connect("p")
    await one.unsubscribe("$share/g/a/#")
    await two.disconnect()
    for number in range(10):
        await publisher.publish("a/x", b"%d" % number, 1)
    assert [len(part) for part in await received([one, three])] == [0, 10]
    await three.unsubscribe("$share/g/a/#")
    assert len(broker.broker.subscriptions) == 0
    await publisher.publish("a/x", b"", 1)


async def test_absent_members_get_messages_only_if_nobody_is_there(broker: Running) -> None:
    session = Properties(session_expiry_interval=100)
    away = await broker.connect("away", version=5, properties=session)
    await away.subscribe("$share/g/a", 1)
    await away.disconnect()
    here = await broker.connect("here", version=5)
    await here.subscribe("$share/g/a", 1)
    publisher = await broker.connect("p")
    for _ in range(4):
        await publisher.publish("a", b"1", 1)
    assert await received([here]) == [[b"1"] * 4]
    await here.disconnect()
    await publisher.publish("a", b"2", 1)
    away = await broker.connect("away", version=5, clean=False, properties=session)
    assert (await away.expect(Publish)).payload == b"2"


async def test_members_of_a_group_take_turns_from_the_first_on(broker: Running) -> None:
    members = [await broker.connect(f"m{number}", version=5) for number in range(3)]
    for member in members:
        await member.subscribe("$share/g/a")
    publisher = await broker.connect("p")
    for number in range(4):
        await publisher.publish("a", b"%d" % number)
        message = await members[number % 3].expect(Publish)
        assert message.payload == b"%d" % number
    for member in members:
        await member.silent()


async def test_a_shared_subscription_gets_no_retained_messages(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # section 4.8.2
    await client.publish("a/x", b"x", retain=True)
    await client.subscribe("$share/g/a/#")
    await client.silent()


@pytest.mark.mqtt5("3.3.4-5", "4.8.2-3")
async def test_a_shared_subscription_is_apart_from_the_clients_own(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    await client.subscribe("$share/g/a", 0, identifier=1)
    await client.subscribe("a", 1, identifier=2)
    await client.publish("a", b"x", 1)
    got: Counter[tuple[int, ...]] = Counter()
    for _ in range(2):
        message = await client.expect(Publish)
        assert message.properties is not None
        got[message.qos, *(message.properties.subscription_identifier or ())] += 1
    assert got == {(0, 1): 1, (1, 2): 1}


async def test_a_shared_subscription_is_replaced(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    await client.subscribe("$share/g/a", 0)
    await client.subscribe("$share/g/a", 1)
    await client.publish("a", b"x", 1)
    assert (await client.expect(Publish)).qos == 1
    await client.silent()


async def test_the_topic_of_a_long_name_is_matched_and_not_remembered(broker: Running) -> None:
    client = await broker.connect("c")
    await client.subscribe("#")
    long = "x" * 60_000
    await client.publish(long, b"x")
    assert (await client.expect(Publish)).topic == long
    assert not broker.broker.subscriptions._cache
