"""The verification samples of both documents, in node, over what a real HookMQ sends.

Each of many bodies made by chance is accepted on entry (REST and MQTT) and by both samples, or refused with
422 for a number that JavaScript could not give back.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bridge.mqtt.packets import Puback, Publish
from bridge.mqtt.reasons import ReasonCode
from tests.acceptance.node import Node
from tests.acceptance.test_manufacturing_page import OBJECTS, SECRET, VERIFIERS, sendable
from tests.integration.admin.calling import Api, problem
from tests.integration.mqtt_client import Client
from tests.integration.receiver import Receiver

EXAMPLES = 240
AT_ONCE = 16
JSON = {"Content-Type": "application/json"}

BY_HAND = [
    "{}",
    '{"":{}, "x":[], "y":[[],{}], "z":null}',
    '{"b":1,"10":2,"9":3,"4294967295":4,"-1":5,"01":6,"a":{"2":0,"1":0}}',
    '{"n":[1.0,1e2,1E-7,-0,-0.0,0.1e1,123456789012.5,1.7976931348623157e308,5e-324,1e21,-1.5E+300]}',
    '{"n":[9007199254740992,-9007199254740992,9007199254740991.0]}',
    '{"t":"Gr\u00fc\u00dfe \U0001f600 \\ud83d\\ude00 \\ud83d \u2028 \\u0000 \\/ \\" \x7f"}',
    '{"__proto__":{"a":1},"constructor":2,"a":1,"a":{"1":1,"0":2},"toString":3}',
    '{ "a" :\t[ 1 ,\r\n 2 ] }',
    '{"deep":' + "[" * 60 + "]" * 60 + "}",
]
TOO_LARGE = [
    '{"n":9007199254740993}',
    '{"n":-9007199254740993}',
    '{"a":[{"b":12345678901234567890}]}',
    '{"n":9007199254740994.0}',
    '{"n":1e16}',
    '{"n":1e400}',
]

# Both documents' verifiers, and what can be told of a body without HookMQ.
SOURCE = "\n".join(
    [
        *(f"const {name} = (() => {{ {source} return call; }})();" for name, source in VERIFIERS.items()),
        """
const tooLarge = (value) => typeof value === 'number'
  ? !Number.isFinite(value)
    || (Number.isInteger(value) && Math.abs(value) >= 2 ** 53 && Math.abs(value) < 1e21)
  : value !== null && typeof value === 'object' && Object.values(value).some(tooLarge);
const verifiers = { mes, eryxon };
const call = ({ sent, refused, bodies }) => refused ? tooLarge(JSON.parse(sent))
  : bodies.map(({ name, ...rest }) => verifiers[name](rest)
      && JSON.stringify(JSON.parse(rest.body).data) === JSON.stringify(JSON.parse(sent)));
""",
    ]
)


def by_chance() -> list[str]:
    """Objects as some sender writes them."""
    found: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(value=OBJECTS, ascii_only=st.booleans(), spaced=st.booleans())
    def collect(value: dict[str, Any], ascii_only: bool, spaced: bool) -> None:
        found.append(sendable(value, ascii_only=ascii_only, spaced=spaced))

    collect()
    return list(dict.fromkeys(found))


def endpoint(name: str, url: str) -> str:
    return (
        f'webhooks.{name} {{ url = "{url}", types = ["*"], format = {name}, secret = {json.dumps(SECRET)} }}'
    )


async def test_every_body_that_is_accepted_is_verified(tmp_path: Path) -> None:
    texts = [*BY_HAND, *TOO_LARGE, *by_chance()]
    assert len(texts) > EXAMPLES / 2
    async with Receiver() as receiver:
        blocks = [endpoint(name, receiver.url(f"/{name}")) for name in VERIFIERS]
        blocks.append('events { unknown = pass, check = refuse, lift = [ { topic = "in/{event}" } ] }')
        async with Api(tmp_path, *blocks) as api:
            refused = await _send(api, texts)
            await receiver.wait_count(2 * (len(texts) - len(refused)), 30)
    assert {texts.index(text) for text in TOO_LARGE} <= refused
    assert not {texts.index(text) for text in BY_HAND} & refused
    bodies: dict[int, list[dict[str, str]]] = {}
    for request in receiver.requests:
        name = request.target[1:]
        header = {"mes": "x-mes-signature", "eryxon": "x-eryxon-signature"}[name]
        number = int(request.json["type" if name == "mes" else "event"].removeprefix("t."))
        body = {"name": name, "body": request.body.decode(), "signature": request.header(header)}
        bodies.setdefault(number, []).append({**body, "secret": SECRET})
    with Node(SOURCE) as node:
        for number, text in enumerate(texts):
            if number in refused:
                assert node({"sent": text, "refused": True}) is True, text
            else:
                assert node({"sent": text, "bodies": bodies[number]}) == [True, True], text
        # the test of the test: another body, another secret
        wrong = {**bodies[0][0], "secret": "no"}
        assert node({"sent": texts[0], "bodies": [wrong]}) == [False]
        assert node({"sent": '{"other":1}', "bodies": bodies[0]}) == [False, False]


async def _send(api: Api, texts: list[str]) -> set[int]:
    """Bring them all in, every third one by MQTT; the numbers of those that were refused."""
    refused: set[int] = set()
    by_rest = iter([number for number in range(len(texts)) if number % 3])

    async def rest() -> None:
        for number in by_rest:
            body = b'{"type":"t.%d","data":%b}' % (number, texts[number].encode())
            answer = await api.post("/api/v2/events", data=body, headers=JSON)
            if answer.status != 202:
                error = problem(answer, 422)["errors"][0]["message"]
                assert "2^53" in error or "range of a double" in error
                refused.add(number)

    async def mqtt() -> None:
        async with await Client.connect(api.port, "mes", version=5) as client:
            for number in range(0, len(texts), 3):
                payload = b'{"data":%b}' % texts[number].encode()
                client.send(Publish(f"in/t/{number}", payload, 1, packet_id=client.next_id()))
                code = (await client.expect(Puback)).reason_code
                if code != ReasonCode.NO_MATCHING_SUBSCRIBERS:
                    assert code == ReasonCode.PAYLOAD_FORMAT_INVALID
                    refused.add(number)

    await asyncio.gather(mqtt(), *(rest() for _ in range(AT_ONCE)))
    return refused
