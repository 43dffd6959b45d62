"""JSON Web Tokens as passwords."""

from __future__ import annotations

import base64
import json
import logging
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from bridge.broker.auth_setup import AuthError, AuthSetup
from bridge.config.settings import Auth, JwtAuth, Mqtt, Secret
from bridge.events.event import EventType
from tests.integration.broker.looking import of
from tests.integration.broker.protecting import Protected, protect, rule
from tests.integration.broker.running import Start

SECRET = "0123456789abcdef" * 4


def token(claims: dict[str, Any] | None = None, key: Any = SECRET, algorithm: str = "HS256") -> bytes:
    return jwt.encode({"sub": "x", **(claims or {})}, key, algorithm=algorithm).encode()


async def with_secret(start: Start, **more: Any) -> Protected:
    settings = {key: more.pop(key) for key in list(more) if key in JwtAuth.model_fields}
    secret = Secret(value=SecretStr(SECRET))
    return await protect(start, jwt=JwtAuth(secret=secret, **settings), **more)


def public(key: Any, path: Path) -> Path:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


async def test_a_token_is_good(start: Start, version: int) -> None:
    broker = await with_secret(start, allow_anonymous=False)
    client = await broker.connect("c", version=version, username="u", password=token())
    await client.publish("a", b"", 1)
    (event,) = of(broker.running, EventType.CLIENT_CHECK_AUTHN_COMPLETE)
    assert event.data == {"conn_ack": "success", "is_anonymous": False, "is_superuser": False}
    if version == 5:  # MQTT 5 may have a password alone
        await broker.connect("d", version=5, password=token())


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> bytes:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


