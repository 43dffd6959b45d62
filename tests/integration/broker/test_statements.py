"""Statements of the two standards that no other file of this folder shows; the marks say which."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.broker.auth import Authentication
from bridge.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client
from tests.unit.mqtt.cases import NONE, V5, packet, props, x


def stays(version: int, seconds: int = 1000, **more: Any) -> dict[str, Any]:
    """The options of `connect` for a session that outlives its connection."""
    properties = Properties(session_expiry_interval=seconds, **more) if version == 5 else None
    return {"version": version, "clean": False, "properties": properties}


async def received(client: Client) -> list[bytes]:
    """The payloads of all that the broker has sent by now."""
    await client.ping()
    return [p.payload for p in client.inbox if type(p) is Publish]


# -- CONNECT and its end -------------------------------------------------------------------------------------


@pytest.mark.mqtt3("3.1.3-5")
@pytest.mark.mqtt5("3.1.3-5")
async def test_client_ids_of_1_to_23_letters_and_digits(broker: Running, version: int) -> None:
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ids = [*letters, letters[:23], letters[23:46], letters[-23:]]
    for client_id in ids:
        await broker.connect(client_id, version=version)
    assert set(broker.broker.sessions) == set(ids)


@pytest.mark.mqtt3("3.2.2-4", "3.2.2-5")
@pytest.mark.mqtt5("3.2.2-6", "3.2.2-7")
async def test_a_refusal_never_says_that_a_session_is_present(start: Start, version: int) -> None:
    broker = await start(hooks=(Authentication(allow_anonymous=False, users={"ann": b"secret"}),))
    client = await broker.connect("c", username="ann", password=b"secret", **stays(version))
    await client.disconnect()
    thief = await broker.connect("c", username="ann", password=b"guess", code=None, **stays(version))
    assert thief.connack is not None
    assert (thief.connack.session_present, thief.connack.reason_code) == (False, 0x86 if version == 5 else 4)
    assert await thief.wait_closed() == []


@pytest.mark.mqtt3("3.1.2-24")
@pytest.mark.mqtt5("3.1.2-22", "3.2.2-22")
async def test_one_and_a_half_times_the_keepalive(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version, keepalive=2)
    if version == 5:
        assert client.connack is not None
        assert client.connack.properties is not None
        assert client.connack.properties.server_keep_alive is None
    began = broker.loop.time()
    await client.expect_disconnect(0x8D)
    assert 3.0 <= broker.loop.time() - began < 4.5


@pytest.mark.mqtt5("3.1.2-22")
@pytest.mark.parametrize("asked", [0, 3, 65535])
async def test_a_server_keep_alive_holds(start: Start, asked: int) -> None:
    broker = await start(max_keepalive=1, keepalive_multiplier=1.0)
    client = await broker.connect("c", version=5, keepalive=asked)
    assert client.connack is not None
    assert client.connack.properties is not None
    assert client.connack.properties.server_keep_alive == 1
    assert broker.broker.sessions["c"].client.keepalive == 1
    await client.expect_disconnect(0x8D)


async def test_a_keepalive_within_the_longest_is_left_alone(start: Start, version: int) -> None:
    broker = await start(max_keepalive=100)
    client = await broker.connect("c", version=version, keepalive=100)
    assert client.connack is not None
    assert client.connack.properties is None or client.connack.properties.server_keep_alive is None
    await client.silent()


@pytest.mark.parametrize("version", [3, 4])
async def test_older_clients_with_a_longer_keepalive_are_refused(
    start: Start, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    broker = await start(max_keepalive=100)
    client = await broker.connect("c", version=version, keepalive=101, code=2)
    assert await client.wait_closed() == []
    assert "keepalive 101, at most 100 is taken" in caplog.text
    assert not broker.broker.sessions
    client = await broker.connect("c", version=version, keepalive=0)  # there is no way to tell it otherwise
    await client.silent()


@pytest.mark.mqtt5("3.1.2-28", "4.12.0-6")
@pytest.mark.parametrize("asked", [None, 0, 1])
async def test_what_connack_never_has(broker: Running, asked: int | None) -> None:
    """No Response Information: there is none to give; no authentication where the client began none."""
    client = await broker.connect("c", version=5, request_response_information=asked)
    assert client.connack is not None
    properties = client.connack.properties
    assert properties is not None
    assert properties.response_information is None
    assert properties.authentication_method is None
    assert properties.authentication_data is None
    await client.silent()


@pytest.mark.mqtt5("3.1.2-29", "3.2.2-19", "3.2.2-20", "3.14.2-1", "3.14.2-2", "3.14.2-4")
@pytest.mark.parametrize(("asked", "told"), [(None, False), (0, False), (1, True)])
async def test_reason_strings_go_to_who_asks_for_them(broker: Running, asked: int | None, told: bool) -> None:
    client = await broker.connect("c", version=5, request_problem_information=asked)
    assert client.connack is not None
    assert client.connack.properties is not None
    assert client.connack.properties.reason_string is None
    client.send(Publish("", b"x", properties=Properties(topic_alias=7)))
    [goodbye] = await client.wait_closed()
    reason = Properties(reason_string="topic alias 7 was never set") if told else None
    assert goodbye == Disconnect(0x82, reason)


@pytest.mark.mqtt5("3.1.2-24", "3.14.2-3")
async def test_a_reason_string_that_is_too_large_is_left_out(broker: Running) -> None:
    properties = Properties(request_problem_information=1, maximum_packet_size=30)
    client = await broker.connect("c", version=5, properties=properties)
    client.send(Publish("", b"x", properties=Properties(topic_alias=7)))
    assert await client.wait_closed() == [Disconnect(0x82)]


@pytest.mark.mqtt3("4.1.0-1", "4.1.0-2")
@pytest.mark.mqtt5("4.1.0-1")
async def test_a_session_lasts_as_long_as_its_connection(start: Start, version: int) -> None:
    broker = await start(session_expiry_interval=1)
    client = await broker.connect("c", **stays(version, 1))
    await client.subscribe("a", 1)
    await client.publish("a", b"x", 1)
    message = await client.expect(Publish)
    await asyncio.sleep(1.7)  # longer than the session would be kept after its connection
    again = await broker.connect("c", **stays(version, 1))
    assert again.connack is not None
    assert again.connack.session_present == (version > 3)
    assert (await again.expect(Publish)).packet_id == message.packet_id


@pytest.mark.mqtt3("3.1.2-7")
async def test_retained_messages_are_no_part_of_the_session(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.publish("a", b"kept", 1, retain=True)
    await client.disconnect()
    assert not broker.broker.sessions
    other = await broker.connect("o", version=version)
    await other.subscribe("a", 1)
    assert (await other.expect(Publish)).payload == b"kept"


# -- wills ---------------------------------------------------------------------------------------------------


@pytest.mark.mqtt3("3.1.2-12")
async def test_without_a_will_nothing_is_published(broker: Running, version: int) -> None:
    watching = await broker.connect("watcher", version=version)
    await watching.subscribe("#", 1)
    client = await broker.connect("c", version=version)
    client.abort()
    await broker.until_away("c")
    await watching.silent()
    assert broker.recorder.of("publish") == []


@pytest.mark.mqtt3("3.1.2-10", "3.1.2-16")
@pytest.mark.mqtt5("3.1.2-10", "3.1.2-14")
async def test_a_will_is_published_once_and_kept_only_if_it_says_so(broker: Running, version: int) -> None:
    watching = await broker.connect("watcher", version=version)
    await watching.subscribe("will", 1)
    options = stays(version)
    client = await broker.connect("c", will=Will("will", b"gone", 1), **options)
    client.abort()
    assert (await watching.expect(Publish)).payload == b"gone"
    client = await broker.connect("c", **options)  # the session is the same, its will has gone
    client.abort()
    await broker.until_away("c")
    await watching.silent()
    await watching.unsubscribe("will")
    await watching.subscribe("will", 1)
    await watching.silent()
    assert len(broker.broker.retained) == 0


@pytest.mark.mqtt5("3.1.2-7", "3.1.2-8")
async def test_a_will_belongs_to_one_connect(broker: Running) -> None:
    watching = await broker.connect("watcher", version=5)
    await watching.subscribe("will", 1)
    await broker.connect("c", will=Will("will", b"first", 1), **stays(5))
    second = await broker.connect("c", will=Will("will", b"second", 1), **stays(5))
    assert (await watching.expect(Publish)).payload == b"first"  # no delay: due at the takeover
    second.abort()
    assert (await watching.expect(Publish)).payload == b"second"


# -- PUBLISH -------------------------------------------------------------------------------------------------


@pytest.mark.mqtt3("3.3.1-3")
@pytest.mark.mqtt5("3.3.1-3", "4.3.2-2", "4.3.3-2")
async def test_dup_is_not_passed_on(broker: Running, version: int) -> None:
    client = await broker.connect("s", version=version)
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=version)
    for qos in (1, 2):
        publisher.send(Publish("a", b"x", qos, dup=True, packet_id=qos))
        message = await client.expect(Publish)
        assert (message.qos, message.dup) == (qos, False)


@pytest.mark.mqtt3("3.3.1-5", "3.3.1-7")
@pytest.mark.mqtt5("3.3.1-5")
async def test_a_retained_message_of_any_qos_replaces_the_last(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    for payload, qos in ((b"1", 1), (b"0", 0), (b"2", 2), (b"00", 0)):
        await client.publish("a", payload, qos, retain=True)
        await client.subscribe("a", 2)
        message = await client.expect(Publish)
        assert (message.payload, message.qos, message.retain) == (payload, qos, True)
        await client.unsubscribe("a")


@pytest.mark.mqtt5("3.3.2-14", "3.3.4-6")
async def test_properties_that_a_client_may_not_send(broker: Running) -> None:
    for wire in (
        b"\x30\x08\0\x01a\x04\x08\0\x01#",
        b"\x30\x08\0\x01a\x04\x08\0\x01+",
        b"\x30\x06\0\x01a\x02\x0b\x01",
    ):
        client = await broker.connect("c", version=5)
        client.raw(wire)
        await client.expect_disconnect(0x82)
    assert broker.recorder.of("publish") == []


async def test_a_response_topic_has_at_least_one_character(broker: Running) -> None:
    """It is a topic name, and [MQTT-4.7.3-1] holds for it, in a will as well."""
    client = await broker.connect("c", version=5)
    client.raw(b"\x30\x07\0\x01a\x03\x08\0\0")
    await client.expect_disconnect(0x82)
    client = await Client.open(broker.port, version=5)
    client.raw(packet(0x10, V5, x("06 0000"), NONE, "c", props(x("08"), ""), "w", x("0000")))
    assert await client.wait_closed() == [Connack(False, 0x82)]


@pytest.mark.mqtt5("3.4.2-1")
async def test_a_message_that_nobody_has_subscribed_to_says_so(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    assert await client.publish("a", b"x", 1) == 0x10  # section 3.4.2.1
    assert await client.publish("a", b"x", 1, retain=True) == 0x10
    other = await broker.connect("o", version=5)
    await other.subscribe("$share/g/a")
    assert await client.publish("a", b"x", 1) == 0
    await other.disconnect()
    assert await client.publish("a", b"x", 1) == 0x10
    assert broker.broker.sessions["c"].connection.unacked == 0  # type: ignore[union-attr]
    older = await broker.connect("older", version=4)
    assert await older.publish("a", b"x", 1) == 0


@pytest.mark.mqtt5("4.3.3-13")
async def test_an_exchange_goes_on_after_its_message_expired(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    await client.subscribe("a", 2)
    expired = Properties(message_expiry_interval=0)
    client.send(Publish("a", b"x", 2, packet_id=7, properties=expired))
    assert await client.next() == Pubrec(7)
    client.send(Pubrel(7))
    assert await client.next() == Pubcomp(7)
    await client.silent()  # [MQTT-3.3.2-5]


@pytest.mark.mqtt5("4.3.3-7")
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_that_was_sent_does_not_expire(broker: Running, qos: int) -> None:
    client = await broker.connect("s", **stays(5))
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=5)
    await publisher.publish("a", b"x", qos, message_expiry_interval=1)
    message = await client.expect(Publish)
    client.abort()
    await broker.until_away("s")
    await asyncio.sleep(1.1)
    client = await broker.connect("s", **stays(5))
    again = await client.expect(Publish)
    assert (again.packet_id, again.dup, again.payload) == (message.packet_id, True, b"x")


@pytest.mark.mqtt5("4.3.2-3", "4.4.0-2")
async def test_what_was_refused_is_not_sent_again(broker: Running) -> None:
    client = await broker.connect("s", **stays(5))
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=5)
    for qos in (1, 2, 1):
        await publisher.publish("a", b"%d" % qos, qos)
    one, two, three = [await client.expect(Publish) for _ in range(3)]
    client.send(Puback(one.packet_id, 0x83), Pubrec(two.packet_id, 0x97))
    await client.silent()
    client.abort()
    await broker.until_away("s")
    client = await broker.connect("s", **stays(5))
    assert (await client.expect(Publish)).packet_id == three.packet_id
    await client.silent()


@pytest.mark.mqtt5("3.3.4-10", "4.9.0-1", "4.9.0-2", "4.9.0-3")
async def test_an_empty_send_quota_holds_up_nothing_else(broker: Running) -> None:
    client = await broker.connect("s", version=5, receive_maximum=1)
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=5)
    for number in range(3):
        await publisher.publish("a", b"%d" % number, 2)
    message = await client.expect(Publish)
    client.send(
        Pingreq(),
        Subscribe(1, [Subscription("b")]),
        Unsubscribe(2, ["b"]),
        Publish("c", b"", 1, packet_id=3),
        Publish("c", b"", 2, packet_id=4),
        Pubrel(4),
        Pubrec(message.packet_id),
    )
    answers = [await client.next() for _ in range(7)]
    assert {type(p) for p in answers} == {Pingresp, Suback, Unsuback, Puback, Pubrec, Pubcomp, Pubrel}
    await client.silent()
    client.send(Pubcomp(message.packet_id))
    assert (await client.expect(Publish)).payload == b"1"


@pytest.mark.mqtt3("4.6.0-1", "4.6.0-4")
@pytest.mark.mqtt5("4.6.0-1", "4.6.0-4")
async def test_pubrels_follow_the_order_of_their_pubrecs(broker: Running, version: int) -> None:
    client = await broker.connect("s", **stays(version))
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=version)
    for number in range(4):
        await publisher.publish("a", b"%d" % number, 2)
    ids = [(await client.expect(Publish)).packet_id for _ in range(4)]
    order = [ids[2], ids[0], ids[3]]
    client.send(*(Pubrec(packet_id) for packet_id in order))
    assert [await client.next() for _ in order] == [Pubrel(packet_id) for packet_id in order]
    client.abort()
    await broker.until_away("s")
    client = await broker.connect("s", **stays(version))
    again = [await client.next() for _ in ids]
    assert [getattr(p, "packet_id", None) for p in again] == ids  # as the messages were sent
    assert [type(p) for p in again] == [Pubrel, Publish, Pubrel, Pubrel]


# -- SUBSCRIBE and UNSUBSCRIBE -------------------------------------------------------------------------------


@pytest.mark.mqtt3("3.3.1-6", "3.3.1-8", "3.8.4-3")
@pytest.mark.mqtt5("3.3.1-9", "3.8.4-3", "3.8.4-4")
async def test_a_replaced_subscription_gets_retained_messages_again(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.publish("a", b"kept", 1, retain=True)
    for qos in (0, 1, 1):
        await client.subscribe("a", qos)
        message = await client.expect(Publish)
        assert (message.payload, message.retain, message.qos) == (b"kept", True, qos)


@pytest.mark.mqtt3("3.8.4-3")
@pytest.mark.mqtt5("3.8.4-4")
async def test_replacing_a_subscription_loses_no_message(broker: Running, version: int) -> None:
    client = await broker.connect("s", version=version)
    await client.subscribe("a", 1)
    publisher = await broker.connect("p", version=version)
    for number in range(50):
        publisher.send(Publish("a", b"%d" % number, 1, packet_id=number + 1))
        client.send(Subscribe(number + 2, [Subscription("a", 1)]))
        if number % 7 == 0:
            await asyncio.sleep(0)
    got = [int((await client.expect(Publish)).payload) for _ in range(50)]
    assert got == list(range(50))


@pytest.mark.mqtt3("3.10.4-1")
@pytest.mark.mqtt5("3.10.4-1")
async def test_an_unsubscribe_is_taken_by_the_letter(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.subscribe("a/b")
    await client.subscribe("a/+")
    for other in ("#", "a/#", "a/B", "/a/b", "a/b/"):
        assert await client.unsubscribe(other) == ([0x11] if version == 5 else [])
    await client.unsubscribe("a/+")
    await client.publish("a/c", b"no")
    await client.publish("a/b", b"yes")
    assert (await client.expect(Publish)).payload == b"yes"
    await client.silent()


@pytest.mark.mqtt3("3.10.4-2", "3.10.4-3")
@pytest.mark.mqtt5("3.10.4-2", "3.10.4-3")
async def test_what_was_begun_before_an_unsubscribe_is_completed(broker: Running, version: int) -> None:
    client = await broker.connect("s", **stays(version))
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=version)
    await publisher.publish("a", b"1", 1)
    await publisher.publish("a", b"2", 2)
    one, two = [await client.expect(Publish) for _ in range(2)]
    await client.unsubscribe("a")
    await publisher.publish("a", b"late", 2)
    await client.silent()
    client.abort()
    await broker.until_away("s")
    client = await broker.connect("s", **stays(version))
    again = [await client.expect(Publish) for _ in range(2)]
    assert [m.packet_id for m in again] == [one.packet_id, two.packet_id]
    client.send(Puback(one.packet_id), Pubrec(two.packet_id))
    await client.expect(Pubrel)
    client.send(Pubcomp(two.packet_id))
    await client.silent()
    assert not broker.broker.sessions["s"].inflight


@pytest.mark.mqtt3("3.12.4-1")
@pytest.mark.mqtt5("3.12.4-1")
async def test_each_pingreq_gets_a_pingresp(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    client.send(Pingreq(), Pingreq(), Pingreq())
    assert [await client.next() for _ in range(3)] == [Pingresp()] * 3
    await client.silent()


# -- shared subscriptions ------------------------------------------------------------------------------------


async def member(broker: Running, clientid: str, seconds: int = 1000) -> Client:
    """A client whose session stays, in the group `g` of topic `a`."""
    client = await broker.connect(clientid, version=5, session_expiry_interval=seconds)
    await client.subscribe("$share/g/a", 2)
    return client


@pytest.mark.mqtt5("4.8.2-4")
async def test_a_shared_qos2_message_is_completed_with_the_same_client(broker: Running) -> None:
    one = await member(broker, "one")
    publisher = await broker.connect("p", version=5)
    await publisher.publish("a", b"x", 2)
    message = await one.expect(Publish)
    other = await member(broker, "other")
    one.abort()
    await broker.until_away("one")
    await other.silent()
    one = await broker.connect("one", **stays(5))
    again = await one.expect(Publish)
    assert (again.packet_id, again.dup, again.qos) == (message.packet_id, True, 2)
    one.send(Pubrec(again.packet_id))
    await one.expect(Pubrel)
    one.send(Pubcomp(again.packet_id))
    await one.silent()
    await other.silent()


@pytest.mark.mqtt5("4.8.2-5")
async def test_a_shared_qos2_message_ends_with_its_session(broker: Running) -> None:
    one = await member(broker, "one", seconds=1)
    publisher = await broker.connect("p", version=5)
    await publisher.publish("a", b"x", 2)
    await one.expect(Publish)
    other = await member(broker, "other")
    one.abort()
    await broker.until(lambda: "one" not in broker.broker.sessions)
    await other.silent()


@pytest.mark.mqtt5("4.8.2-6")
async def test_a_shared_message_that_a_member_refused_goes_to_nobody_else(broker: Running) -> None:
    members = [await member(broker, "one"), await member(broker, "two")]
    publisher = await broker.connect("p", version=5)
    for qos in (1, 1, 2, 2):
        await publisher.publish("a", b"%d" % qos, qos)
    for client in members:
        one, two = [await client.expect(Publish) for _ in range(2)]
        client.send(Puback(one.packet_id, 0x80), Pubrec(two.packet_id, 0x83))
    for client in members:
        await client.silent()
    assert not any(session.inflight for session in broker.broker.sessions.values())


@pytest.mark.mqtt5("4.8.2-3")
async def test_each_member_of_a_group_gets_its_own_granted_qos(broker: Running) -> None:
    low = await broker.connect("low", version=5)
    high = await broker.connect("high", version=5)
    assert [await low.subscribe("$share/g/a", 0), await high.subscribe("$share/g/a", 2)] == [0, 2]
    publisher = await broker.connect("p", version=5)
    for _ in range(2):
        await publisher.publish("a", b"x", 2)
    assert (await low.expect(Publish)).qos == 0
    assert (await high.expect(Publish)).qos == 2


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.mqtt3("3.1.0-2", "4.8.0-1")
@pytest.mark.mqtt5("3.1.0-2", "3.2.0-2", "4.13.1-1")
async def test_a_second_connect_gets_no_second_connack(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    client.send(Connect("other", version), Publish("a", b"x"))
    packets = await client.wait_closed()
    assert [type(p) for p in packets] == ([Disconnect] if version == 5 else [])
    assert broker.recorder.of("publish") == []
    assert "other" not in broker.broker.sessions


@pytest.mark.mqtt5("3.3.4-9")
async def test_receive_maximum_counts_qos_1_and_2_together(broker: Running) -> None:
    client = await broker.connect("s", version=5, receive_maximum=2)
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=5)
    for number, qos in enumerate((1, 2, 1, 2)):
        await publisher.publish("a", b"%d" % number, qos)
    assert await received(client) == [b"0", b"1"]
    one, two = [await client.expect(Publish) for _ in range(2)]
    client.send(Pubrec(two.packet_id, 0x80))  # a refusal gives its place back
    assert (await client.expect(Publish)).payload == b"2"
    client.send(Puback(one.packet_id))
    assert (await client.expect(Publish)).payload == b"3"
