"""listeners.ws and listeners.wss with real clients: MQTT.js, paho and aiomqtt; certificates that change."""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt import client as paho

from tests.acceptance import js
from tests.acceptance.scene import TUTORIAL, Scene, connack, disconnected, publish, run
from tests.integration.certificates import Authority
from tests.integration.commands import given, said

V5 = aiomqtt.ProtocolVersion.V5


def port_of(scene: Scene, kind: str) -> int:
    found = re.search(rf"listening  {kind}://127\.0\.0\.1:(\d+)/mqtt$", scene.hookmq.stdout, re.MULTILINE)
    assert found, scene.hookmq.stdout
    return int(found[1])


def files(authority: Authority, name: str) -> str:
    cert, key = authority.issue(name)
    return f'listeners.ssl {{ bind = "127.0.0.1:0", certfile = "{cert}", keyfile = "{key}" }}'


def stories(*names: str) -> dict[str, list[str]]:
    return {name: [connack(name), publish(name, "t", "secret", 1), disconnected(name)] for name in names}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_clients(tmp_path: Path, peer_js: list[str], authority: Authority) -> None:
    """MQTT.js in both versions, aiomqtt and paho, in clear and over TLS; wss has no files of its own."""
    blocks = [
        'listeners.ws.bind = "127.0.0.1:0/mqtt"',
        'listeners.wss.bind = "127.0.0.1:0/mqtt"',
        files(authority, "server"),
    ]
    async with Scene(tmp_path, *TUTORIAL, blocks=blocks) as scene:

        async def on_js(library: str, kind: str) -> None:
            send = {"do": "publish", "topic": "t", "payload": "secret", "options": {"qos": 1}}
            await js.run(
                *(peer_js, library, port_of(scene, kind), 5, send, {"do": "disconnect"}),
                **{
                    "protocol": kind,
                    "path": "/mqtt",
                    "ca": authority.file.read_text(),
                    "clientId": f"{library}-{kind}",
                },
            )

        async def on_python(kind: str) -> None:
            context = ssl.create_default_context(cafile=str(authority.file))
            async with aiomqtt.Client(
                *("localhost", port_of(scene, kind)),
                identifier=f"aiomqtt-{kind}",
                transport="websockets",
                websocket_path="/mqtt",
                tls_context=context if kind == "wss" else None,
                protocol=V5,
            ) as client:
                await client.publish("t", "secret", qos=1)

        both = ("ws", "wss")
        await asyncio.gather(*[on_js(name, kind) for name in ("mqtt4", "mqtt") for kind in both])
        await asyncio.gather(*[on_python(kind) for kind in both])
        names = [f"{name}-{kind}" for name in ("mqtt4", "mqtt", "aiomqtt") for kind in both]
        await scene.expect(stories(*names))


async def test_large_and_many(tmp_path: Path, peer_js: list[str]) -> None:
    """From paho to MQTT.js and through both directions of the frames: 300 small messages, one of 2 MB."""
    async with Scene(tmp_path, blocks=['listeners.ws.bind = "127.0.0.1:0"']) as scene:
        port = port_of(scene, "ws")
        subscribe = {"do": "subscribe", "topic": "t/#", "options": {"qos": 1}}
        wait = {"do": "wait", "messages": 301}
        actions = (subscribe, {"do": "stdin"}, wait, {"do": "disconnect"})
        options = {"protocol": "ws", "path": "/mqtt", "clientId": "js"}
        async with js.Js(peer_js, "mqtt", port, 5, *actions, **options) as receiver:
            await receiver.until("ready")
            receiver.go()
            client = paho.Client(paho.CallbackAPIVersion.VERSION2, "paho", transport="websockets")
            client.connect("127.0.0.1", port)
            client.loop_start()
            sent = [client.publish("t/small", b"%d" % n, 1) for n in range(300)]
            sent.append(client.publish("t/large", b"x" * (2 << 20), 1))
            for one in sent:
                await asyncio.to_thread(one.wait_for_publish, 15)
            client.disconnect()
            client.loop_stop()
            await receiver.end()
            got = [line["payload"] for line in receiver.all("message")]
        assert got == [*[b"%d" % n for n in range(300)], b"x" * (2 << 20)]


async def test_new_certificates_on_sighup_and_reload(
    tmp_path: Path, authority: Authority, command: Callable[[str], str]
) -> None:
    """Clients that are connected stay; new ones see the new certificate; broken files change nothing."""
    block = files(authority, "first")
    cert, key = authority.folder / "first.pem", authority.folder / "first.key"
    async with Scene(tmp_path, blocks=[block]) as scene:
        found = re.search(r"listening  mqtts://127\.0\.0\.1:(\d+)$", scene.hookmq.stdout, re.MULTILINE)
        assert found
        port = int(found[1])
        context = ssl.create_default_context(cafile=str(authority.file))

        async def shown() -> str:
            _, writer = await asyncio.open_connection("localhost", port, ssl=context)
            subject = writer.get_extra_info("peercert")["subject"]
            writer.close()
            return str(dict(part[0] for part in subject)["commonName"])

        async with aiomqtt.Client("localhost", port, identifier="stays", tls_context=context) as client:
            assert await shown() == "first"
            new = authority.issue("second")
            new[0].replace(cert)
            new[1].replace(key)
            assert "listeners.ssl: its certificate was read again" in await said(scene.hookmq, "reload")
            assert await shown() == "second"
            new = authority.issue("third")
            new[0].replace(cert)  # its key does not come
            done = await given("reload", "--store", str(scene.hookmq.data))
            assert done.returncode == 1
            assert "does not belong to the certificate" in done.stdout + done.stderr
            assert await shown() == "second"
            new[1].replace(key)
            assert scene.hookmq.process is not None
            scene.hookmq.process.send_signal(signal.SIGHUP)
            await scene.hookmq.said("reloaded: listeners.ssl: its certificate")
            assert await shown() == "third"
            await client.publish("t", "still here", qos=1)
            # mosquitto's TLS, which is another library's
            ca = str(authority.file)
            pub = (command("mosquitto_pub"), "-h", "localhost", "-p", str(port), "--cafile", ca)
            assert await run(*pub, "-q", "1", "-t", "t", "-m", "x") == (
                0,
                "",
            )
