"""TLS of ssl listeners: versions, client certificates, files that change, hostile clients."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.broker import limits, server
from bridge.broker.certificate import PeerCertificate
from bridge.broker.client import Client as BrokerClient
from bridge.broker.connection import Connection
from bridge.broker.hooks import ACCEPT, Hooks
from bridge.broker.layer import Layer
from bridge.config.settings import Listener
from bridge.mqtt import encoder
from bridge.mqtt.packets import Connect, Publish
from tests.integration import websocket_client
from tests.integration.broker.running import Running, Start
from tests.integration.certificates import Authority
from tests.integration.mqtt_client import Client, Closed


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of servers and clients."""
    return Authority(tmp_path_factory.mktemp("authority"))


def listener(files: tuple[Path, Path], kind: str = "ssl", **more: object) -> Listener:
    fields = {"kind": kind, "host": "127.0.0.1", "port": 0, "certfile": files[0], "keyfile": files[1], **more}
    return Listener(**fields)  # type: ignore[arg-type]


def context(authority: Authority, *own: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.file))
    if own:
        made.load_cert_chain(*own)
    return made


class Seen(Hooks):
    """The certificates of clients at their CONNECT."""

    def __init__(self) -> None:
        self.certificates: list[PeerCertificate | None] = []

    def on_connect(self, client: BrokerClient, connect: Connect) -> int:
        self.certificates.append(client.certificate)
        return ACCEPT


# -- versions and certificates -------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions(start: Start, authority: Authority, tls: ssl.TLSVersion) -> None:
    broker = await start(listeners=(listener(authority.issue("server")),))
    own = context(authority)
    own.minimum_version = own.maximum_version = tls
    client = await broker.connect("c", tls=own)
    assert client.writer.get_extra_info("ssl_object").version() == tls.name.replace("_", ".")
    payload = os.urandom(1 << 20)
    await client.subscribe("t", 1)
    await client.publish("t", payload, 1)
    assert (await client.expect(Publish)).payload == payload
    assert broker.broker.sessions["c"].client.listener == "ssl:default"
    assert broker.broker.sessions["c"].client.certificate is None
    await client.disconnect()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_no_older_version(start: Start, authority: Authority) -> None:
    broker = await start(listeners=(listener(authority.issue("server")),))
    old = context(authority)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Client.open(broker.port, tls=old)
    await broker.until(lambda: broker.broker.stats.handshake_errors)


@pytest.mark.parametrize("kind", ["ssl", "wss"])
async def test_who_a_client_is(start: Start, authority: Authority, kind: str) -> None:
    """Common name and subject are on the client before its CONNECT is judged; not without verify_peer."""
    seen = Seen()
    ask = {"verify_peer": True, "cacertfile": authority.file}
    files = authority.issue("server")
    broker = await start(
        listeners=(listener(files, kind, **ask), listener(files, kind, name="asks_nobody")), hooks=(seen,)
    )
    subject = (("C", "DE"), ("O", 'Acme, "Press" + Co.'), ("OU", "#1 "), ("CN", "press-7"))
    own = context(authority, *authority.issue("client", *subject, client=True))

    async def connect(port: int, tls: ssl.SSLContext) -> None:
        if kind == "wss":
            client = await websocket_client.connect(port, "c", tls=tls)
        else:
            client = await Client.connect(port, "c", tls=tls)
        await client.disconnect()

    await connect(broker.ports[0], own)
    await connect(broker.ports[0], context(authority))
    await connect(broker.ports[1], own)
    dn = 'CN=press-7,OU=\\#1\\ ,O=Acme\\, \\"Press\\" \\+ Co.,C=DE'
    assert seen.certificates == [PeerCertificate("press-7", dn), None, None]


async def test_a_name_that_is_no_text_is_none(start: Start, authority: Authority) -> None:
    seen = Seen()
    one = listener(authority.issue("server"), verify_peer=True, cacertfile=authority.file)
    broker = await start(listeners=(one,), hooks=(seen,))
    own = context(authority, *authority.issue("odd", ("O", "Acme"), ("CN", "admin\0.evil"), client=True))
    await broker.connect("c", tls=own)
    own = context(authority, *authority.issue("nameless", ("O", "Acme"), client=True))
    await broker.connect("d", tls=own)
    assert seen.certificates == [
        PeerCertificate("", "CN=admin\\00.evil,O=Acme"),
        PeerCertificate("", "O=Acme"),
    ]


async def test_certificates_that_are_not_taken(
    start: Start, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """None where one is asked for, one of another authority: no MQTT, no event, one line with the reason."""
    caplog.set_level("INFO")
    ask = {"verify_peer": True, "fail_if_no_peer_cert": True, "cacertfile": authority.file}
    broker = await start(listeners=(listener(authority.issue("server"), **ask),))
    stranger = Authority(tmp_path).issue("stranger", client=True)
    for tls in (context(authority), context(authority, *stranger)):
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError, Exception)):
            await Client.connect(broker.port, "c", tls=tls)
    await broker.until(lambda: broker.broker.stats.handshake_errors == 2)
    await broker.until_idle()
    assert broker.recorder.calls == []
    assert "the TLS handshake failed: peer did not return a certificate" in caplog.text
    assert caplog.text.count("the TLS handshake failed") == 1  # the second within ten seconds is counted


