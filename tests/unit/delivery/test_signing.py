"""Signatures against published vectors, the readers' own libraries, and hmac of the standard library."""

from __future__ import annotations

import base64
import builtins
import hashlib
import hmac
import time
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import BatchPolicy, BreakerPolicy, Endpoint, Secret, Signature
from bridge.delivery.signing import Signer, make_signer
from bridge.delivery.target import EndpointError, Target
from tests.integration.receiver import Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

# INTEROP 5, and the test of the reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
# The Go reference library signs with the seed, Svix's server with seed and public key.
SEED = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
SEED_V1A = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="
PAIR = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PAIR_V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes -----").decode()


def endpoint(*schemes: str | Signature, secrets: tuple[Any, ...] = (SECRET,), **settings: Any) -> Endpoint:
    return Endpoint(
        name="mes",
        url="http://127.0.0.1/",
        signature=tuple(s if isinstance(s, Signature) else Signature(scheme=s) for s in schemes),  # type: ignore[arg-type]
        secrets=tuple(s if isinstance(s, Secret) else Secret(value=s) for s in secrets),
        **settings,
    )


def signer(
    *schemes: str | Signature, secrets: tuple[Any, ...] = (SECRET,), prefix: bytes = b"msg_"
) -> Signer:
    made = make_signer(endpoint(*schemes, secrets=secrets), prefix)
    assert made is not None
    return made


def sign(
    *schemes: str | Signature,
    secrets: tuple[Any, ...] = (SECRET,),
    id_: str = ID,
    timestamp: int = TIMESTAMP,
    body: bytes = BODY,
) -> dict[str, str]:
    """The headers, by name as it stands."""
    lines = signer(*schemes, secrets=secrets).sign(id_.removeprefix("msg_").encode(), timestamp, body)
    nothing, first, *rest = lines.decode("ascii").split("\r\n")
    assert (nothing, first) == ("", f"webhook-timestamp: {timestamp}")
    headers = dict(line.split(": ", 1) for line in rest)
    assert len(headers) == len(schemes)
    return headers


def hex_of(key: str, content: bytes) -> str:
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()


# -- standard ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        ((SECRET,), V1),
        ((SEED,), SEED_V1A),
        ((PAIR,), PAIR_V1A),
        ((SECRET, PAIR), f"{V1} {PAIR_V1A}"),
        ((PAIR, SECRET), f"{PAIR_V1A} {V1}"),
        ((SEED, SECRET, PAIR), f"{SEED_V1A} {V1} {PAIR_V1A}"),
    ],
)
def test_published_vectors(secrets: tuple[str, ...], expected: str) -> None:
    assert sign("standard", secrets=secrets) == {"webhook-signature": expected}


def test_the_public_key_of_the_vector_verifies() -> None:
    public = Ed25519PublicKey.from_public_bytes(
        base64.b64decode("1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")
    )
    value = sign("standard", secrets=(PAIR,))["webhook-signature"]
    public.verify(base64.b64decode(value.removeprefix("v1a,")), f"{ID}.{TIMESTAMP}.".encode() + BODY)


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.webhooks.Webhook])
@pytest.mark.parametrize("secrets", [(SECRET,), (OTHER, SECRET), (SECRET, OTHER), (PAIR, SECRET)])
def test_the_readers_libraries_verify(library: Any, secrets: tuple[str, ...]) -> None:
    now = int(time.time())
    body = '{"payload":"Grüße \U0001f600 \\u0000"}'.encode()
    headers = sign("standard", secrets=secrets, timestamp=now, body=body)
    headers |= {"webhook-id": ID, "webhook-timestamp": str(now)}
    library(SECRET).verify(body, headers)
    with pytest.raises(Exception, match="No matching signature"):
        library(SECRET).verify(body + b" ", headers)
    with pytest.raises(Exception, match="No matching signature"):
        library("whsec_" + base64.b64encode(bytes(32)).decode()).verify(body, headers)