@pytest.mark.parametrize(
    ("what", "password"),
    [
        ("another key", token(key="another key" * 6)),
        ("no signature", unsigned({"alg": "none", "typ": "JWT"}, {"sub": "x"})),
        ("an empty signature", unsigned({"alg": "HS256", "typ": "JWT"}, {"sub": "x"})),
        ("another algorithm", token(algorithm="HS512")),
        ("expired", token({"exp": int(time.time()) - 1})),
        ("not yet", token({"nbf": int(time.time()) + 3600})),
        ("from the future", token({"iat": int(time.time()) + 3600})),
        ("no number", token({"exp": "soon"})),
        ("no number", token({"exp": True})),
        ("cut", token()[:-8]),
        ("rubbish", b"eyJhbGciOiJIUzI1NiJ9.\xff\xff.\xff"),
        ("deep", b"eyJ" + b"A" * 40000 + b"." + b"W" * 20000 + b".x"),
        ("no token", b"s3cret"),
        ("nothing", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_token_is_bad(
    start: Start, caplog: pytest.LogCaptureFixture, what: str, password: bytes | None
) -> None:
    broker = await with_secret(start, allow_anonymous=False)
    with caplog.at_level(logging.DEBUG):
        client = await broker.connect("c", version=5, username="u", password=password, code=0x86)
        await client.wait_closed()
    assert not broker.broker.sessions
    if password is not None:
        assert password.decode("utf-8", "replace") not in caplog.text


async def test_public_keys(start: Start, tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    for name, key, algorithm in (("rsa", rsa_key, "RS256"), ("ec", ec_key, "ES256")):
        path = public(key, tmp_path / f"{name}.pem")
        broker = await protect(start, jwt=JwtAuth(public_keyfile=path), allow_anonymous=False)
        await broker.connect("c", username="u", password=token(key=key, algorithm=algorithm))
        other = ec_key if key is rsa_key else rsa_key
        wrong = token(key=other, algorithm="ES256" if key is rsa_key else "RS256")
        await broker.connect("c", username="u", password=wrong, code=4)
        # the public key, which everybody may have, taken for a shared secret
        pem = path.read_bytes()
        header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
        body = base64.urlsafe_b64encode(b'{"sub":"x"}').rstrip(b"=")
        import hashlib
        import hmac

        signature = hmac.digest(pem, header + b"." + body, hashlib.sha256)
        forged = b".".join([header, body, base64.urlsafe_b64encode(signature).rstrip(b"=")])
        await broker.connect("c", username="u", password=forged, code=4)


async def test_claims_that_must_fit(start: Start) -> None:
    claims = (("username", "${username}"), ("site", "north"), ("level", "3"))
    broker = await with_secret(start, verify_claims=claims, allow_anonymous=False)
    good = {"username": "ann", "site": "north", "level": 3}
    await broker.connect("c", username="ann", password=token(good))
    await broker.connect("c", username="bob", password=token(good), code=4)
    for name in good:
        await broker.connect("c", username="ann", password=token({**good, name: "x"}), code=4)
        less = {key: value for key, value in good.items() if key != name}
        await broker.connect("c", username="ann", password=token(less), code=4)


async def test_the_end_of_a_token_is_the_connections(start: Start, version: int) -> None:
    now = [time.time()]
    broker = await with_secret(start)
    broker.broker._clock = lambda: now[0]
    ends = int(now[0]) + 3600
    client = await broker.connect("c", version=version, username="u", password=token({"exp": ends}))
    lasting = await broker.connect("d", username="u", password=token())
    await client.ping()
    now[0] = ends + 1
    await client.expect_disconnect(0x87)
    assert ("disconnected", "not_authorized") in broker.recorder.by("c")
    await lasting.ping()


async def test_without_disconnect_nothing_is_allowed_after_it(start: Start) -> None:
    now = [time.time()]
    broker = await with_secret(start, disconnect_after_expire=False)
    broker.broker._clock = lambda: now[0]
    ends = int(now[0]) + 3600
    claims = {"exp": ends, "acl": [{"permission": "allow", "action": "all", "topic": "#"}]}
    client = await broker.connect("c", version=5, username="u", password=token(claims))
    assert await client.publish("a", b"", 1) < 0x80
    now[0] = ends + 1
    await broker.until(lambda: broker.broker.sessions["c"].client.expires is None)
    assert await client.publish("a", b"", 1) == 0x87


# --- rules in the token -------------------------------------------------------------------------------------

RULES = [
    {"permission": "deny", "action": "publish", "topic": "t/no"},
    {"permission": "allow", "action": "publish", "topic": "t/+", "qos": [1]},
    {"permission": "deny", "action": "publish", "topic": "r", "retain": True},
    {"permission": "allow", "action": "subscribe", "topic": "eq t/#"},
    {"permission": "allow", "action": "all", "topic": "u/${username}/${clientid}"},
]


async def test_a_list_of_rules(start: Start) -> None:
    broker = await with_secret(start, acl=(rule("allow", "publish", "r", "t/no"),), no_match="deny")
    client = await broker.connect("c", version=5, username="ann", password=token({"acl": RULES}))
    assert await client.publish("t/no", b"", 1) == 0x87  # the token comes before the file
    assert await client.publish("t/a", b"", 1) < 0x80
    assert await client.publish("t/a", b"", 2) == 0x87
    assert await client.publish("t/a", b"", 1) < 0x80
    assert await client.publish("r", b"", 1, retain=True) == 0x87
    assert await client.publish("r", b"", 1) < 0x80  # the file's rule
    assert await client.publish("u/ann/c", b"", 1) < 0x80
    assert await client.publish("u/bob/c", b"", 1) == 0x87
    assert await client.subscribe("t/#", 1) == 1
    assert await client.subscribe("t/a", 1) == 0x87
    sources = [
        e.data["authz_source"] for e in of(broker.running, EventType.CLIENT_CHECK_AUTHZ_COMPLETE) if e.data
    ]
    assert sources[:3] == ["client_info", "client_info", "no_match"]
    assert sources[5] == "file"
    # a reload leaves a client its token's rules
    broker.reload(broker.auth.model_copy(update={"acl": (), "no_match": "allow"}))
    assert await client.publish("t/no", b"", 1) == 0x87
    assert await client.publish("elsewhere", b"", 1) < 0x80


async def test_an_object_of_lists_is_all_that_is_allowed(start: Start) -> None:
    broker = await with_secret(start)
    acl = {"pub": ["p/#"], "sub": ["s/${clientid}"], "all": ["a"]}
    client = await broker.connect("c", version=5, username="u", password=token({"rights": acl, "acl": acl}))
    assert [await client.publish(topic, b"", 1) for topic in ("p/x", "s/c", "a", "b")] == [
        0x10,
        0x87,
        0x10,
        0x87,
    ]
    assert [await client.subscribe(topic) for topic in ("p/x", "s/c", "a", "#")] == [0x87, 0, 0, 0x87]


@pytest.mark.parametrize(
    "acl",
    [
        "all", 1, [1], [{}], [{"permission": "allow"}], [{"permission": "yes", "topic": "a"}],
        [{"permission": "allow", "topic": "a/#/b"}], [{"permission": "allow", "topic": "a", "qos": [3]}],
        [{"permission": "allow", "topic": "a", "ipaddr": "1.2.3.4"}], {"pub": "a"}, {"publish": ["a"]},
        {"pub": [1]}, [{"permission": "allow", "topic": "a"}] * 1001,
    ],
)  # fmt: skip
async def test_rules_that_cannot_be_read_let_nobody_in(start: Start, acl: Any) -> None:
    broker = await with_secret(start)
    await broker.connect("c", username="u", password=token({"acl": acl}), code=4)


async def test_superusers(start: Start) -> None:
    broker = await with_secret(start, no_match="deny")
    root = await broker.connect("r", version=5, username="u", password=token({"is_superuser": True}))
    assert await root.publish("a", b"", 1) < 0x80
    user = await broker.connect("u", version=5, username="u", password=token({"is_superuser": "true"}))
    assert await user.publish("a", b"", 1) == 0x87


async def test_passwords_and_tokens(start: Start) -> None:
    broker = await with_secret(start, password=(("ann", "s3cret"),), allow_anonymous=False)
    await broker.connect("1", username="ann", password=b"s3cret")
    await broker.connect("2", username="ann", password=token(), code=4)  # she is known by her password
    await broker.connect("3", username="bob", password=token())
    await broker.connect("4", username="bob", password=b"s3cret", code=4)
    await broker.connect("5", code=5)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (None, "cannot read"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM form"),
        ("p384", "neither RSA (RS256) nor EC on P-256 (ES256)"),
        ("rsa1024", "1024 bits"),
    ],
)
async def test_keys_that_cannot_be_used(tmp_path: Path, pem: bytes | str | None, why: str) -> None:
    import asyncio

    path = tmp_path / "k.pem"
    if pem == "p384":
        public(ec.generate_private_key(ec.SECP384R1()), path)
    elif pem == "rsa1024":
        public(rsa.generate_private_key(65537, 1024), path)
    elif isinstance(pem, bytes):
        path.write_bytes(pem)
    setup = AuthSetup(asyncio.get_running_loop())
    with pytest.raises(AuthError, match=r"auth.jwt.public.keyfile") as error:
        setup.build(Auth(jwt=JwtAuth(public_keyfile=path)), Mqtt())
    assert why in str(error.value)