async def refused(broker: Running, tls: ssl.SSLContext) -> None:
    before = broker.broker.stats.handshake_errors
    with pytest.raises((ssl.SSLError, ConnectionError, Closed)):
        await Client.connect(broker.port, "c", tls=tls)
    await broker.until(lambda: broker.broker.stats.handshake_errors == before + 1)


async def test_revoked_certificates(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is taken up when it changes, as the certificate is; one that is out of date lets nobody in."""
    caplog.set_level("INFO")
    monkeypatch.setattr(server, "LOOK_S", 0.2)
    monkeypatch.setattr(limits, "LOG_S", 0.0)
    authority = Authority(tmp_path)
    good, bad = authority.issue("good", client=True), authority.issue("bad", client=True)
    ask = {"verify_peer": True, "fail_if_no_peer_cert": True, "cacertfile": authority.file}
    one = listener(authority.issue("server"), **ask, crlfile=authority.revoke(bad[0]))
    broker = await start(listeners=(one,))
    await (await broker.connect("good", tls=context(authority, *good))).disconnect()
    await refused(broker, context(authority, *bad))
    assert "the TLS handshake failed: certificate verify failed: certificate revoked" in caplog.text
    authority.revoke(good[0])
    await broker.until(lambda: "was read again" in caplog.text)
    await (await broker.connect("bad", tls=context(authority, *bad))).disconnect()
    await refused(broker, context(authority, *good))
    caplog.clear()
    authority.revoke(days=-1)
    await broker.until(lambda: "was read again" in caplog.text)
    await refused(broker, context(authority, *good))
    assert "CRL has expired" in caplog.text


async def test_an_encrypted_key(start: Start, authority: Authority) -> None:
    files = authority.issue("locked", password="open sesame")
    broker = await start(listeners=(listener(files, key_password=SecretStr("open sesame")),))
    await broker.connect("c", tls=context(authority))


# -- files that change ---------------------------------------------------------------------------------------


async def served(broker: Running, authority: Authority) -> str:
    """The common name that a new connection is shown."""
    client = await Client.open(broker.port, tls=context(authority))
    shown = client.writer.get_extra_info("peercert")
    client.abort()
    return str(dict(rdn[0] for rdn in shown["subject"])["commonName"])


def replace(pair: tuple[Path, Path], by: tuple[Path, Path]) -> None:
    for old, new in zip(pair, by, strict=True):
        new.replace(old)


async def test_new_files_are_taken_up(
    start: Start,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By themselves, with the key a moment later than its certificate, under a client that stays."""
    monkeypatch.setattr(server, "LOOK_S", 0.2)
    caplog.set_level("INFO")
    authority = Authority(tmp_path)
    pair = authority.issue("first")
    broker = await start(listeners=(listener(pair),))
    stays = await broker.connect("stays", tls=context(authority))
    assert await served(broker, authority) == "first"
    cert, key = authority.issue("second")
    cert.replace(pair[0])
    key.replace(pair[1])
    await broker.until(lambda: "the certificate was read again" in caplog.text)
    assert await served(broker, authority) == "second"
    await stays.publish("t", b"x", 1)
    # Broken ones change nothing, and are told once.
    pair[0].write_text("-----BEGIN CERTIFICATE-----\n")
    await broker.until(lambda: "stays in use" in caplog.text)
    assert await served(broker, authority) == "second"
    assert "listeners.ssl.certfile, listeners.ssl.keyfile: cannot use" in caplog.text
    await asyncio.sleep(1.0)  # two looks
    assert caplog.text.count("stays in use") == 1
    replace(pair, authority.issue("third"))
    await broker.until(lambda: caplog.text.count("the certificate was read again") == 2)
    assert await served(broker, authority) == "third"
    await stays.ping()


async def test_a_new_authority_of_clients(start: Start, tmp_path: Path) -> None:
    """At once, on `reload`; a session that TLS would resume asks for the certificate too."""
    first, second = Authority(tmp_path, "one"), Authority(tmp_path, "two")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(first.file.read_bytes())
    ask = {"verify_peer": True, "fail_if_no_peer_cert": True, "cacertfile": trusted}
    broker = await start(listeners=(listener(first.issue("server"), **ask),))
    known = context(first, *first.issue("known", client=True))
    await broker.connect("c", tls=known)
    assert broker.broker.reload_certificates() == []
    trusted.write_bytes(second.file.read_bytes() + b"\n")
    assert broker.broker.reload_certificates() == [
        "listeners.ssl: its certificate was read again, for connections from now on"
    ]
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError, Exception)):
        await Client.connect(broker.port, "c", tls=known)
    await broker.connect("d", tls=context(first, *second.issue("other", client=True)))


