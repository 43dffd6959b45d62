"""EMQX as a source: the calls of its ExHook at the real process, and the requests that come of them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.commands import asked
from tests.integration.process import ALL_EVENTS, HookMQ, until, webhook
from tests.integration.receiver import Receiver, Request, make_certificates
from tests.integration.sources.emqx import Emqx

EXHOOK = 'sources.exhook { bind = "127.0.0.1:0" }\n'
PROVIDED = {
    "client.connect", "client.connack", "client.connected", "client.disconnected", "client.subscribe",
    "client.unsubscribe", "session.subscribed", "session.unsubscribed", "session.terminated",
    "message.publish", "message.delivered", "message.acked",
}  # fmt: skip


def port(hookmq: HookMQ) -> int:
    found = re.search(r"exhook     127\.0\.0\.1:(\d+)$", hookmq.stdout, re.MULTILINE)
    assert found, hookmq.stdout
    return int(found[1])


def every(url: str, **keys: object) -> str:
    extra = "session.created, session.resumed, session.discarded, session.takenover, message.dropped"
    more = [f"{{event = on_{name.strip().replace('.', '_')}}}" for name in extra.split(",")]
    return webhook(url, *ALL_EVENTS, **keys).replace("events = [", f"events = [{', '.join(more)}, ")


async def one_of_each(emqx: Emqx) -> None:
    """A client's life, in EMQX's order."""
    client, meta = emqx.client(), {"props": [{"name": "Receive-Maximum", "value": "20"}]}
    pair = [{"name": "site", "value": "chicago"}]
    await emqx.call("OnClientConnect", conninfo=emqx.conn(), user_props=pair, **meta)
    await emqx.call("OnClientConnack", conninfo=emqx.conn(), result_code="success")
    await emqx.call("OnClientConnected", clientinfo=client)
    for name in ("Created", "Resumed", "Discarded", "Takenover"):
        await emqx.call(f"OnSession{name}", clientinfo=client)
    filters = [{"name": "a/#", "subopts": {"qos": 1}}, {"name": "$share/g/b", "subopts": {"qos": 2}}]
    await emqx.call("OnClientSubscribe", clientinfo=client, topic_filters=filters)
    await emqx.call("OnSessionSubscribed", clientinfo=client, topic="a/#", subopts={"qos": 1})
    message = emqx.message("a/b", b"hello", timestamp=1706703724960)
    answer = await emqx.call("OnMessagePublish", message=message, **meta)
    assert answer.type == 1  # IGNORE: the message goes on as it is
    assert answer.WhichOneof("value") is None
    await emqx.call("OnMessageDelivered", clientinfo=emqx.client("c2", username=""), message=message)
    await emqx.call("OnMessageAcked", clientinfo=emqx.client("c2", username=""), message=message)
    await emqx.call("OnMessageDropped", message=emqx.message("a/c", b""), reason="no_subscribers")
    await emqx.call("OnClientUnsubscribe", clientinfo=client, topic_filters=[{"name": "a/#"}])
    await emqx.call("OnSessionUnsubscribed", clientinfo=client, topic="a/#")
    await emqx.call("OnClientDisconnected", clientinfo=client, reason="keepalive_timeout")
    await emqx.call("OnSessionTerminated", clientinfo=client, reason="normal")


def holding(folder: Path, text: bytes) -> list[Path]:
    """The files below a folder that have the text in them: store and logs."""
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def by_action(requests: list[Request], key: str) -> dict[str, dict[str, Any]]:
    return {request.json[key]: request.json for request in requests}


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_a_client_s_life_in_nanomq_s_bodies(version: str, tmp_path: Path) -> None:
    async with Receiver() as receiver, HookMQ(tmp_path, EXHOOK, every(receiver.url())) as hookmq:
        async with Emqx(port(hookmq), version) as emqx:
            hooks = await emqx.load()
            assert hooks.keys() == PROVIDED | {
                "session.created", "session.resumed", "session.discarded", "session.takenover",
                "message.dropped",
            }  # fmt: skip
            assert hooks["message.publish"] == ["#"]
            assert hooks["client.subscribe"] == []
            await one_of_each(emqx)
            requests = await receiver.wait_count(18)
        found = by_action(requests, "action")
        message = {"topic": "a/b", "retain": "undefined", "qos": 1, "payload": "hello", "ts": 1706703724960}
        sender = {"from_client_id": "c1", "from_username": "u1"}
        assert found["message_publish"] == {**message, **sender, "action": "message_publish"}
        assert found["message_delivered"] == {
            **message, **sender, "action": "message_delivered", "clientid": "c2", "username": "undefined",
        }  # fmt: skip
        assert found["message_dropped"]["reason"] == "no_subscribers"
        assert found["client_connack"] == {
            "proto_ver": 5, "keepalive": 60, "conn_ack": "success", "username": "u1", "clientid": "c1",
            "action": "client_connack",
        }  # fmt: skip
        assert found["client_connected"] == {
            "action": "client_connected", "clientid": "c1", "username": "u1", "keepalive": "undefined",
            "ipaddress": "10.1.2.3", "proto_ver": "undefined", "connected_at": "undefined",
        }  # fmt: skip
        assert found["client_disconnected"]["reason"] == "keepalive_timeout"
        asked_for = [r.json["topic"] for r in requests if r.json["action"] == "client_subscribe"]
        assert sorted(asked_for) == ["$share/g/b", "a/#"]
        counts = (await asked(hookmq, "status"))["sources"]["exhook"]
        assert counts == {"calls": 17, "events": 18, "repeated": 0, "refused": 0, "malformed": 0}
        assert holding(tmp_path, b"s3cret-of-c1") == []
        assert holding(tmp_path, b"keepalive_timeout") != []


async def test_emqx_s_own_bodies(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        HookMQ(tmp_path, EXHOOK, every(receiver.url(), format="emqx")) as hookmq,
        Emqx(port(hookmq)) as emqx,
    ):
        await one_of_each(emqx)
        found = by_action(await receiver.wait_count(18), "event")
        publish = found["message.publish"]
        assert publish["flags"] == {"retain": "undefined", "dup": "undefined"}
        assert publish["pub_props"] == {"User-Property": {}, "Receive-Maximum": "20"}
        assert (publish["peerhost"], publish["peername"]) == ("10.1.2.3", "undefined")
        assert (publish["node"], publish["id"]) == ("emqx@10.0.0.1", "0" * 31 + "1")
        connect = found["client.connect"]
        assert connect["conn_props"]["User-Property-Pairs"] == [{"key": "site", "value": "chicago"}]
        assert (connect["peername"], connect["proto_ver"]) == ("10.1.2.3:54321", 5)
        for name in ("clean_start", "expiry_interval", "receive_maximum", "is_bridge", "sockname"):
            assert connect[name] == "undefined"
        connected = found["client.connected"]
        for name in ("proto_ver", "proto_name", "keepalive", "connected_at", "mountpoint", "sockname"):
            assert connected[name] == "undefined", name
        assert found["client.connack"]["reason_code"] == "success"
        assert found["session.unsubscribed"]["qos"] == found["client.unsubscribe"]["qos"] == "undefined"
        assert found["session.subscribed"]["qos"] == 1
        assert found["message.delivered"]["peername"] == "10.1.2.3:54321"


async def test_just_the_hooks_that_rules_want(tmp_path: Path) -> None:
    """With their filters; what nobody wants is answered and not stored; nobody is authenticated here."""
    async with Receiver() as receiver:
        rules = webhook(receiver.url(), "on_message_publish a/+", "on_message_publish b/#", "on_client_ping")
        async with HookMQ(tmp_path, EXHOOK, rules) as hookmq, Emqx(port(hookmq)) as emqx:
            assert await emqx.load() == {"message.publish": ["a/+", "b/#"]}
            assert "client.ping: EMQX's ExHook does not tell of it" in hookmq.log
            await emqx.publish("c", b"nobody")
            await emqx.call("OnClientConnected", clientinfo=emqx.client())
            for method in ("OnClientAuthenticate", "OnClientAuthorize"):
                answer = await emqx.call(method, clientinfo=emqx.client(), result=False)
                assert (answer.type, answer.WhichOneof("value")) == (1, None)
            await emqx.publish("b/c", b"somebody")
            assert [r.json["topic"] for r in await receiver.wait_count(1)] == ["b/c"]
            counts = (await asked(hookmq, "status"))["sources"]["exhook"]
            assert (counts["calls"], counts["events"]) == (3, 1)
            await emqx.call("OnProviderUnloaded")


async def test_other_rules_than_emqx_was_told(tmp_path: Path) -> None:
    """A reload, and a start with another file: EMQX asks only once, so the log says what to do there."""
    async with Receiver() as receiver:
        before, after = (webhook(receiver.url(), f"on_message_publish {topic}") for topic in ("a/#", "b/#"))
        async with HookMQ(tmp_path, EXHOOK, before) as hookmq, Emqx(port(hookmq)) as emqx:
            await emqx.load()
            hookmq.configure(EXHOOK, after)
            hookmq.send_signal(signal.SIGHUP)
            await hookmq.said("other events are wanted than EMQX emqx@10.0.0.1 was told to send")
            await hookmq.stop()
            await hookmq.start()
            await hookmq.said("other events are wanted than EMQX emqx@10.0.0.1 was told to send")
            hookmq.configure(EXHOOK, before)  # what EMQX sends is wanted again
            await hookmq.stop()
            await hookmq.start()
            await asked(hookmq, "status")
        async with Emqx(port(hookmq)):
            assert "other events" not in hookmq.log


async def test_a_thousand_calls_at_once(tmp_path: Path) -> None:
    """All are answered within EMQX's time limit, each after its event is stored; each event once."""
    async with Receiver() as receiver:
        rules = webhook(receiver.url(), "on_message_publish")
        async with HookMQ(tmp_path, EXHOOK, rules) as hookmq, Emqx(port(hookmq)) as emqx:
            answers = await asyncio.gather(*[emqx.publish(f"t/{n}", b"%d" % n) for n in range(1000)])
            assert {answer.type for answer in answers} == {1}
            requests = await receiver.wait_count(1000, 20)
            assert sorted(int(r.json["payload"]) for r in requests) == list(range(1000))


