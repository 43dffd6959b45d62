"""Writes real bodies into docs/events: HookMQ, clients and a receiver run, and every event fires.

    python -m scripts.capture_events            # renews the bodies that have changed
    python -m scripts.capture_events --check    # changes nothing; exit code 1 if a page is not true any more

A page says where a body stands: `<!-- body: emqx -->` before a `json` block, with a case of `CASES` behind
the format where the page shows more than one (`<!-- body: emqx refused -->`). What differs from run to run
(times, ids, ports) stays as it was captured until something else changes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.events.event import HOOK_EVENTS
from bridge.mqtt.packets import Properties, Puback, Publish
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ
from tests.integration.receiver import Receiver, Request

PAGES = Path(__file__).resolve().parents[1] / "docs" / "events"
FORMATS = ("nanomq", "emqx", "cloudevents")
NAMES = {"emqx": "my_webhook"}
"""The names of the webhooks that are not named by their format."""
TOPIC = "plant/press-7/temperature"
PAYLOAD = b'{"celsius":81.5}'

Body = dict[str, Any]
Bodies = dict[tuple[str, str, str], str]
"""Bodies as they came, by event, format and case."""
CASES: dict[tuple[str, str], Callable[[Body], bool]] = {
    ("client.connack", "refused"): lambda body: body["clientid"] == "press-9",
    ("client.check_authn_complete", "refused"): lambda body: body["clientid"] == "press-9",
    ("client.check_authz_complete", "subscribe"): lambda body: body["action"] == "subscribe",
    ("client.disconnected", "takenover"): lambda body: body["reason"] == "takenover",
}
"""Bodies that a page shows beside the usual one."""
USUAL: dict[str, Callable[[Body], bool]] = {
    "client.check_authz_complete": lambda body: body["action"] == "publish",
    "client.disconnected": lambda body: (body["clientid"], body["reason"]) == ("press-7", "normal"),
    "session.terminated": lambda body: body["clientid"] == "press-7",
}
"""Which event is the usual one; without an entry the first that fires."""


def configuration(receiver: Receiver) -> str:
    """A webhook for each format, and what makes messages and clients be turned away."""
    blocks = [
        'node.name = "hookmq@plant"',
        "mqtt.max_mqueue_len = 1",
        'auth.password { "ada" : "s3cret", "panel" : "an0ther" }',
    ]
    blocks += [
        f'webhooks.{NAMES.get(name, name)} {{\n  url = "{receiver.url("/" + name)}"\n  format = {name}\n'
        '  triggers = ["*"]\n  ordering = endpoint\n}\n'
        for name in FORMATS
    ]
    return "\n".join(blocks)


async def play(port: int) -> None:
    """What clients do, so that each type of event fires."""
    ada: dict[str, Any] = {"username": "ada", "password": b"s3cret", "version": 5, "keepalive": 60}
    panel: dict[str, Any] = {"username": "panel", "password": b"an0ther", "version": 5, "keepalive": 30}
    stays: dict[str, Any] = panel | {"clean": False, "session_expiry_interval": 3600}
    tagged = Properties(user_property=[("shift", "late")])

    press = await Client.connect(
        port, "press-7", properties=Properties(user_property=[("site", "north")], receive_maximum=20), **ada
    )
    await (await Client.connect(port, "press-9", **ada | {"password": b"guess"}, code=None)).wait_closed()
    # Nobody has subscribed.
    await press.publish(TOPIC, PAYLOAD, 1, properties=tagged)
    # One has.
    old = await Client.connect(port, "panel-1", **stays)
    await old.subscribe("plant/+/temperature", 1)
    await old.subscribe("plant/news", 0)
    await old.ping()
    await press.publish(TOPIC, PAYLOAD, 1, properties=tagged)
    old.send(Puback((await old.expect(Publish)).packet_id))
    await old.unsubscribe("plant/news")
    # It connects a second time, and goes away.
    new = await Client.connect(port, "panel-1", **stays)
    await old.wait_closed()
    await new.disconnect()
    # Its session has room for one message.
    await press.publish(TOPIC, PAYLOAD, 1, properties=tagged)
    await press.publish(TOPIC, PAYLOAD, 1, properties=tagged)
    # It begins anew.
    await (await Client.connect(port, "panel-1", **panel)).disconnect()
    await press.disconnect(0, Properties(reason_string="end of shift"))


async def run(folder: Path) -> tuple[Bodies, list[tuple[str, str]]]:
    """The bodies, and all events in their order, each with its client. HookMQ's files go to `folder`."""
    async with Receiver() as receiver, HookMQ(folder, configuration(receiver)) as hookmq:
        await play(hookmq.port)
        await receiver.wait_for(lambda requests: sum(map(_is_last, requests)) == len(FORMATS))
        await hookmq.stop()
        return _choose(receiver.requests)


