"""https endpoints: whom we trust, whom we are, and what a wrong file says at the start."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.config.settings import Endpoint, Tls
from bridge.delivery.target import EndpointError, Target
from tests.integration.receiver import Certificates, Receiver, close_delimited
from tests.unit.delivery.conftest import STORE_ID, Connect


@pytest.fixture
async def https(certificates: Certificates) -> AsyncIterator[Receiver]:
    async with Receiver(ssl=certificates.server_context()) as server:
        yield server


async def test_a_server_of_a_trusted_authority(
    https: Receiver, certificates: Certificates, connect: Connect
) -> None:
    client = connect(https.url(), tls=Tls(cacertfile=certificates.ca))
    for body in (b"{}", b"x" * 3_000_000, b"{}"):
        outcome = await client.outcome(body)
        assert outcome.ok, outcome
    assert https.accepted == 1
    by_address = connect(https.url().replace("localhost", "127.0.0.1"), tls=Tls(cacertfile=certificates.ca))
    assert (await by_address.outcome()).ok


async def test_a_body_that_ends_with_the_connection(
    https: Receiver, certificates: Certificates, connect: Connect
) -> None:
    https.script = close_delimited
    client = connect(https.url(), tls=Tls(cacertfile=certificates.ca))
    assert (await client.outcome()).ok


async def test_a_server_that_nobody_vouches_for_is_refused(https: Receiver, connect: Connect) -> None:
    for tls in (None, Tls()):
        outcome = await connect(https.url(), tls=tls).outcome()
        assert outcome.error == "tls"
        assert "not trusted" in outcome.text
    assert https.requests == []


async def test_a_server_with_another_name_is_refused(
    https: Receiver, certificates: Certificates, connect: Connect
) -> None:
    client = connect(f"https://127.0.0.2:{https.port}/", tls=Tls(cacertfile=certificates.ca))
    outcome = await client.outcome()
    assert outcome.error in ("tls", "connect")
    assert https.requests == []


async def test_verify_peer_off_takes_any_server(https: Receiver, connect: Connect) -> None:
    assert (await connect(https.url(), tls=Tls(verify_peer=False)).outcome()).ok


async def test_http_against_https_and_the_other_way_round(
    https: Receiver, receiver: Receiver, connect: Connect
) -> None:
    outcome = await connect(https.url().replace("https:", "http:")).outcome()
    assert outcome.error in ("reset", "protocol")
    outcome = await connect(receiver.url().replace("http:", "https:"), timeout=2).outcome()
    assert outcome.error in ("tls", "timeout")


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_client_certificate(certificates: Certificates, connect: Connect, encrypted: bool) -> None:
    async with Receiver(ssl=certificates.server_context(client_certificate=True)) as server:
        key = certificates.client_key_encrypted if encrypted else certificates.client_key
        tls = Tls(
            cacertfile=certificates.ca,
            certfile=certificates.client,
            keyfile=key,
            key_password=SecretStr("secret") if encrypted else None,
        )
        assert (await connect(server.url(), tls=tls).outcome()).ok
        without = await connect(server.url(), tls=Tls(cacertfile=certificates.ca)).outcome()
        assert without.error in ("tls", "reset")
        assert len(server.requests) == 1


def target(**tls: object) -> Target:
    return Target(Endpoint(name="mes", url="https://h/", tls=Tls(**tls)), STORE_ID)  # type: ignore[arg-type]


def test_files_that_cannot_work_are_told_with_their_key(certificates: Certificates, pem: Path) -> None:
    missing = pem.parent / "missing.pem"
    cert, key = certificates.client, certificates.client_key
    for settings, name, cause in (
        ({"cacertfile": missing}, "tls.cacertfile", f"{missing}: No such file"),
        ({"cacertfile": pem}, "tls.cacertfile", f"{pem}: "),
        ({"certfile": missing, "keyfile": key}, "tls.certfile", f"{missing}: No such file"),
        ({"certfile": pem, "keyfile": key}, "tls.certfile", "no 'BEGIN CERTIFICATE' in it"),
        ({"certfile": cert, "keyfile": missing}, "tls.keyfile", f"{missing}: No such file"),
        ({"certfile": cert, "keyfile": pem}, "tls.keyfile", "no 'PRIVATE KEY' in it"),
        ({"certfile": cert}, "tls.keyfile", "no 'PRIVATE KEY' in it"),
        ({"keyfile": key}, "tls.keyfile", "without a certificate"),
        ({"certfile": cert, "keyfile": certificates.server_key}, "tls.keyfile", "mismatch"),
        ({"certfile": cert, "keyfile": certificates.client_key_encrypted}, "tls.keyfile", "key_password"),
        (
            {
                "certfile": cert,
                "keyfile": certificates.client_key_encrypted,
                "key_password": SecretStr("wrong-secret"),
            },
            "tls.keyfile",
            "key_password",
        ),
    ):
        with pytest.raises(EndpointError) as caught:
            target(**settings)
        assert caught.value.key == name
        assert cause in caught.value.cause
        text = str(caught.value)
        assert text.startswith(f"webhook mes: {name}: ")
        assert "\n" not in text
        assert "wrong-secret" not in text


def test_tls_blocks_and_schemes() -> None:
    assert Target(Endpoint(url="http://h/"), STORE_ID).ssl is None
    plain = Target(Endpoint(url="http://h/", tls=Tls()), STORE_ID)
    assert plain.ssl is None
    assert "https://" in plain.warnings[0]
    default = Target(Endpoint(url="https://h/"), STORE_ID).ssl
    assert default is not None
    assert default.verify_mode is ssl.CERT_REQUIRED
    assert default.check_hostname
    assert default.minimum_version >= ssl.TLSVersion.TLSv1_2
    off = Target(Endpoint(url="https://h/", tls=Tls(enable=False, verify_peer=False)), STORE_ID).ssl
    assert off is not None
    assert off.verify_mode is ssl.CERT_REQUIRED  # a block that is off says nothing


def test_endpoints_that_use_tls_alike_share_a_context(certificates: Certificates, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(certificates.ca.read_bytes())
    first, second = target(cacertfile=authority), target(cacertfile=authority)
    assert first.ssl is second.ssl
    others = [
        target(cacertfile=authority, verify_peer=False),
        target(cacertfile=authority, certfile=certificates.client, keyfile=certificates.client_key),
        target(cacertfile=certificates.ca),
        target(),
    ]
    assert len({id(made.ssl) for made in [first, *others]}) == 5
    authority.write_bytes(certificates.ca.read_bytes() * 2)  # renewed meanwhile
    assert target(cacertfile=authority).ssl is not first.ssl
    secrets = [
        target(
            certfile=certificates.client,
            keyfile=certificates.client_key_encrypted,
            key_password=SecretStr("secret"),
        )
        for _ in range(2)
    ]
    assert secrets[0].ssl is secrets[1].ssl
    with pytest.raises(EndpointError):  # another password is another context
        target(
            certfile=certificates.client,
            keyfile=certificates.client_key_encrypted,
            key_password=SecretStr("wrong"),
        )
