"""Listeners: several, with TLS, with a limit of their own, and what stops one from opening."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.broker.listeners import ListenError
from bridge.config.settings import Listener
from bridge.mqtt.packets import Connack, Connect, Puback, Publish
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client

Certificate = tuple[Path, Path]


def tls_listener(certificate: Certificate, **more: object) -> Listener:
    cert, key = certificate
    return Listener(kind="ssl", host="127.0.0.1", port=0, certfile=cert, keyfile=key, **more)  # type: ignore[arg-type]


def context(certificate: Certificate, *, own: bool = False) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(certificate[0]))
    if own:
        made.load_cert_chain(*certificate)
    return made


async def test_tls(start: Start, certificate: Certificate, version: int) -> None:
    broker = await start(listeners=(tls_listener(certificate),))
    client = await broker.connect("c", version=version, tls=context(certificate))
    await client.subscribe("a", 2)
    payload = b"x" * 300_000
    await client.publish("a", payload, 1)
    assert (await client.expect(Publish)).payload == payload
    await client.disconnect()
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "normal")]


async def test_tls_ends_without_a_word(
    start: Start, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await start(listeners=(tls_listener(certificate),))
    client = await broker.connect("c", tls=context(certificate))
    client.send(Publish("a", b"x", 1, packet_id=1))
    await client.expect(Puback)
    client.writer.close()
    await broker.until(lambda: broker.recorder.of("disconnected"))
    client = await broker.connect("d", tls=context(certificate))
    client.abort()
    await broker.until(lambda: len(broker.recorder.of("disconnected")) == 2)
    assert [call[2] for call in broker.recorder.of("disconnected")] == ["tcp_closed"] * 2
    assert caplog.text == ""


async def test_a_client_that_speaks_no_tls(start: Start, certificate: Certificate) -> None:
    broker = await start(listeners=(tls_listener(certificate),))
    plain = await Client.open(broker.port)
    plain.send(Connect("c"))
    await plain.reader.read()  # an alert, perhaps
    await broker.connect("good", tls=context(certificate))


async def test_a_tls_handshake_has_the_time_limit_of_connect(start: Start, certificate: Certificate) -> None:
    broker = await start(listeners=(tls_listener(certificate),), connect_timeout=0.3)
    silent = await Client.open(broker.port)
    async with asyncio.timeout(5):
        assert await silent.reader.read() == b""
    assert not broker.broker.connections


async def test_a_client_certificate_that_is_asked_for(start: Start, certificate: Certificate) -> None:
    listener = tls_listener(
        certificate, cacertfile=certificate[0], verify_peer=True, fail_if_no_peer_cert=True
    )
    broker = await start(listeners=(listener,))
    await broker.connect("c", tls=context(certificate, own=True))
    with pytest.raises((ssl.SSLError, ConnectionError, Exception)):
        await broker.connect("d", tls=context(certificate))
    assert [call[1] for call in broker.recorder.of("connect")] == ["c"]


@pytest.mark.mqtt3("7.1.1-1")
@pytest.mark.mqtt5("4.2-1")
async def test_listeners_side_by_side(start: Start, certificate: Certificate) -> None:
    tcp = Listener(kind="tcp", host="127.0.0.1", port=0)
    other = Listener(kind="tcp", name="other", host="::1", port=0, max_connections=1)
    try:
        broker = await start(listeners=(tcp, other, tls_listener(certificate)))
    except ListenError:
        pytest.skip("no IPv6 on this machine")
    plain = await broker.connect("plain")
    secure = await Client.connect(broker.ports[2], "secure", tls=context(certificate))
    reader, writer = await asyncio.open_connection("::1", broker.ports[1])
    six = Client(reader, writer)
    six.send(Connect("six"))
    await six.expect(Connack)
    client = broker.broker.sessions["six"].client
    assert (client.peerhost, client.peername[:6]) == ("::1", "[::1]:")
    await plain.subscribe("a")
    await secure.publish("a", b"x", 1)
    assert (await plain.expect(Publish)).payload == b"x"


async def test_a_limit_of_one_listener(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    listeners = tuple(
        Listener(kind="tcp", name=name, host="127.0.0.1", port=0, max_connections=limit)
        for name, limit in (("default", None), ("small", 2))
    )
    broker = await start(listeners=listeners)
    first = await Client.connect(broker.ports[1], "1")
    second = await Client.connect(broker.ports[1], "2")
    for _ in range(5):
        late = await Client.open(broker.ports[1])
        late.send(Connect("late"))
        await late.wait_closed()
    other = await Client.connect(broker.ports[0], "3")
    await first.disconnect()
    await broker.until(lambda: len(broker.broker.connections) == 2)
    third = await Client.connect(broker.ports[1], "4")
    assert broker.broker.stats.turned_away == 5
    assert caplog.text.count("listeners.tcp.small.max_connections") == 1
    for client in (second, other, third):
        await client.silent()


async def test_a_port_in_use(start: Start, broker: Running) -> None:
    listener = Listener(kind="tcp", host="127.0.0.1", port=broker.port)
    with pytest.raises(ListenError, match=r"listeners\.tcp\.bind: 127\.0\.0\.1:\d+ is in use"):
        await broker.broker.open([listener])


async def test_files_that_are_no_certificate(start: Start, tmp_path: Path, broker: Running) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for cert, pattern in ((bad, "certfile"), (tmp_path / "missing", "certfile"), (None, "certfile")):
        listener = Listener(kind="ssl", name="x", host="127.0.0.1", port=0, certfile=cert, keyfile=cert)
        with pytest.raises(ListenError, match=rf"listeners\.ssl\.x\.{pattern}"):
            await broker.broker.open([listener])


@pytest.fixture
def locked_key(tmp_path: Path, certificate: Certificate, command: Callable[[str], str]) -> Path:
    """The certificate's key, encrypted with "opensesame"."""
    locked = tmp_path / "locked.pem"
    options = ("-in", str(certificate[1]), "-aes256", "-passout", "pass:opensesame", "-out", str(locked))
    subprocess.run([command("openssl"), "ec", *options], check=True, capture_output=True)
    return locked


async def test_a_key_with_a_password(start: Start, certificate: Certificate, locked_key: Path) -> None:
    pair = (certificate[0], locked_key)
    broker = await start(listeners=(tls_listener(pair, key_password=SecretStr("opensesame")),))
    await broker.connect("c", tls=context(certificate))
    for wrong in (None, SecretStr("guess")):
        with pytest.raises(ListenError) as caught:
            await broker.broker.open([tls_listener(pair, key_password=wrong)])
        assert "opensesame" not in str(caught.value)
        assert "guess" not in str(caught.value)