@given(
    key=st.binary(min_size=24, max_size=64),
    id_=st.text("0123456789abcdef_", max_size=40),
    timestamp=st.integers(0, 1 << 40),
    body=st.binary(max_size=300),
)
def test_hmac_is_that_of_the_standard_library(key: bytes, id_: str, timestamp: int, body: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    content = f"msg_{id_}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    for secrets in ((secret,), (secret, SECRET)):
        value = sign("standard", secrets=secrets, id_=f"msg_{id_}", timestamp=timestamp, body=body)
        assert value["webhook-signature"].split()[0] == f"v1,{expected}"


@pytest.mark.parametrize("secrets", [(SECRET,), (SECRET, PAIR)])
def test_a_signer_keeps_nothing_of_a_request(secrets: tuple[str, ...]) -> None:
    made = signer("standard", secrets=secrets)
    first = made.sign(b"1", 5, b"a")
    others = [made.sign(b"2", 5, b"a"), made.sign(b"2", 6, b"a"), made.sign(b"1", 5, b"b")]
    assert len({first, *others}) == 4
    assert made.sign(b"1", 5, b"a") == first


# -- one value a header ------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["s3cret", SECRET, "Schlüssel 鍵", "x" * 64, "x" * 65, "x" * 1000])
def test_mes_and_eryxon_key_with_all_characters_of_the_secret(secret: str) -> None:
    body = b'{"id":"1","type":"work_order.created"}'
    expected = hex_of(secret, body)
    assert sign("mes", secrets=(secret,), body=body) == {"x-mes-signature": expected}
    assert sign("eryxon", secrets=(secret,), body=body) == {"X-Eryxon-Signature": f"sha256={expected}"}


def test_a_vector_of_rfc_4231() -> None:
    """Test case 2: key "Jefe", data "what do ya want for nothing?"."""
    assert sign("mes", secrets=("Jefe",), body=b"what do ya want for nothing?") == {
        "x-mes-signature": "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    }


@pytest.mark.parametrize(
    ("settings", "name", "content", "form"),
    [
        ({}, "x-signature", BODY, "{hex}"),
        ({"header": "X-Hub-Signature-256", "prefix": "sha256="}, "X-Hub-Signature-256", BODY, "sha256={hex}"),
        ({"encoding": "base64"}, "x-signature", BODY, "{base64}"),
        (
            {"template": "v0:{timestamp}:{body}", "prefix": "v0="},
            "x-signature",
            f"v0:{TIMESTAMP}:".encode() + BODY,
            "v0={hex}",
        ),
        (
            {"template": "{id}.{timestamp}.{body}", "encoding": "base64"},
            "x-signature",
            f"{ID}.{TIMESTAMP}.".encode() + BODY,
            "{base64}",
        ),
        (
            {"template": "100%d {{ {id}{body}ü{body} %"},
            "x-signature",
            f"100%d {{{{ {ID}".encode() + BODY + "ü".encode() + BODY + b" %",
            "{hex}",
        ),
    ],
)
def test_hmac_as_configured(settings: dict[str, str], name: str, content: bytes, form: str) -> None:
    mac = hmac.new(b"secret", content, hashlib.sha256).digest()
    expected = form.replace("{hex}", mac.hex()).replace("{base64}", base64.b64encode(mac).decode())
    headers = sign(Signature(scheme="hmac", **settings), secrets=("secret",))  # type: ignore[arg-type]
    assert headers == {name: expected}


def test_several_at_once_and_the_newest_secret_where_one_value_fits() -> None:
    headers = sign("standard", "mes", "eryxon", Signature(scheme="hmac"), secrets=(OTHER, SECRET))
    new, old = headers["webhook-signature"].split()
    assert old == V1
    assert new != V1
    expected = hex_of(OTHER, BODY)
    assert headers["x-mes-signature"] == headers["x-signature"] == expected
    assert headers["X-Eryxon-Signature"] == f"sha256={expected}"


def test_ed25519_is_passed_over_where_hmac_is_needed() -> None:
    headers = sign("standard", "mes", secrets=(PAIR, SECRET))
    assert headers == {"webhook-signature": f"{PAIR_V1A} {V1}", "x-mes-signature": hex_of(SECRET, BODY)}


# -- what cannot sign --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schemes", "secrets", "key", "cause"),
    [
        (["standard"], [], "secret", "no secret"),
        (["standard"], ["hunter2"], "signature", "neither whsec_ nor whsk_"),
        (["standard"], [SECRET, "hunter2"], "signature", "neither whsec_ nor whsk_"),
        (["standard"], ["whsec_hunter2"], "secret", "not base64"),
        (["standard"], ["whsec_aHVudGVyMg=="], "secret", "7 bytes"),
        (["mes"], [SECRET, "whsec_aHVudGVyMg=="], "secrets[1]", "7 bytes"),
        (["standard"], ["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="], "signature", "public key"),
        (
            ["standard"],
            ["whsk_" + base64.b64encode(bytes(64)).decode()],
            "signature",
            "do not belong together",
        ),
        (["mes"], [PAIR], "signature", "whsk_ is for ed25519"),
        (["standard", "standard"], [SECRET], "signature[1]", "already"),
        (["mes", Signature(scheme="hmac", header="X-MES-Signature")], ["s"], "signature[1]", "already"),
        ([Signature(scheme="hmac", header="a b")], ["s"], "signature.header", "header name"),
        ([Signature(scheme="hmac", header="Content-Length")], ["s"], "signature.header", "another meaning"),
        ([Signature(scheme="hmac", header="webhook-id")], ["s"], "signature.header", "another meaning"),
        ([Signature(scheme="hmac", prefix="a\r\nX: ")], ["s"], "signature.prefix", "printable"),
        ([Signature(scheme="hmac", template="{id}")], ["s"], "signature", "no {body}"),
        ([Signature(scheme="hmac", template="{ts}.{body}")], ["s"], "signature", "{ts} is not known"),
        (["mes"], [Secret(env="NO_SUCH_VARIABLE_IS_SET")], "secret", "NO_SUCH_VARIABLE_IS_SET"),
        (["mes"], [Secret(file=Path("/nonexistent/secret"))], "secret", "/nonexistent/secret"),
    ],
)
def test_what_cannot_sign_is_told_at_start(
    schemes: list[Any], secrets: list[Any], key: str, cause: str
) -> None:
    with pytest.raises(EndpointError) as caught:
        Target(endpoint(*schemes, secrets=tuple(secrets)), "0123456789ab")
    assert caught.value.key == key
    assert cause in caught.value.cause
    assert "\n" not in str(caught.value)
    for secret in secrets:
        if isinstance(secret, str) and len(secret) > 1:
            assert (secret.partition("_")[2] or secret) not in str(caught.value)


def test_ed25519_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EndpointError) as caught:
        signer("standard", secrets=(PAIR,))
    assert str(caught.value) == (
        "webhook mes: signature: a whsk_ secret (ed25519) needs the package cryptography: "
        "pip install 'hookmq[ed25519]'"
    )
    assert signer("standard").sign(b"1", 1, b"")  # the others need nothing


