"""What reaches the receiver: every event of every client, byte for byte (INTEROP 1.2)."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from pathlib import Path

from bridge.mqtt.packets import Puback, Publish, Will
from tests.integration.mqtt_client import Client
from tests.integration.process import ALL_EVENTS, HookMQ, webhook
from tests.integration.receiver import Exchange, Receiver, Request

USERS = 'auth { allow_anonymous = false, password { "u" = "secret", "u2" = "secret" } }'


def actions(requests: list[Request]) -> list[str]:
    return [r.json["action"] for r in requests]


def of(requests: list[Request], clientid: str) -> list[str]:
    """The bodies of one client's own events, in order, each time replaced by TS (it is checked here)."""
    now = time.time() * 1000
    bodies = []
    for request in requests:
        body = request.body.decode()
        found = json.loads(body)
        if found.get("clientid", found.get("from_client_id")) != clientid:
            continue
        for key in ("ts", "connected_at"):
            if key in found:
                assert now - 60_000 < found[key] <= now + 1000
        bodies.append(re.sub(r'"(ts|connected_at)":\d+', r'"\1":TS', body))
    return bodies


async def test_all_twelve_events(tmp_path: Path) -> None:
    """Two clients with all that can happen to them."""
    async with Receiver() as receiver:
        block = webhook(receiver.url(), *ALL_EVENTS, pool_size=1)  # one connection: the order of all is kept
        async with HookMQ(tmp_path, block, USERS) as hookmq:
            c1 = await Client.connect(hookmq.port, "c1", username="u", password=b"secret", keepalive=60)
            await c1.subscribe("world", 1)
            c2 = await Client.connect(hookmq.port, "c2", version=5, username="u2", password=b"secret")
            await c2.publish("world", b"Hello world!", qos=2, retain=True)
            message = await c1.expect(Publish)
            assert (message.payload, message.qos) == (b"Hello world!", 1)
            c1.send(Publish("nmq/pub", 'Grüße "\\\x07 世界'.encode(), qos=0))
            c1.send(Puback(message.packet_id))
            await c1.unsubscribe("world")
            await c1.disconnect()
            await receiver.wait_for(lambda rs: "session_terminated" in actions(rs))
            got = of(receiver.requests, "c1")
            head = '"clientid":"c1","username":"u"'
            told = '"from_client_id":"c2","from_username":"u2","topic":"world","qos":1,"retain":false'
            assert got == [
                f'{{"action":"client_connect",{head},"ipaddress":"127.0.0.1","keepalive":60,"proto_ver":4}}',
                f'{{"action":"client_connected",{head},"keepalive":60,"ipaddress":"127.0.0.1","proto_ver":4,'
                f'"connected_at":TS}}',
                '{"proto_ver":4,"keepalive":60,"conn_ack":"success","username":"u","clientid":"c1",'
                '"action":"client_connack"}',
                f'{{"action":"client_subscribe",{head},"topic":"world","opts":{{"qos":1}}}}',
                f'{{"action":"session_subscribed",{head},"topic":"world","opts":{{"qos":1}}}}',
                f'{{"action":"message_delivered",{head},{told},"payload":"Hello world!","ts":TS}}',
                '{"ts":TS,"topic":"nmq/pub","retain":false,"qos":0,"action":"message_publish",'
                '"from_username":"u","from_client_id":"c1","payload":"Grüße \\"\\\\\\u0007 世界"}',
                f'{{"action":"message_acked",{head},{told},"payload":"Hello world!","ts":TS}}',
                f'{{"action":"client_unsubscribe",{head},"topic":"world"}}',
                f'{{"action":"session_unsubscribed",{head},"topic":"world"}}',
                '{"reason":"normal","username":"u","clientid":"c1","action":"client_disconnected"}',
                f'{{"action":"session_terminated",{head},"reason":"normal"}}',
            ]
            await c2.disconnect(4)
            await receiver.wait_for(lambda rs: actions(rs).count("session_terminated") == 2)
            assert of(receiver.requests, "c2")[3:4] == [
                '{"ts":TS,"topic":"world","retain":true,"qos":2,"action":"message_publish",'
                '"from_username":"u2","from_client_id":"c2","payload":"Hello world!"}'
            ]
            assert '"reason":"disconnect_with_will_message"' in of(receiver.requests, "c2")[-2]