async def test_an_id_comes_once(tmp_path: Path) -> None:
    """A call that is made again, beside the first and after `kill -9`; another message is another one."""
    async with Receiver() as receiver:
        rules = webhook(receiver.url(), "on_message_publish", "on_message_delivered")
        async with HookMQ(tmp_path, EXHOOK, rules) as hookmq:
            async with Emqx(port(hookmq)) as emqx:
                await asyncio.gather(*[emqx.publish("a", b"1", id="A" * 32) for _ in range(20)])
            hookmq.kill()
            await hookmq.start()
            async with Emqx(port(hookmq)) as emqx:
                await emqx.publish("a", b"1", id="A" * 32)
                await emqx.publish("a", b"2", id="B" * 32)
                message = emqx.message("a", b"3", id="A" * 32)
                for _ in range(2):  # sent again to its subscriber: that happened twice
                    await emqx.call("OnMessageDelivered", clientinfo=emqx.client(), message=message)
                await emqx.publish("a", b"4", id="")  # without an id nothing is known of it
                await emqx.publish("a", b"4", id="")
            await receiver.wait_for(lambda requests: len({r.id for r in requests}) == 6)
            counts = (await asked(hookmq, "status"))["sources"]["exhook"]
            assert counts["repeated"] == 1
            payloads = {r.id: r.json["payload"] for r in receiver.requests}
            assert sorted(payloads.values()) == ["1", "2", "3", "3", "4", "4"]