def test_secrets_come_from_the_environment_and_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    for secret in (Secret(file=path), Secret(env="HOOK_SECRET")):
        assert sign("standard", secrets=(secret,)) == {"webhook-signature": V1}


# -- in the target -----------------------------------------------------------------------------------------


def test_a_configured_header_cannot_stand_beside_a_signature() -> None:
    headers = (("X-MES-Signature", "forged"), ("webhook-signature", "forged"), ("X-Other", "kept"))
    target = Target(endpoint("mes", headers=headers, secrets=("s",)), "0123456789ab")
    assert b"forged" not in target.head
    assert b"X-Other: kept" in target.head
    assert [warning.split(": ")[1].split()[0] for warning in target.warnings] == [
        "headers.X-MES-Signature",
        "headers.webhook-signature",
    ]
    # Without the scheme it is a header like any other.
    assert b"X-MES-Signature: forged" in Target(endpoint(headers=headers, secrets=()), "0").head


def test_a_secret_without_a_signature_is_a_warning() -> None:
    target = Target(endpoint(), "0123456789ab")
    assert target.sign is None
    assert "not signed" in target.warnings[0]


def test_no_secret_shows_in_the_constant_head() -> None:
    target = Target(endpoint("standard", "mes", secrets=(SECRET, PAIR)), "0123456789ab")
    assert SECRET.encode() not in target.head
    assert PAIR.encode() not in target.head


def test_ed25519_keys_are_the_usual_ones() -> None:
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    secret = "whsk_" + base64.b64encode(seed).decode()
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    value = sign("standard", secrets=(secret,), body=b"")["webhook-signature"]
    public.verify(base64.b64decode(value.removeprefix("v1a,")), f"{ID}.{TIMESTAMP}.".encode())


# -- in a lane ---------------------------------------------------------------------------------------------


async def test_what_cannot_be_signed_is_no_fault_of_the_endpoint(receiver: Receiver) -> None:
    """The event waits for its retry; the breaker does not count it, and the next one goes out."""
    rig = Rig(
        receiver.url(),
        signature=(Signature(),),
        secrets=(Secret(value=SECRET),),  # type: ignore[arg-type]
        breaker=BreakerPolicy(failures=1),
    ).start()
    sign = rig.lane.pool.sign
    assert sign is not None

    def broken(name: bytes, timestamp: int, body: bytes) -> bytes:
        raise MemoryError(SECRET)

    rig.lane.pool.sign = broken
    rig.publish("first")
    rig.flush()
    await until(lambda: rig.lane.retrying == 1)
    assert rig.lane.pool.in_flight == 0
    rig.flush()
    (row,) = rig.store.retries(rig.lane.id)
    assert row.error == "sign: cannot sign: MemoryError"
    rig.lane.pool.sign = sign
    rig.publish("second")
    rig.flush()
    (request,) = await receiver.wait_count(1)
    assert request.json["topic"] == "second"
    standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    assert rig.lane.dead == 0
    await rig.lane.stop(0)


async def test_a_group_is_signed_as_it_is_sent(receiver: Receiver) -> None:
    rig = Rig(
        receiver.url(),
        signature=(Signature(), Signature(scheme="mes")),
        secrets=(Secret(value=SECRET),),  # type: ignore[arg-type]
        batch=BatchPolicy(max_events=5, max_wait=0.01),
    ).start()
    for number in range(20):
        rig.publish(str(number))
    rig.flush()
    await until(lambda: rig.lane.delivered == 20)
    assert len(receiver.requests) < 20
    for request in receiver.requests:
        standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
        assert request.header("x-mes-signature") == hex_of(SECRET, request.body)
    await rig.lane.stop(0)