async def test_who_is_refused_who_has_no_name_and_who_left_a_will(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        block = webhook(
            receiver.url(), "on_client_connack", "on_message_publish", "on_client_disconnected", pool_size=1
        )
        async with HookMQ(tmp_path, block, USERS) as hookmq:
            wrong = await Client.connect(hookmq.port, "w", username="u", password=b"wrong", code=None)
            assert wrong.connack is not None
            assert wrong.connack.reason_code == 4
            await wrong.wait_closed()
            for code, keys in ((0x86, {"username": "u"}), (0x87, {})):
                wrong = await Client.connect(hookmq.port, "w", version=5, code=code, **keys)  # type: ignore[arg-type]
                await wrong.wait_closed()
            will = Will("last/word", b"gone", qos=1, retain=True)
            lost = await Client.connect(hookmq.port, "lost", username="u", password=b"secret", will=will)
            lost.abort()
            await receiver.wait_count(6)

            hookmq.configure(block)  # everybody may come
            await hookmq.stop()
            await hookmq.start()
            nameless = await Client.connect(hookmq.port, "", username="")
            await nameless.publish("a", b"")
            await nameless.disconnect()
            requests = await receiver.wait_count(9)
        assert of(requests, "w") == [
            '{"proto_ver":4,"keepalive":0,"conn_ack":"malformed_username_or_password","username":"u",'
            '"clientid":"w","action":"client_connack"}',
            '{"proto_ver":5,"keepalive":0,"conn_ack":"bad_username_or_password","username":"u",'
            '"clientid":"w","action":"client_connack"}',
            '{"proto_ver":5,"keepalive":0,"conn_ack":"not_authorized","username":"undefined",'
            '"clientid":"w","action":"client_connack"}',
        ]
        assert of(requests, "lost")[1:] == [
            '{"ts":TS,"topic":"last/word","retain":true,"qos":1,"action":"message_publish",'
            '"from_username":"u","from_client_id":"lost","payload":"gone"}',
            '{"reason":"tcp_closed","username":"u","clientid":"lost","action":"client_disconnected"}',
        ]
        clientid = requests[-1].json["clientid"]
        assert re.fullmatch(r"auto-[0-9a-f]{24}", clientid)
        assert of(requests, clientid) == [
            '{"proto_ver":4,"keepalive":0,"conn_ack":"success","username":"undefined",'
            f'"clientid":"{clientid}","action":"client_connack"}}',
            '{"ts":TS,"topic":"a","retain":false,"qos":0,"action":"message_publish",'
            f'"from_username":"undefined","from_client_id":"{clientid}","payload":""}}',
            f'{{"reason":"normal","username":"undefined","clientid":"{clientid}",'
            f'"action":"client_disconnected"}}',
        ]
        assert len(requests) == 9


PAYLOADS = (b"messagei+/", b"\0\0\1", b"\xff" * 8, b"", b"a\0b", b"a" * 65_537)
EXPECTED = {
    "plain": ["messagei+/", "\0\0\1", "//////////8=", "", "a\0b", "a" * 65_537],
    "BASE64": ["bWVzc2FnZWkrLw==", "AAAB", "//////////8=", "", "YQBi", "YWFh" * 21_845 + "YWE="],
    "base62": ["2a7oZkl5ty6sG7", "001", "LygHa16AHYF", "", "Qfli", "YWFh" * 21_845 + "YWE="],
    "base62_legacy": ["bWVzc2FnZWkrLw", "AAAB", "BBBBBBBBBB8", "", "YQBi", "YWFh" * 21_845 + "YWE"],
}
MARKED = {"plain": {2}, "base62": {5}}  # by index: sent as base64 instead


async def test_encodings(tmp_path: Path) -> None:
    async def check(encoding: str) -> None:
        async with Receiver() as receiver:
            block = webhook(
                receiver.url(), "on_message_publish", extra=f"body.encoding = {encoding}", pool_size=1
            )
            async with HookMQ(tmp_path / encoding, block) as hookmq:
                client = await Client.connect(hookmq.port, "c")
                for payload in PAYLOADS:
                    await client.publish("t", payload, qos=1)
                requests = await receiver.wait_count(len(PAYLOADS))
        assert [r.json["payload"] for r in requests] == EXPECTED[encoding], encoding
        for index, request in enumerate(requests):
            marked = index in MARKED.get(encoding, ())
            assert request.body.endswith(b'","payload_encoding":"base64"}') is marked
            assert ("payload_encoding" in request.json) is marked

    await asyncio.gather(*(check(encoding) for encoding in EXPECTED))


async def test_what_rules_match(tmp_path: Path) -> None:
    """One POST however many rules match; wildcards; `$` topics only for who names them."""
    matched = ["a/b", "x/y/z", "x/y", "q", "$own/1", "a/b"]
    others = ["a/c", "x", "y", "$own", "$other/1", "a/b/c", "/q"]
    async with Receiver() as receiver:
        block = webhook(
            receiver.url(),
            *("on_message_publish a/b", "on_message_publish +/b", "ON_MESSAGE_PUBLISH a/b"),
            *("on_message_publish x/y/#", "on_message_publish q", "on_message_publish $own/+"),
            pool_size=1,
        )
        async with HookMQ(tmp_path / "1", block) as hookmq:
            client = await Client.connect(hookmq.port)
            for topic in [*others, *matched]:
                await client.publish(topic, b"x", qos=1)
            await receiver.wait_for(lambda rs: [r.json["topic"] for r in rs] == matched)

        receiver.requests.clear()
        async with HookMQ(tmp_path / "2", webhook(receiver.url(), "on_message_publish")) as hookmq:
            client = await Client.connect(hookmq.port)
            for topic in ("$SYS/broker/uptime", "$own", "a/b"):
                await client.publish(topic, b"x", qos=1)
            assert [r.json["topic"] for r in await receiver.wait_count(1)] == ["a/b"]


async def test_the_request(tmp_path: Path) -> None:
    """Method, target, headers in order and case; id, attempt and time; the id goes on over a restart. The
    environment says where to."""
    async with Receiver() as receiver:
        headers = 'headers { X-B = "2", x-a = "1", Content-Type = "application/x-json", Authorization = "t" }'
        block = webhook("http://127.0.0.1:9/", "on_message_publish", extra=headers, pool_size=1)
        env = {"HOOKMQ_WEBHOOK__URL": receiver.url("/a%20b/c?q=1&r=%2F")}
        async with HookMQ(tmp_path, block, env=env) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            for number in range(20):
                await client.publish("t", b"%d" % number, qos=1)
            requests = await receiver.wait_count(20)
            first = requests[0]
            assert (first.method, first.target, first.version) == ("POST", "/a%20b/c?q=1&r=%2F", "HTTP/1.1")
            names = [name for name, _ in first.headers]
            assert names == [
                *("Host", "X-B", "x-a", "Content-Type", "Authorization", "User-Agent"),
                *("webhook-id", "webhook-timestamp", "webhook-attempt", "Content-Length"),
            ]
            assert first.header("host") == f"127.0.0.1:{receiver.port}"
            assert first.header("content-type") == "application/x-json"
            assert re.fullmatch(r"msg_[0-9a-f]{12}_[0-9a-f]{16}", first.id)
            assert [r.json["payload"] for r in requests] == [str(n) for n in range(20)]
            assert [r.id for r in requests] == sorted({r.id for r in requests})
            assert {r.attempt for r in requests} == {1}
            assert len({r.connection for r in requests}) == 1

            assert abs(int(first.header("webhook-timestamp") or 0) - time.time()) < 2

            await hookmq.stop()
            await hookmq.start()
            client = await Client.connect(hookmq.port, "c")
            await client.publish("t", b"later", qos=1)
            later = (await receiver.wait_count(21))[-1]
            assert later.json["payload"] == "later"
            assert later.id > requests[19].id
            assert later.id[:16] == first.id[:16]


async def test_lifecycle_events_keep_their_order(tmp_path: Path) -> None:
    """Of each client, with 32 connections to a receiver that takes its time, and across a retry."""
    rng = random.Random(7)
    refused: list[str] = []

    async def dawdle(exchange: Exchange) -> None:
        await asyncio.sleep(rng.random() * 0.02)
        body = exchange.request.json
        refuse = not refused and body["clientid"] == "c3" and body["action"] == "client_connected"
        if refuse:
            refused.append(exchange.request.id)
        await exchange.respond(500 if refuse else 200)

    rounds, clients = 3, 8
    lifecycle = [e for e in ALL_EVENTS if not e.startswith("on_message")]
    async with Receiver() as receiver:
        receiver.script = dawdle
        async with HookMQ(tmp_path, webhook(receiver.url(), *lifecycle)) as hookmq:

            async def live(clientid: str) -> None:
                for number in range(rounds):
                    client = await Client.connect(hookmq.port, clientid)
                    await client.subscribe(f"t/{number}")
                    await client.unsubscribe(f"t/{number}")
                    await client.disconnect()

            begin = time.monotonic()
            await asyncio.gather(*(live(f"c{n}") for n in range(clients)))
            each = rounds * 9
            others = [f"c{n}" for n in range(clients) if n != 3]
            await receiver.wait_for(
                lambda rs: sum(r.json["clientid"] in others for r in rs) == each * len(others)
            )
            assert time.monotonic() - begin < 4  # one client's retry holds up nobody else
            blocked = [r.json["action"] for r in receiver.requests if r.json["clientid"] == "c3"]
            assert blocked == ["client_connect", "client_connected"]
            requests = await receiver.wait_count(each * clients + 1, timeout=15)
        once = [
            *("client_connect", "client_connected", "client_connack", "client_subscribe"),
            *("session_subscribed", "client_unsubscribe", "session_unsubscribed"),
            *("client_disconnected", "session_terminated"),
        ]
        for number in range(clients):
            own = [r for r in requests if r.json["clientid"] == f"c{number}"]
            if number == 3:  # the failed attempt, and all that waited behind it
                assert [r.attempt for r in own[1:3]] == [1, 2]
                del own[2]
            assert [r.json["action"] for r in own] == once * rounds
            assert [r.id for r in own] == sorted(r.id for r in own)
        assert receiver.most_busy > 4