async def test_what_is_answered_is_stored(tmp_path: Path) -> None:
    """`kill -9` under load, twice; EMQX's channels find the next process by themselves."""
    async with Receiver() as receiver:
        rules = webhook(receiver.url(), "on_message_publish")
        async with HookMQ(tmp_path, EXHOOK, rules) as hookmq:
            at = port(hookmq)
            hookmq.configure(EXHOOK.replace(":0", f":{at}"), rules)
            answered: set[str] = set()
            failed = 0
            ended = False

            async def work(emqx: Emqx, number: int) -> None:
                nonlocal failed
                for count in range(1_000_000):
                    if ended:
                        return
                    text = f"{number}.{count}"
                    try:
                        await emqx.publish("t", text.encode(), id=f"{number:016X}{count:016X}")
                    except grpc.aio.AioRpcError:
                        failed += 1
                        await asyncio.sleep(0.02)
                    else:
                        answered.add(text)

            async with Emqx(at) as emqx:
                tasks = [asyncio.create_task(work(emqx, number)) for number in range(50)]
                for _ in range(2):
                    count = len(answered)
                    await until(lambda count=count: len(answered) > count + 500, "500 answers", 20)
                    hookmq.kill()
                    await hookmq.start()
                count = len(answered)
                await until(lambda count=count: len(answered) > count + 200, "answers again", 20)
                ended = True
                await asyncio.gather(*tasks)
            assert failed
            await receiver.wait_for(lambda rs: answered <= {r.json["payload"] for r in rs}, 20)
            texts: dict[str, str] = {}
            for request in receiver.requests:  # an event's id is always the same
                assert texts.setdefault(request.json["payload"], request.id) == request.id


