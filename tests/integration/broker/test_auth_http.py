"""`auth.http_auth` against a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from bridge.config.settings import HttpAuth, HttpAuthRequest
from bridge.events.event import EventType
from bridge.mqtt.packets import (
    Connack,
    Connect,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Will,
)
from tests.integration.broker.looking import of
from tests.integration.broker.protecting import Protected, protect, rule
from tests.integration.broker.running import Start
from tests.integration.mqtt_client import Client


class Asked(NamedTuple):
    path: str
    method: str
    values: dict[str, str]
    headers: Any


class Server:
    """Answers 200 where `allows` says so, else 403; `gate` holds the answers back."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.allows: Callable[[Asked], Any] = lambda asked: True
        self.gate = asyncio.Event()
        self.gate.set()
        self.port = 0

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.gate.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        if request.method in ("GET", "DELETE"):
            values = dict(request.query)
        elif "json" in request.content_type:
            values = json.loads(text)
        else:
            values = dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
        asked = Asked(request.path, request.method, values, request.headers)
        self.asked.append(asked)
        await self.gate.wait()
        verdict = self.allows(asked)
        if isinstance(verdict, web.Response):
            return verdict
        return web.Response(status=200 if verdict else 403)

    def of(self, path: str) -> list[dict[str, str]]:
        return [asked.values for asked in self.asked if asked.path == path]

    def request(self, path: str, params: dict[str, str], **more: Any) -> HttpAuthRequest:
        return HttpAuthRequest(
            url=f"http://127.0.0.1:{self.port}{path}", params=tuple(params.items()), **more
        )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    await one.start()
    yield one
    await one.stop()


AUTH = {"clientid": "%c", "username": "%u", "password": "%P"}
ACL = {"clientid": "%c", "username": "%u", "access": "%A", "ipaddr": "%a", "topic": "%t"}


async def asking(start: Start, server: Server, *names: str, **more: Any) -> Protected:
    """A broker that asks for `names` of auth, super and acl."""
    requests = {f"{name}_req": server.request(f"/{name}", ACL if name == "acl" else AUTH) for name in names}
    settings = {key: more.pop(key) for key in list(more) if key in HttpAuth.model_fields}
    return await protect(start, http_auth=HttpAuth(**requests, **settings), **more)


# --- authentication -----------------------------------------------------------------------------------------


