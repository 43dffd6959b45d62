"""`mqtt.peer_cert_as_username`: a verified certificate is who the client is."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.events.event import EventType
from tests.integration.broker.looking import of
from tests.integration.broker.protecting import Protected, protect, rule
from tests.integration.broker.running import Start
from tests.integration.broker.test_auth_http import Server, server
from tests.integration.broker.test_tls import Authority, authority, context, listener
from tests.integration.mqtt_client import Client

__all__ = ["authority", "server"]  # fixtures


async def asking(start: Start, authority: Authority, which: str, **auth: Any) -> Protected:
    files = authority.issue("server")
    one = listener(files, verify_peer=True, cacertfile=authority.file)
    mqtt = {"peer_cert_as_username": which}
    return await protect(start, listeners=(one,), mqtt=mqtt, allow_anonymous=False, **auth)


@pytest.mark.parametrize(("which", "name"), [("cn", "press-7"), ("dn", "CN=press-7,O=Acme")])
async def test_a_certificate_is_the_user(start: Start, authority: Authority, which: str, name: str) -> None:
    acl = (rule("allow", "publish", "ok", username=name),)
    broker = await asking(start, authority, which, password=(("boss", "p"),), acl=acl, no_match="deny")
    own = context(authority, *authority.issue("client", ("O", "Acme"), ("CN", "press-7"), client=True))
    client = await Client.connect(broker.port, "c", version=5, tls=own, username="boss", password=b"wrong")
    assert await client.publish("ok", b"", 1) < 0x80
    assert await client.publish("other", b"", 1) == 0x87
    (event,) = of(broker.running, EventType.CLIENT_CHECK_AUTHN_COMPLETE)
    assert event.username == name
    assert event.data == {"conn_ack": "success", "is_anonymous": False, "is_superuser": False}
    client.abort()


async def test_one_without_a_certificate_is_asked_for_a_password(start: Start, authority: Authority) -> None:
    broker = await asking(start, authority, "cn", password=(("boss", "p"),))
    plain = context(authority)
    await Client.connect(broker.port, "c", tls=plain, username="press-7", password=b"x", code=4)
    await Client.connect(broker.port, "c", tls=plain, code=5)
    client = await Client.connect(broker.port, "c", tls=plain, username="boss", password=b"p")
    client.abort()


async def test_a_certificate_without_a_name_is_none(start: Start, authority: Authority) -> None:
    """Else its owner could be whoever the CONNECT says."""
    broker = await asking(start, authority, "cn", password=(("boss", "p"),))
    nameless = context(authority, *authority.issue("nameless", ("O", "Acme"), client=True))
    await Client.connect(broker.port, "c", tls=nameless, username="boss", code=4)


async def test_the_server_is_asked_about_certificates_too(
    start: Start, authority: Authority, server: Server
) -> None:
    from bridge.config.settings import HttpAuth

    request = server.request("/auth", {"cn": "%C", "dn": "%d", "u": "%u"})
    broker = await asking(start, authority, "cn", http_auth=HttpAuth(auth_req=request))
    server.allows = lambda asked: asked.values["cn"] == "press-7"
    for name, code in (("press-7", 0), ("press-8", 4)):
        own = context(authority, *authority.issue("client", ("O", "Acme"), ("CN", name), client=True))
        client = await Client.connect(broker.port, "c", tls=own, code=code)
        client.abort()
    assert server.of("/auth")[0] == {"cn": "press-7", "dn": "CN=press-7,O=Acme", "u": "press-7"}