async def test_bounds_and_what_is_no_call(tmp_path: Path) -> None:
    """Too large, too many connections, not to be read, not there: told, and the next call is served."""
    exhook = 'sources.exhook { bind = "127.0.0.1:0", max_message_size = 64KB, max_connections = 2 }\n'
    async with Receiver() as receiver:
        rules = webhook(receiver.url(), "on_message_publish")
        async with HookMQ(tmp_path, exhook, rules) as hookmq, Emqx(port(hookmq), pool_size=2) as emqx:
            service = "/emqx.exhook.v3.HookProvider"
            for path, data, code in (
                (f"{service}/OnMessagePublish", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
                (f"{service}/OnNothing", b"", grpc.StatusCode.UNIMPLEMENTED),
                ("/emqx.exhook.v1.HookProvider/OnMessagePublish", b"", grpc.StatusCode.UNIMPLEMENTED),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await emqx.raw(path, data)
                assert error.value.code() is code
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await emqx.publish("t", b"x" * (64 << 10))
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            async with Emqx(port(hookmq), pool_size=1, timeout=1) as third:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await third.publish("t", b"third")
                assert error.value.code() in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                )
            await emqx.publish("t", b"fits")
            assert [r.json["payload"] for r in await receiver.wait_count(1)] == ["fits"]
            assert "expected emqx.exhook.v2 or v3" in hookmq.log
            assert (await asked(hookmq, "status"))["sources"]["exhook"]["malformed"] == 1


async def test_a_full_endpoint(tmp_path: Path) -> None:
    """`on_full = refuse`: a message is refused, and nothing else."""
    async with Receiver(status=503) as receiver:
        bound = "backlog { max_bytes = 64KB, on_full = refuse }"
        rules = webhook(receiver.url(), "on_message_publish", "on_client_connected", extra=bound)
        async with HookMQ(tmp_path, EXHOOK, rules) as hookmq, Emqx(port(hookmq)) as emqx:
            code = None
            for _ in range(20):
                try:
                    await emqx.publish("t", b"x" * 16384)
                except grpc.aio.AioRpcError as error:
                    code = error.code()
                    break
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            await emqx.call("OnClientConnected", clientinfo=emqx.client())
            assert (await asked(hookmq, "status"))["sources"]["exhook"]["refused"] >= 1


async def test_emqx_s_time_limit(tmp_path: Path) -> None:
    """A slow disk outlasts EMQX's patience: no answer before the sync, and the event comes all the same."""
    async with Receiver() as receiver:
        rules = webhook(receiver.url(), "on_message_publish in_time")
        async with (
            HookMQ(tmp_path, EXHOOK, "sqlite.sync_delay = 500ms\n", rules) as hookmq,
            Emqx(port(hookmq), pool_size=1) as emqx,
        ):
            await emqx.publish("nobody", b"waits for no disk, and the connection is there")
            emqx.timeout = 0.2
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await emqx.publish("in_time", b"late")
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await receiver.wait_for(lambda rs: [r.json["payload"] for r in rs] == ["late"])


async def test_tls(tmp_path: Path) -> None:
    """With a certificate of EMQX's own asked for."""
    made = make_certificates(tmp_path / "certs")
    files = [json.dumps(str(path)) for path in (made.server, made.server_key, made.ca)]
    exhook = (
        'sources.exhook {{ bind = "127.0.0.1:0", certfile = {}, keyfile = {}, cacertfile = {},'
        " verify_peer = true }}\n".format(*files)
    )
    authority, key, chain = [made.ca.read_bytes(), made.client_key.read_bytes(), made.client.read_bytes()]
    async with Receiver() as receiver:
        rules = webhook(receiver.url(), "on_message_publish")
        async with HookMQ(tmp_path, exhook, rules) as hookmq:
            good = grpc.ssl_channel_credentials(authority, key, chain)
            async with Emqx(port(hookmq), credentials=good, pool_size=1) as emqx:
                await emqx.publish("t", b"x")
                await receiver.wait_count(1)
            bare = grpc.ssl_channel_credentials(authority)
            async with Emqx(port(hookmq), credentials=bare, pool_size=1, timeout=1) as emqx:
                with pytest.raises(grpc.aio.AioRpcError):
                    await emqx.publish("t", b"x")


async def test_without_the_extra(tmp_path: Path) -> None:
    """One line that names it."""
    (tmp_path / "grpc").mkdir()
    (tmp_path / "grpc" / "__init__.py").write_text("raise ImportError('not installed')")
    hookmq = HookMQ(tmp_path / "h", EXHOOK, env={"PYTHONPATH": str(tmp_path)})
    code, _, log = await hookmq.run()
    assert code == 1
    assert "sources.exhook: gRPC is not installed" in log
    assert "pip install 'hookmq[exhook]'" in log


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async with HookMQ(tmp_path / "a", EXHOOK) as first:
        second = HookMQ(tmp_path / "b", EXHOOK.replace(":0", f":{port(first)}"))
        code, _, log = await second.run()
        assert code == 1
        assert f"sources.exhook.bind: cannot listen on 127.0.0.1:{port(first)}" in log