def _is_last(request: Request) -> bool:
    """Whether it is the last event of `play`: what came before arrived before it (`ordering = endpoint`)."""
    text = request.body.decode()
    event = r'"(action|event|type)":"[a-z.]*session[._]terminated"'
    return bool(re.search(event, text)) and '"press-7"' in text


def _choose(requests: list[Request]) -> tuple[Bodies, list[tuple[str, str]]]:
    """An event has one id, whatever the webhook: the body of the one is found by the other's."""
    by_format = {
        name: {r.id: r for r in sorted(requests, key=lambda r: r.id) if r.target == f"/{name}"}
        for name in FORMATS
    }
    found: dict[tuple[str, str], str] = {}
    story: list[tuple[str, str]] = []
    for number, request in by_format["emqx"].items():
        body: Body = request.json
        event = body["event"]
        story.append((event, body["clientid"]))
        for (name, case), fits in CASES.items():
            if name == event and fits(body):
                found.setdefault((event, case), number)
        usual = USUAL.get(event)
        if usual is None or usual(body):
            found.setdefault((event, ""), number)
    missing = {kind.dotted for kind in HOOK_EVENTS} - {event for event, case in found if not case}
    if missing:
        raise RuntimeError(f"these events did not fire: {', '.join(sorted(missing))}")
    bodies = {
        (event, name, case): by_format[name][number].body.decode()
        for (event, case), number in found.items()
        for name in FORMATS
    }
    return bodies, story


# -- the pages -----------------------------------------------------------------------------------------------

BODY = re.compile(r"(<!-- body: (\w+) ?(\w*) -->\n```json\n)(.*?)(\n```\n)", re.DOTALL)
"""A body on a page: what stands before it, its format, its case, itself, what stands behind it."""
_MS = "[0-9]{13}"
_ADDRESS = r"127\.0\.0\.1:[0-9]+"
VOLATILE = {
    "timestamp": _MS,
    "publish_received_at": _MS,
    "connected_at": _MS,
    "disconnected_at": _MS,
    "ts": _MS,
    "id": r"[0-9A-F]{32}|msg_[0-9a-f]{12}_[0-9a-f]{16}",
    "messageid": r"[0-9A-F]{32}",
    "time": r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "peername": _ADDRESS,
    "sockname": _ADDRESS,
}
"""The keys whose values differ from run to run, and what they look like."""


def stable(value: Any) -> Any:
    """A body with a mark in place of what differs from run to run."""
    if not isinstance(value, dict):
        return value
    return {
        key: "*" if key in VOLATILE and re.fullmatch(VOLATILE[key], str(part)) else stable(part)
        for key, part in value.items()
    }


def same(one: str, other: str) -> bool:
    """Whether two bodies differ in nothing but that; their keys stand in the same order."""
    try:
        return json.dumps(stable(json.loads(one))) == json.dumps(stable(json.loads(other)))
    except ValueError:
        return False


def shown(body: str, name: str) -> str:
    """A body as a page shows it: NanoMQ's as it is, the longer ones with line breaks."""
    read = json.loads(body)
    if json.dumps(read, separators=(",", ":"), ensure_ascii=False) != body:
        raise ValueError(f"line breaks would change more than that: {body}")
    return body if name == "nanomq" else json.dumps(read, indent=2, ensure_ascii=False)


def renew(event: str, page: str, bodies: Bodies) -> str:
    """The page of an event with these bodies where its own are not true any more."""

    def one(match: re.Match[str]) -> str:
        before, name, case, text, behind = match.groups()
        body = bodies[event, name, case]
        return match[0] if same(text, body) else before + shown(body, name) + behind

    return BODY.sub(one, page)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.capture_events", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="change nothing, say which pages would change")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        bodies, _ = asyncio.run(run(Path(folder)))
    changed = 0
    for kind in HOOK_EVENTS:
        path = PAGES / f"{kind.dotted}.md"
        text = path.read_text()
        new = renew(kind.dotted, text, bodies)
        if new != text:
            changed += 1
            print(f"{path.name}: {'would change' if check else 'changed'}")
            if not check:
                path.write_text(new)
    print(f"{changed} of {len(HOOK_EVENTS)} pages changed" if not check else f"{changed} pages are not true")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