async def test_the_server_decides_who_connects(start: Start, server: Server, version: int) -> None:
    broker = await asking(start, server, "auth", allow_anonymous=False)
    server.allows = lambda asked: asked.values["password"] == "s3cret"
    client = await broker.connect("c1", version=version, username="ann", password=b"s3cret")
    await client.publish("a", b"x", 1)
    refused = await broker.connect(
        "c1", version=version, username="ann", password=b"n&=%P", code=0x86 if version == 5 else 4
    )
    await refused.wait_closed()
    await client.publish("a", b"still here", 1)
    assert server.asked[0].method == "POST"
    assert server.asked[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert server.of("/auth") == [
        {"clientid": "c1", "username": "ann", "password": "s3cret"},
        {"clientid": "c1", "username": "ann", "password": "n&=%P"},
    ]


async def test_every_placeholder_and_every_form(start: Start, server: Server) -> None:
    params = {
        "u": "%u", "c": "%c", "P": "%P", "a": "%a", "r": "%r", "p": "%p", "C": "%C", "d": "%d",
        "x": "a-%u-%c%",
    }  # fmt: skip
    for method, kind in (("POST", None), ("POST", "application/json"), ("PUT", None), ("GET", None)):
        headers = (("X-Key", "k"), *((("Content-Type", kind),) if kind else ()))
        request = server.request("/auth?fixed=1" if method == "GET" else "/auth", params, method=method)
        request = request.model_copy(update={"headers": headers})
        broker = await protect(start, http_auth=HttpAuth(auth_req=request))
        await broker.connect("c1", username="%c é&", password=b"p w")
        asked = server.asked[-1]
        assert asked.method == method
        assert asked.headers["x-key"] == "k"
        values = dict(asked.values)
        if method == "GET":
            assert values.pop("fixed") == "1"
        assert values == {
            "u": "%c é&", "c": "c1", "P": "p w", "a": "127.0.0.1", "r": "mqtt", "p": str(broker.port),
            "C": "", "d": "", "x": "a-%c é&-c1%",
        }  # fmt: skip


@pytest.mark.parametrize("answer", [204, 302, 401, 500, None])
async def test_only_2xx_allows(start: Start, server: Server, answer: int | None) -> None:
    broker = await asking(start, server, "auth", timeout=0.3)
    if answer is None:
        server.gate.clear()
    else:
        server.allows = lambda _: web.Response(status=answer, headers={"location": "/yes"})
    client = await broker.connect("c", username="u", password=b"p", code=0 if answer == 204 else 4)
    if answer != 204:
        await client.wait_closed()
    assert len(server.asked) == 1


async def test_a_server_that_is_not_there(
    start: Start, server: Server, caplog: pytest.LogCaptureFixture, free_port: Callable[[], int]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/auth?k=t0psecret"
    request = HttpAuthRequest(url=url, method="GET", params=tuple(AUTH.items()))
    broker = await protect(start, http_auth=HttpAuth(auth_req=request))
    with caplog.at_level(logging.DEBUG):
        client = await broker.connect("c", username="u", password=b"hunter2", code=4)
        await client.wait_closed()
    assert "auth.http_auth.auth_req" in caplog.text
    assert "hunter2" not in caplog.text
    assert "t0psecret" not in caplog.text


async def test_anonymous_clients_are_asked_about_too(start: Start, server: Server) -> None:
    broker = await asking(start, server, "auth")
    server.allows = lambda asked: asked.values["clientid"] == "good"
    await broker.connect("good")
    await broker.connect("bad", code=5)
    assert len(server.asked) == 2
    strict = await asking(start, server, "auth", allow_anonymous=False)
    await strict.connect("good", code=5)
    assert len(server.asked) == 2


async def test_users_of_the_file_are_not_asked_about(start: Start, server: Server) -> None:
    broker = await asking(start, server, "auth", password=(("ann", "s3cret"),))
    await broker.connect("1", username="ann", password=b"s3cret")
    await broker.connect("2", username="ann", password=b"wrong", code=4)
    assert server.asked == []
    await broker.connect("3", username="other", password=b"x")
    assert len(server.asked) == 1


async def test_cache_ttl(start: Start, server: Server) -> None:
    broker = await asking(start, server, "auth", cache_ttl=60)
    server.allows = lambda asked: asked.values["password"] == "p"
    for _ in range(3):
        await broker.connect("c", username="u", password=b"p")
        await broker.connect("c", username="u", password=b"x", code=4)
    await broker.connect("d", username="u", password=b"p")
    passwords = [values["password"] for values in server.of("/auth")]
    assert sorted(passwords) == ["p", "p", "x", "x", "x"]  # the same is asked once, a refusal each time
    none = await asking(start, server, "auth")
    server.asked.clear()
    for _ in range(3):
        await none.connect("c", username="u", password=b"p")
    assert len(server.asked) == 3


async def test_superusers_are_above_the_rules(start: Start, server: Server) -> None:
    broker = await asking(start, server, "super", acl=(rule("deny"),))
    server.allows = lambda asked: asked.values["username"] == "root"
    root = await broker.connect("r", version=5, username="root", will=Will("w", b""))
    assert await root.publish("a", b"", 1) < 0x80
    user = await broker.connect("u", version=5, username="user")
    assert await user.publish("a", b"", 1) == 0x87
    checked = {e.clientid: e.data for e in of(broker.running, EventType.CLIENT_CHECK_AUTHZ_COMPLETE)}
    assert checked["r"] is not None
    assert checked["r"]["authz_source"] == "superuser"
    shown = {e.clientid: e.data for e in of(broker.running, EventType.CLIENT_CHECK_AUTHN_COMPLETE)}
    assert shown["r"] is not None
    assert shown["r"]["is_superuser"] is True


# --- authorization ------------------------------------------------------------------------------------------


async def test_the_server_decides_on_topics(start: Start, server: Server, version: int) -> None:
    broker = await asking(start, server, "acl")
    server.allows = lambda asked: asked.values["topic"] in ("good", "in/#")
    client = await broker.connect("c", version=version, username="u")
    refused, nobody = (0x87, 0x10) if version == 5 else (0, 0)
    client.send(
        Publish("good", b"1", 1, packet_id=1),
        Publish("bad", b"2", 1, packet_id=2),
        Publish("good", b"3", 1, packet_id=3),
        Subscribe(4, [Subscription("in/#", 1), Subscription("#"), Subscription("$share/g/in/#")]),
        Publish("good", b"5"),
        Publish("bad", b"6", 1, packet_id=6),
    )
    acks = [Puback(1, nobody), Puback(2, refused), Puback(3, nobody)]
    assert [await client.expect(Puback) for _ in range(3)] == acks
    assert (await client.expect(Suback)).reason_codes == [1, 0x87 if version == 5 else 0x80, 0]
    assert await client.expect(Puback) == Puback(6, refused)
    assert [call[3] for call in broker.recorder.of("publish")] == [b"1", b"3", b"5"]
    values = {"clientid": "c", "username": "u", "ipaddr": "127.0.0.1"}
    assert server.of("/acl") == [
        {**values, "access": access, "topic": topic}
        for access, topic in [("2", "good"), ("2", "bad"), ("1", "in/#"), ("1", "#")]
    ]
    sources = [e.data for e in of(broker.running, EventType.CLIENT_CHECK_AUTHZ_COMPLETE)]
    assert {data["authz_source"] for data in sources if data} == {"http"}
    assert [data["result"] for data in sources if data][:2] == ["allow", "deny"]


async def test_one_client_waits_and_the_others_do_not(start: Start, server: Server) -> None:
    broker = await asking(start, server, "acl")
    slow = await broker.connect("slow")
    quick = await broker.connect("quick")
    await quick.publish("known", b"", 1)
    server.gate.clear()
    slow.send(*[Publish(f"t/{n}", b"%d" % n, 1, packet_id=n) for n in range(1, 50)])
    await broker.until(lambda: len(server.asked) == 2)
    slow.send(*[Publish(f"t/{n}", b"%d" % n, 1, packet_id=n) for n in range(50, 100)])
    for _ in range(5):
        await quick.publish("known", b"", 1)
    assert [call for call in broker.recorder.of("publish") if call[1] == "slow"] == []
    server.gate.set()
    assert [(await slow.expect(Puback)).packet_id for _ in range(99)] == list(range(1, 100))
    published = [call[3] for call in broker.recorder.of("publish") if call[1] == "slow"]
    assert published == [b"%d" % n for n in range(1, 100)]


async def test_a_server_that_is_silent_denies(start: Start, server: Server) -> None:
    broker = await asking(start, server, "acl", timeout=0.2)
    server.gate.clear()
    client = await broker.connect("c", version=5)
    assert await client.publish("a", b"", 1) == 0x87
    assert await client.subscribe("b") == 0x87


async def test_without_a_cache_each_message_is_asked_about(start: Start, server: Server) -> None:
    broker = await asking(start, server, "acl", cache={"ttl": 0})
    client = await broker.connect("c", version=5)
    for _ in range(3):
        assert await client.publish("a", b"", 1) < 0x80
    assert len(server.asked) == 3


async def test_rules_of_the_file_and_the_server(start: Start, server: Server) -> None:
    """A rule that denies is enough; what no rule denies, the server decides, whatever `no_match` says."""
    rules = (rule("deny", "publish", "never"), rule("allow", "publish", "asked"))
    broker = await asking(start, server, "acl", acl=rules, no_match="deny")
    server.allows = lambda asked: asked.values["topic"] == "other"
    client = await broker.connect("c", version=5)
    assert await client.publish("never", b"", 1) == 0x87
    assert server.asked == []
    assert await client.publish("asked", b"", 1) == 0x87
    assert await client.publish("other", b"", 1) < 0x80
    assert [values["topic"] for values in server.of("/acl")] == ["asked", "other"]


async def test_a_will_is_asked_about_with_the_connect(start: Start, server: Server) -> None:
    broker = await asking(start, server, "acl")
    server.allows = lambda asked: asked.values["topic"] == "mine"
    denied = await broker.connect("c", version=5, will=Will("other", b""), code=0x87)
    await denied.wait_closed()
    client = await broker.connect("c", version=5, will=Will("mine", b"gone"))
    client.abort()
    await broker.until(lambda: ("publish", "c", "mine", b"gone") in broker.recorder.calls)


async def test_a_client_that_is_taken_over_while_it_is_asked_about(start: Start, server: Server) -> None:
    broker = await asking(start, server, "acl")
    first = await broker.connect("c", version=5)
    server.gate.clear()
    first.send(Publish("a", b"lost", 1, packet_id=1))
    await broker.until(lambda: server.asked)
    second = await broker.connect("c", version=5)
    server.gate.set()
    await first.wait_closed()
    assert await second.publish("a", b"2", 1) < 0x80
    assert [call[3] for call in broker.recorder.of("publish")] == [b"2"]


async def test_one_that_goes_while_it_is_asked_about(start: Start, server: Server) -> None:
    broker = await asking(start, server, "acl")
    client = await broker.connect("c")
    server.gate.clear()
    client.send(Publish("a", b"1"), Publish("a", b"2"))
    await broker.until(lambda: server.asked)
    client.writer.write_eof()
    client.writer.close()
    await asyncio.sleep(0)
    server.gate.set()
    await broker.until_away("c")
    assert [call[3] for call in broker.recorder.of("publish")] == [b"1", b"2"]


async def test_rules_that_change_while_the_server_is_asked(start: Start, server: Server) -> None:
    broker = await asking(start, server, "acl")
    client = await broker.connect("c", version=5)
    server.gate.clear()
    client.send(Publish("a", b"1", 1, packet_id=1))
    await broker.until(lambda: server.asked)
    broker.reload(broker.auth.model_copy(update={"acl": (rule("deny", "publish", "a"),)}))
    server.gate.set()
    assert await client.expect(Puback) == Puback(1, 0x87)


async def test_a_storm_of_connections(start: Start, server: Server) -> None:
    broker = await asking(start, server, "auth", pool_size=8)
    clients = [await Client.open(broker.port) for _ in range(200)]
    for number, client in enumerate(clients):
        client.send(Connect(f"c{number}", username="u", password=b"p"))
    for client in clients:
        assert (await client.expect(Connack)).reason_code == 0
    for client in clients:
        client.abort()


async def test_a_paced_client_that_is_asked_about(start: Start, server: Server) -> None:
    """Both reasons to wait, and every message in its order."""
    broker = await asking(start, server, "acl", cache={"ttl": 0}, mqtt={"max_publish_rate": 200})
    client = await broker.connect("c")
    client.send(*[Publish(f"t/{n}", b"%d" % n, 1, packet_id=n) for n in range(1, 61)])
    assert [(await client.expect(Puback)).packet_id for _ in range(60)] == list(range(1, 61))
    assert [call[3] for call in broker.recorder.of("publish")] == [b"%d" % n for n in range(1, 61)]