# -- hostile clients -----------------------------------------------------------------------------------------


async def test_garbage(start: Start, authority: Authority) -> None:
    broker = await start(listeners=(listener(authority.issue("server")),))
    too_long = b"\x16\x03\x01\x40\x00" + b"\xff" * 70_000
    for data in (encoder.encode(Connect("c"), 4), too_long, b"GET / HTTP/1.1\r\n\r\n"):
        client = await Client.open(broker.port)
        client.raw(data)
        await asyncio.wait_for(client.reader.read(1), 5)
        client.abort()
    await broker.until(lambda: broker.broker.stats.handshake_errors == 3)
    await broker.until_idle()


class Wire:
    """A client whose TLS and socket are apart, so that what is between can be looked at and spoilt."""

    def __init__(self, client: Client, tls: ssl.SSLContext) -> None:
        self.client = client
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext, piece: int = 1 << 16) -> Wire:
        """Past the handshake, in pieces of so many bytes."""
        wire = cls(await Client.open(port), tls)
        while True:
            try:
                wire.tls.do_handshake()
                await wire.flush(piece)
                return wire
            except ssl.SSLWantReadError:
                await wire.flush(piece)
                await wire.more()

    async def flush(self, piece: int = 1 << 16) -> None:
        data = self.outgoing.read()
        for at in range(0, len(data), piece):
            self.client.raw(data[at : at + piece])
            await asyncio.sleep(0)

    async def more(self) -> None:
        data = await asyncio.wait_for(self.client.reader.read(1 << 16), 5)
        assert data, "the broker has closed"
        self.incoming.write(data)

    async def read(self, size: int) -> bytes:
        """So many bytes of MQTT."""
        got = b""
        while len(got) < size:
            try:
                got += self.tls.read(size - len(got))
            except ssl.SSLWantReadError:
                await self.more()
        return got


async def test_byte_by_byte(start: Start, authority: Authority) -> None:
    """Handshake and packets in single bytes."""
    broker = await start(listeners=(listener(authority.issue("server")),))
    wire = await Wire.open(broker.port, context(authority), 1)
    wire.tls.write(encoder.encode(Connect("c"), 4))
    await wire.flush(1)
    assert await wire.read(4) == b"\x20\x02\x00\x00"
    wire.client.abort()


async def test_garbage_after_the_handshake(start: Start, authority: Authority) -> None:
    """A record that does not decrypt ends the connection; what came before it counts."""
    broker = await start(listeners=(listener(authority.issue("server")),))
    wire = await Wire.open(broker.port, context(authority))
    wire.tls.write(encoder.encode(Connect("c"), 4) + encoder.encode(Publish("t", b"x", 1, packet_id=3), 4))
    await wire.flush()
    wire.client.raw(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
    await broker.until(lambda: broker.recorder.of("disconnected"))
    assert broker.recorder.by("c")[-3:-1] == [("publish", "t", b"x"), ("disconnected", "tcp_closed")]
    await broker.until_idle()


async def test_acknowledgements_after_the_clients_close_notify(start: Start, authority: Authority) -> None:
    """The client ends TLS behind its messages: they are acknowledged all the same, as without TLS."""
    broker = await start(listeners=(listener(authority.issue("server")),))
    wire = await Wire.open(broker.port, context(authority))
    wire.tls.write(encoder.encode(Connect("c"), 4) + encoder.encode(Publish("t", b"x", 1, packet_id=3), 4))
    with pytest.raises(ssl.SSLWantReadError):
        wire.tls.unwrap()
    await wire.flush()
    assert await wire.read(8) == b"\x20\x02\x00\x00\x40\x02\x00\x03"
    assert broker.recorder.of("publish") == [("publish", "c", "t", b"x")]
    await broker.until_idle()


async def test_a_reader_that_reads_nothing(start: Start, authority: Authority) -> None:
    """What TLS holds for it is bounded like what a plain connection holds."""
    broker = await start(listeners=(listener(authority.issue("server")),), max_mqueue_bytes=1 << 20)
    reader = await broker.connect("reader", tls=context(authority))
    await reader.subscribe("t")
    reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sender = await broker.connect("sender", tls=context(authority))
    for _ in range(100):
        await sender.publish("t", b"x" * 100_000, 1)
    connection = broker.broker.sessions["reader"].connection
    assert connection is not None
    assert connection.transport.get_write_buffer_size() < 2 << 20
    assert broker.broker.stats.dropped > 0


async def test_nothing_is_left_of_a_connection(start: Start, authority: Authority) -> None:
    """Connection and layers refer to each other, and are gone without the garbage collector."""
    broker = await start(listeners=(listener(authority.issue("server"), "wss"),))

    def kept() -> int:
        return sum(isinstance(one, Connection | Layer) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        client = await websocket_client.connect(broker.port, "c", tls=context(authority))
        assert kept() == 3
        client.abort()
        await broker.until(lambda: kept() == 0)
    finally:
        gc.enable()
