"""CONNECT and its answer (sections 3.1, 3.2): who may come in, and what is agreed on.

Authenticate before touching any session: a refused client changes nothing and nobody.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from bridge.broker.certificate import peer_certificate
from bridge.broker.client import Client
from bridge.broker.outgoing import ALIASES_OUT, start
from bridge.broker.turn import CONNECT_WORK
from bridge.mqtt import encoder
from bridge.mqtt.packets import Connect, Properties, Will
from bridge.mqtt.reasons import ReasonCode, connack_name, connack_return_code
from bridge.mqtt.wire import shown

if TYPE_CHECKING:
    from bridge.broker.connection import Connection

log = logging.getLogger(__name__)


def on_connect(conn: Connection, packet: Connect) -> None:
    settings = conn.settings
    broker = conn.broker
    version = conn.version = packet.protocol_version
    if conn.refusal:
        _turn_away(conn)
        return
    broker.turn.charge(CONNECT_WORK)
    properties = packet.properties or Properties()
    clientid = packet.client_id
    assigned = None
    code = 0
    if not clientid:
        if version == 3 or (version == 4 and not packet.clean_start):
            code = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID  # [MQTT-3.1.3-8] of 3.1.1
        else:
            clientid = assigned = "auto-" + secrets.token_hex(12)  # [MQTT-3.1.3-6]
    elif len(clientid.encode()) > settings.max_client_id:
        code = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
    keepalive, code = _keepalive(conn, packet.keepalive, code)
    expiry = _expiry(conn, packet, properties)
    conn.peer_receive_maximum = min(properties.receive_maximum or 65535, settings.max_inflight_window)
    client = Client(
        clientid=clientid,
        username=packet.username,
        peername=conn.peername,
        sockname=conn.sockname(),
        proto_ver=version,
        keepalive=keepalive,
        clean_start=packet.clean_start,
        connected_at=broker.now_ms(),
        properties=packet.properties,
        receive_maximum=conn.peer_receive_maximum,
        expiry_interval=expiry,
        is_bridge=packet.bridge,
        listener=conn.listener.id,
        certificate=peer_certificate(conn.transport.get_extra_info("ssl_object"))
        if conn.listener.verify_peer
        else None,
    )
    if settings.peer_cert_as_username != "disabled" and client.certificate is not None:
        client.username = getattr(client.certificate, settings.peer_cert_as_username) or client.username
    conn.client = client
    named = not code
    later: list[Awaitable[int]] = []
    for check in broker.hooks.on_connect:  # all of them: they also see who is refused
        verdict = check(client, packet)
        if isinstance(verdict, int):
            code = code or verdict
        else:
            later.append(verdict)
    if not later:
        if _decide(conn, packet, client, code, named, assigned):
            conn.hold()
        return
    conn.hold()
    waiting = asyncio.gather(*later)
    waiting.add_done_callback(lambda done: _decided(conn, packet, client, code, named, assigned, done))


def _decided(
    conn: Connection,
    packet: Connect,
    client: Client,
    code: int,
    named: bool,
    assigned: str | None,
    done: asyncio.Future[list[int]],
) -> None:
    """The verdicts that took time are there."""
    if done.cancelled() or conn.closed:
        return
    try:
        if done.exception() is None:
            code = code or next((verdict for verdict in done.result() if verdict), 0)
        else:  # a fault of ours must let nobody in
            log.error("client %s could not be checked", conn.name, exc_info=done.exception())
            code = code or ReasonCode.UNSPECIFIED_ERROR
        if _decide(conn, packet, client, code, named, assigned):
            return
    except Exception:
        _fault(conn)
    conn.release()


def _decide(
    conn: Connection, packet: Connect, client: Client, code: int, named: bool, assigned: str | None
) -> bool:
    """Let the client in, or refuse it with `code`; True: what an old session of it leaves behind has to go
    first, the connection is to be held until then.
    """
    broker = conn.broker
    properties = packet.properties or Properties()
    version = conn.version
    clientid = client.clientid
    expiry = client.expiry_interval
    if not code and properties.authentication_method is not None:
        code = ReasonCode.BAD_AUTHENTICATION_METHOD  # section 4.12: none is supported
    if not code and packet.will is not None:
        code = _will_taken(conn, packet.will)
    if named:
        for on_authenticated in broker.hooks.on_authenticated:
            on_authenticated(client, code)
    if not code:
        code = broker.admit(clientid, expiry)
    conn.peer_max_packet = properties.maximum_packet_size or 0
    answer = _answer(conn, properties, expiry, assigned) if version == 5 else None
    if answer is not None and client.keepalive != packet.keepalive:
        answer.server_keep_alive = client.keepalive
    if not code and not conn.takes(len(encoder.encode_connack(version, False, 0, answer))):
        code = ReasonCode.PACKET_TOO_LARGE  # it could not read what it has to know
    if code:
        _refuse(conn, code)
        return False
    if broker.vacant(clientid, packet, expiry):
        _enter(conn, packet, client, answer)
        return False

    def go_on() -> bool:
        if conn.closed:
            return False
        if not broker.vacant(clientid, packet, expiry):
            return True
        try:
            _enter(conn, packet, client, answer)
        except Exception:
            _fault(conn)
        conn.release()
        return False

    broker.turn.spread(go_on)
    return True


def _fault(conn: Connection) -> None:
    """A fault of ours ends this connection and no other."""
    log.exception("client %s at %s: an internal error", conn.name, conn.peername)
    conn.end("internal_error", ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)


def _enter(conn: Connection, packet: Connect, client: Client, answer: Properties | None) -> None:
    """The client is in."""
    broker = conn.broker
    settings = conn.settings
    asked = packet.properties.topic_alias_maximum if packet.properties is not None else None
    conn.alias_max_out = min(asked or 0, settings.max_topic_alias, ALIASES_OUT)
    conn.keepalive = client.keepalive * settings.keepalive_multiplier
    conn.will = packet.will
    session, present = broker.open_session(conn, client, packet, client.expiry_interval)
    conn.session = session
    for on_connected in broker.hooks.on_connected:
        on_connected(client)
    for on_connacked in broker.hooks.on_connacked:
        on_connacked(client, "success")
    conn.journal.ack(conn, encoder.encode_connack(conn.version, present, 0, answer))
    conn.journal.after(start, conn)


def _answer(conn: Connection, asked: Properties, expiry: int, assigned: str | None) -> Properties:
    """What CONNACK says to an MQTT 5 client (section 3.2.2.3): where we differ from what it has to assume."""
    receive_maximum = conn.broker.receive_maximum
    return Properties(
        session_expiry_interval=expiry if expiry != (asked.session_expiry_interval or 0) else None,
        receive_maximum=receive_maximum if receive_maximum < 65535 else None,
        maximum_qos=conn.settings.max_qos_allowed if conn.settings.max_qos_allowed < 2 else None,
        retain_available=None if conn.settings.retain_available else 0,
        maximum_packet_size=conn.settings.max_packet_size,
        assigned_client_identifier=assigned,
        topic_alias_maximum=conn.settings.max_topic_alias or None,
    )


def _will_taken(conn: Connection, will: Will) -> int:
    """0, or the reason why such a will cannot be published ([MQTT-3.2.2-12], [MQTT-3.2.2-13])."""
    if will.qos > conn.settings.max_qos_allowed:
        return ReasonCode.QOS_NOT_SUPPORTED
    if will.retain and not conn.settings.retain_available:
        return ReasonCode.RETAIN_NOT_SUPPORTED
    return 0


def _keepalive(conn: Connection, asked: int, code: int) -> tuple[int, int]:
    """The keepalive that holds, and the reason code so far or the one that refuses it (section 3.2.2.3.14).

    Only MQTT 5 can tell a client to use another one. An older client that asks for more is refused, with
    return code 2 as in mosquitto: none of that version fits. One that asks for none is let be, as many small
    devices do: there is nothing it could be told.
    """
    limit = conn.settings.max_keepalive
    if limit is None or 0 < asked <= limit:
        return asked, code
    if conn.version == 5:
        return limit, code
    if not asked:
        return asked, code
    log.info("a client at %s: keepalive %d, at most %d is taken", conn.peername, asked, limit)
    return asked, code or ReasonCode.CLIENT_IDENTIFIER_NOT_VALID


def _expiry(conn: Connection, packet: Connect, properties: Properties) -> int:
    if packet.protocol_version == 5:
        return min(properties.session_expiry_interval or 0, conn.settings.session_expiry_interval)
    return 0 if packet.clean_start else conn.settings.session_expiry_interval


def _turn_away(conn: Connection) -> None:
    """A limit of connections is reached: the reason, and nothing that costs more; no hook is called."""
    version = conn.version
    code = conn.refusal if version == 5 else connack_return_code(conn.refusal)
    conn.journal.answer(conn, encoder.encode_connack(version, False, code))
    conn.end(connack_name(version, conn.refusal))


def _refuse(conn: Connection, code: int) -> None:
    """Answer with the reason and close; no session was touched ([MQTT-3.2.2-7])."""
    client = conn.client
    assert client is not None  # noqa: S101
    version = conn.version
    reason = connack_name(version, code)
    for on_connacked in conn.broker.hooks.on_connacked:
        on_connacked(client, reason)
    conn.broker.stats.refused += 1
    log.info("client %s at %s refused: %s", shown(client.clientid), conn.peername, reason)
    wire = code if version == 5 else connack_return_code(code)
    answer = encoder.encode_connack(version, False, wire)
    if conn.takes(len(answer)):
        conn.journal.ack(conn, answer)
    conn.end(reason)
