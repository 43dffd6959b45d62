"""One acceptance test's stage: a real HookMQ, a real receiver, and what exactly must arrive there.

    async with Scene(tmp_path, *TUTORIAL) as scene:
        ... clients at scene.port ...
        await scene.expect(c1=[connack("c1"), publish("c1", "a/b", "x", qos=1), disconnected("c1")])

Bodies are compared as text, byte for byte; only times are set to 0. The order is that of `webhook-id`, in
which the events were stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.process import ALL_EVENTS, HookMQ, webhook
from tests.integration.receiver import Receiver, Request

TUTORIAL = ("on_message_publish", "on_client_connack", "on_client_disconnected")
"""The three events of NanoMQ's tutorial."""
TIMES = re.compile(r'"(ts|connected_at)":(\d{13})(?=[,}])')
JSON_TYPE = "  headers.content-type = application/json"

__all__ = ["ALL_EVENTS", "TUTORIAL", "Scene", "Text", "run", "story"]

Text = str
"""A body, with 0 for every time."""


class Scene:
    """See the module. `blocks` are HOCON beside the webhook."""

    def __init__(
        self, folder: Path, *events: str, blocks: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self.receiver = Receiver()
        self.folder = folder
        self.events = events
        self.blocks = blocks
        self.env = env
        self.hookmq: HookMQ

    async def __aenter__(self) -> Self:
        await self.receiver.start()
        hook = webhook(self.receiver.url("/"), *self.events, extra=JSON_TYPE)
        self.hookmq = HookMQ(self.folder / "hookmq", hook, *self.blocks, env=self.env)
        try:
            await self.hookmq.start()
        except BaseException:
            self.hookmq.kill()
            await self.receiver.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hookmq.__aexit__(kind, error, trace)
        await self.receiver.stop()

    @property
    def port(self) -> int:
        """Of the MQTT listener, at 127.0.0.1."""
        return self.hookmq.port

    @property
    def requests(self) -> list[Request]:
        """What has arrived, in the order in which it was stored."""
        return sorted(self.receiver.requests, key=lambda request: request.id)

    async def seen(self, action: str, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """Wait until so many events of that action, with these fields, have arrived; all of them."""

        def found() -> list[dict[str, Any]]:
            bodies = [request.json for request in self.requests]
            return [
                body
                for body in bodies
                if body["action"] == action and all(body[key] == value for key, value in fields.items())
            ]

        await self.receiver.wait_for(lambda _: len(found()) >= count)
        return found()

    async def expect(self, stories: Mapping[str, Sequence[Text]]) -> None:
        """End the broker; what has arrived by then is this, per client, and nothing else."""
        wanted = sum(map(len, stories.values()))
        with contextlib.suppress(TimeoutError):  # the comparison says better what is missing
            await self.receiver.wait_count(wanted)
        assert await self.hookmq.stop() == 0
        assert self.stories() == {client: list(texts) for client, texts in stories.items()}
        self.check_requests()

    def stories(self) -> dict[str, list[Text]]:
        """What has arrived, per client. `message_delivered` and `message_acked` belong to their receiver."""
        return story(self.requests)

    def check_requests(self) -> None:
        """What holds for every request, whatever its event."""
        requests = self.receiver.requests
        assert len({request.id for request in requests}) == len(requests)
        latest: defaultdict[str, str] = defaultdict(str)
        for request in requests:
            assert (request.method, request.target) == ("POST", "/")
            assert request.all("content-type") == ["application/json"]
            assert request.attempt == 1
            assert (request.header("webhook-timestamp") or "").isdigit()
            body = request.json
            if body["action"].startswith(("client_", "session_")):
                # One client's lifecycle arrives in its order, whatever the connections do.
                assert request.id > latest[body["clientid"]]
                latest[body["clientid"]] = request.id


def story(requests: Sequence[Request]) -> dict[str, list[Text]]:
    """Bodies as text without their times, per client."""
    stories: defaultdict[str, list[Text]] = defaultdict(list)
    for request in requests:
        body = request.json
        client = body.get("clientid") or body["from_client_id"]
        stories[client].append(TIMES.sub(r'"\1":0', request.body.decode()))
    return dict(stories)


async def run(*command: str, stdin: bytes = b"", timeout: float = 15.0) -> tuple[int, str]:  # noqa: ASYNC109
    """Run a program to its end: exit code, and what it wrote to standard output and error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(stdin), timeout)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


# -- bodies, as INTEROP 1.2 has them -------------------------------------------------------------------------


def _text(**fields: object) -> Text:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def connect(client: str, version: int = 5, keepalive: int = 60, username: str = "undefined") -> Text:
    return _text(
        action="client_connect",
        clientid=client,
        username=username,
        ipaddress="127.0.0.1",
        keepalive=keepalive,
        proto_ver=version,
    )


def connack(
    client: str,
    version: int = 5,
    keepalive: int = 60,
    username: str = "undefined",
    reason: str = "success",
) -> Text:
    return _text(
        proto_ver=version,
        keepalive=keepalive,
        conn_ack=reason,
        username=username,
        clientid=client,
        action="client_connack",
    )


def connected(client: str, version: int = 5, keepalive: int = 60, username: str = "undefined") -> Text:
    return _text(
        action="client_connected",
        clientid=client,
        username=username,
        keepalive=keepalive,
        ipaddress="127.0.0.1",
        proto_ver=version,
        connected_at=0,
    )


def arrival(client: str, version: int = 5, keepalive: int = 60, username: str = "undefined") -> list[Text]:
    """All that an accepted CONNECT fires."""
    what = (client, version, keepalive, username)
    return [connect(*what), connected(*what), connack(*what)]


def disconnected(client: str, reason: str = "normal", username: str = "undefined") -> Text:
    return _text(reason=reason, username=username, clientid=client, action="client_disconnected")


def terminated(client: str, reason: str = "normal", username: str = "undefined") -> Text:
    return _text(action="session_terminated", clientid=client, username=username, reason=reason)


def departure(client: str, reason: str = "normal", username: str = "undefined") -> list[Text]:
    """All that the end of a connection fires whose session ends with it."""
    return [disconnected(client, reason, username), terminated(client, reason, username)]


def subscribed(client: str, topic: str, qos: int = 0, username: str = "undefined") -> list[Text]:
    """All that an accepted subscription fires."""
    return [
        _text(action=action, clientid=client, username=username, topic=topic, opts={"qos": qos})
        for action in ("client_subscribe", "session_subscribed")
    ]


def unsubscribed(client: str, topic: str, username: str = "undefined") -> list[Text]:
    """All that the end of a subscription fires."""
    return [
        _text(action=action, clientid=client, username=username, topic=topic)
        for action in ("client_unsubscribe", "session_unsubscribed")
    ]


def publish(
    client: str,
    topic: str,
    payload: str,
    qos: int = 0,
    retain: bool = False,
    username: str = "undefined",
    **last: str,
) -> Text:
    return _text(
        ts=0,
        topic=topic,
        retain=retain,
        qos=qos,
        action="message_publish",
        from_username=username,
        from_client_id=client,
        payload=payload,
        **last,
    )


def _routed(
    action: str,
    client: str,
    sender: str,
    topic: str,
    payload: str,
    qos: int,
    retain: bool,
    name: str,
    sender_name: str,
) -> Text:
    return _text(
        action=action,
        clientid=client,
        username=name,
        from_client_id=sender,
        from_username=sender_name,
        topic=topic,
        qos=qos,
        retain=retain,
        payload=payload,
        ts=0,
    )


def delivered(
    client: str,
    sender: str,
    topic: str,
    payload: str,
    qos: int = 0,
    retain: bool = False,
    name: str = "undefined",
    sender_name: str = "undefined",
) -> list[Text]:
    """All that a message to a subscriber fires; at QoS 1 and 2 its acknowledgement too."""
    what = (client, sender, topic, payload, qos, retain, name, sender_name)
    actions = ("message_delivered", "message_acked") if qos else ("message_delivered",)
    return [_routed(action, *what) for action in actions]
