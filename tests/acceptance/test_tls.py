"""listeners.ssl with the TLS of three real clients, and with clients' certificates."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import pytest

from tests.acceptance import js
from tests.acceptance.scene import TUTORIAL, Scene, connack, disconnected, publish, run
from tests.integration.receiver import Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory, command: Callable[[str], str]) -> Certificates:
    command("openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def listener(certificates: Certificates, *more: str) -> str:
    lines = [
        'bind = "127.0.0.1:0"',
        f'certfile = "{certificates.server}"',
        f'keyfile = "{certificates.server_key}"',
        *more,
    ]
    return "listeners.ssl {\n" + "\n".join(lines) + "\n}"


def tls_port(scene: Scene) -> int:
    found = re.search(r"listening  mqtts://127\.0\.0\.1:(\d+)$", scene.hookmq.stdout, re.MULTILINE)
    assert found
    return int(found[1])


def stories(*names: str) -> dict[str, list[str]]:
    return {name: [connack(name), publish(name, "t", "secret", 1), disconnected(name)] for name in names}


async def test_clients(
    tmp_path: Path, certificates: Certificates, command: Callable[[str], str], peer_js: list[str]
) -> None:
    """mosquitto_pub, MQTT.js and aiomqtt check our certificate, and are heard."""
    async with Scene(tmp_path, *TUTORIAL, blocks=[listener(certificates)]) as scene:
        port = tls_port(scene)

        async def on_mosquitto() -> None:
            assert await run(
                *(command("mosquitto_pub"), "-h", "localhost", "-p", str(port), "--cafile"),
                *(
                    str(certificates.ca),
                    "-V",
                    "mqttv5",
                    "-i",
                    "mosquitto",
                    "-q",
                    "1",
                    "-t",
                    "t",
                    "-m",
                    "secret",
                ),
            ) == (0, "")

        async def on_js(library: str) -> None:
            send = {"do": "publish", "topic": "t", "payload": "secret", "options": {"qos": 1}}
            await js.run(
                *(peer_js, library, port, 5, send, {"do": "disconnect"}),
                **{"protocol": "mqtts", "ca": certificates.ca.read_text(), "clientId": library},
            )

        async def on_aiomqtt() -> None:
            context = ssl.create_default_context(cafile=str(certificates.ca))
            async with aiomqtt.Client(
                *("localhost", port),
                identifier="aiomqtt",
                tls_context=context,
                protocol=aiomqtt.ProtocolVersion.V5,
            ) as client:
                await client.publish("t", "secret", qos=1)

        await asyncio.gather(on_mosquitto(), on_js("mqtt4"), on_js("mqtt"), on_aiomqtt())
        await scene.expect(stories("mosquitto", "mqtt4", "mqtt", "aiomqtt"))


async def test_client_certificate(
    tmp_path: Path, certificates: Certificates, command: Callable[[str], str]
) -> None:
    """With fail_if_no_peer_cert a client without a certificate gets no connection, and fires nothing."""
    block = listener(
        certificates,
        "verify_peer = true",
        "fail_if_no_peer_cert = true",
        f'cacertfile = "{certificates.ca}"',
    )
    async with Scene(tmp_path, *TUTORIAL, blocks=[block]) as scene:
        pub = [command("mosquitto_pub"), "-h", "localhost", "-p", str(tls_port(scene))]
        pub += ["--cafile", str(certificates.ca), "-V", "mqttv5", "-q", "1", "-t", "t", "-m", "secret"]
        code, output = await run(*pub, "-i", "stranger")
        assert code != 0, output
        own = ("--cert", str(certificates.client), "--key", str(certificates.client_key))
        assert await run(*pub, "-i", "known", *own) == (0, "")
        await scene.expect(stories("known"))
