"""What `--verify` says: good signatures of every kind, and each usual mistake by its name."""

from __future__ import annotations

import base64
import builtins
import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.verify import MAX_TRIED_BYTES, Verifier, VerifyError

# INTEROP 5, and the published vectors of ed25519.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
OTHER = "whsec_" + base64.b64encode(bytes(24)).decode()
FITS_NOT = "the secret does not fit: it is another secret, or something was changed on the way"


def mac(key: bytes | str, content: bytes) -> bytes:
    return hmac.new(key.encode() if isinstance(key, str) else key, content, hashlib.sha256).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def check(
    request: dict[str, str] | list[tuple[str, str]],
    *secrets: str,
    body: bytes = BODY,
    now: float = TIMESTAMP,
    **options: Any,
) -> list[str]:
    found = Verifier(secrets or (SECRET,), clock=lambda: now, **options).check(
        list(request.items()) if isinstance(request, dict) else request, body
    )
    for ok, text in found:
        assert ok is {"ok": True, "wrong": False, "missing": False}.get(text.split()[1].rstrip(":"))
    return [text for _, text in found]


def standard(value: str, timestamp: object = TIMESTAMP) -> dict[str, str]:
    return {"Webhook-Id": ID, "webhook-timestamp": str(timestamp), "WEBHOOK-SIGNATURE": value}


# -- good ones ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "secrets", "said"),
    [
        (V1, [SECRET], "v1"),
        (V1, [OTHER, SECRET], "v1, secret 2 of 2"),
        (f"{V1A} {V1}", [SECRET], "v1"),
        (f"v1,AAAA {V1}", [SECRET], "v1"),
        (f"v2,x {V1} v1a,!", [SECRET], "v1"),
        (V1A, [PUBLIC], "v1a"),
        (V1A, [PRIVATE], "v1a"),
        (f"{V1} {V1A}", [PUBLIC, OTHER], "v1a, secret 1 of 2"),
    ],
)
def test_standard(value: str, secrets: list[str], said: str) -> None:
    assert check(standard(value), *secrets) == [f"signature ok: webhook-signature ({said})"]


@pytest.mark.parametrize("now", [TIMESTAMP - 300, TIMESTAMP + 300])
def test_readers_allow_five_minutes(now: float) -> None:
    assert check(standard(V1), now=now)[0].startswith("signature ok")


def test_mes_eryxon_and_others() -> None:
    value = mac("s3cret", BODY)
    headers = {
        "x-mes-signature": value.hex(),
        "X-Eryxon-Signature": f"sha256={value.hex()}",
        "X-Hub-Signature-256": f"sha256={value.hex()}",
        "X-Shop-Hmac": b64(value),
    }
    assert check(headers, "s3cret", headers=["x-hub-signature-256", "X-Shop-Hmac"]) == [
        "signature ok: x-mes-signature (hex)",
        "signature ok: x-eryxon-signature (sha256=hex)",
        "signature ok: x-hub-signature-256 (sha256=hex)",
        "signature ok: x-shop-hmac (base64)",
    ]


def test_a_template_with_id_and_timestamp() -> None:
    value = mac("s", f"v0:{TIMESTAMP}:{ID}:".encode() + BODY).hex()
    headers = standard("") | {"X-Sig": f"t={TIMESTAMP},v0={value}"}
    del headers["WEBHOOK-SIGNATURE"]
    options = {"headers": ["X-Sig"], "template": "v0:{timestamp}:{id}:{body}"}
    assert check(headers, "s", **options) == [f"signature ok: x-sig (t={TIMESTAMP},v0=hex)"]
    del headers["Webhook-Id"]
    assert check(headers, "s", **options) == [
        "signature wrong: x-sig: there is no webhook-id header, and it is part of what is signed"
    ]


def test_a_whsec_secret_keys_mes_with_all_its_characters() -> None:
    assert check({"x-mes-signature": mac(SECRET, BODY).hex()}) == ["signature ok: x-mes-signature (hex)"]


# -- wrong ones --------------------------------------------------------------------------------------------


def wrong(name: str, cause: str) -> list[str]:
    return [f"signature wrong: {name}: {cause}"]


def test_no_header() -> None:
    assert check({"content-type": "application/json"}, headers=["X-Own"]) == [
        "signature missing: no webhook-signature, x-mes-signature, x-eryxon-signature or x-own header"
    ]


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_a_part_of_standard_is_missing(name: str) -> None:
    headers = {key: value for key, value in standard(V1).items() if key.lower() != name}
    cause = f"there is no {name} header, and it is part of what is signed"
    assert check(headers) == wrong("webhook-signature", cause)


@pytest.mark.parametrize(
    ("timestamp", "now", "cause"),
    [
        (TIMESTAMP, TIMESTAMP + 301, "is 301 s behind this machine's clock, readers allow 300 s"),
        (TIMESTAMP, TIMESTAMP - 301, "is 301 s ahead of this machine's clock, readers allow 300 s"),
        (
            TIMESTAMP * 1000,
            TIMESTAMP,
            f"is {TIMESTAMP * 999} s ahead of this machine's clock, readers allow 300 s; "
            "it looks like milliseconds",
        ),
        ("yesterday", TIMESTAMP, "'yesterday' is no number of seconds"),
    ],
)
def test_a_timestamp_too_far_away(timestamp: object, now: float, cause: str) -> None:
    value = "v1," + b64(mac(KEY, f"{ID}.{timestamp}.".encode() + BODY))
    said = check(standard(value, timestamp), now=now)
    assert said == wrong("webhook-signature", f"it fits (v1), but webhook-timestamp {cause}")


@pytest.mark.parametrize(
    ("value", "secrets", "cause"),
    [
        (V1, [OTHER], FITS_NOT),
        (V1, [OTHER, OTHER], FITS_NOT.replace("the secret does not fit", "none of the secrets fits")),
        (V1A, ["whpk_" + b64(Ed25519PrivateKey.generate().public_key().public_bytes_raw())], FITS_NOT),
        (V1A.replace(",", ",!"), [PUBLIC], FITS_NOT),
        (V1, [PUBLIC], "it has v1, which needs a secret that begins with whsec_"),
        (V1A, [SECRET], "it has v1a, which needs a secret that begins with whpk_"),
        (
            f"{V1} {V1A}",
            ["plain"],
            "it has v1 and v1a, which needs a secret that begins with whsec_ or whpk_",
        ),
        (
            "",
            [SECRET],
            "its 0 characters hold no HMAC-SHA256, expected 64 hex digits or 44 characters of base64",
        ),
        (V1.removeprefix("v1,"), [SECRET], "the HMAC fits, in base64, expected v1,<base64>"),
        (
            mac(KEY, f"{ID}.{TIMESTAMP}.".encode() + BODY).hex(),
            [SECRET],
            "the HMAC fits, in hex, expected v1,<base64>",
        ),
        (
            "v1," + b64(mac(SECRET, f"{ID}.{TIMESTAMP}.".encode() + BODY)),
            [SECRET],
            "its key is the secret's characters as they stand, expected the base64 behind whsec_ decoded",
        ),
        ("v1," + b64(mac(KEY, BODY)), [SECRET], "it signs {body}, expected {id}.{timestamp}.{body}"),
        (
            "v1," + b64(mac(KEY, f"{TIMESTAMP}.".encode() + BODY)),
            [OTHER, SECRET],
            "it signs {timestamp}.{body}, expected {id}.{timestamp}.{body}, secret 2 of 2",
        ),
    ],
)
def test_what_is_wrong_with_standard(value: str, secrets: list[str], cause: str) -> None:
    assert check(standard(value), *secrets) == wrong("webhook-signature", cause)


@pytest.mark.parametrize(
    ("signed", "came", "what"),
    [
        (b'{"test":2432232314}', BODY, "the body as compact JSON"),
        (b'{"test": 2432232314}', b'{"test":2432232314}', "the body as JSON with spaces"),
        (BODY, BODY + b"\n", "the body without the white space around it"),
        (BODY + b"\n", BODY, "the body with a line feed at its end"),
        (b"", BODY, "an empty body"),
    ],
)
def test_a_body_that_was_written_anew(signed: bytes, came: bytes, what: str) -> None:
    value = "v1," + b64(mac(KEY, f"{ID}.{TIMESTAMP}.".encode() + signed))
    cause = f"it fits {what}: the body was changed after it was signed"
    assert check(standard(value), body=came) == wrong("webhook-signature", cause)
    headers = {"x-mes-signature": mac("s", signed).hex()}
    assert check(headers, "s", body=came) == wrong("x-mes-signature", cause)


def test_a_body_that_was_changed_otherwise() -> None:
    assert check(standard(V1), body=BODY.replace(b"2", b"3")) == wrong("webhook-signature", FITS_NOT)
    assert check(standard(V1), body=b"\xff" * 10) == wrong("webhook-signature", FITS_NOT)
    assert check(standard(V1), body=b" " * (MAX_TRIED_BYTES + 1)) == wrong("webhook-signature", FITS_NOT)


@pytest.mark.parametrize(
    ("name", "value", "secret", "cause"),
    [
        ("x-mes-signature", mac("other", BODY).hex(), "s", FITS_NOT),
        (
            "x-mes-signature",
            f"sha256={mac('s', BODY).hex()}",
            "s",
            "the HMAC fits, in hex, expected 64 lower-case hex digits alone",
        ),
        (
            "x-mes-signature",
            mac("s", BODY).hex().upper(),
            "s",
            "the HMAC fits, in hex, expected 64 lower-case hex digits alone",
        ),
        (
            "x-mes-signature",
            b64(mac("s", BODY)),
            "s",
            "the HMAC fits, in base64, expected 64 lower-case hex digits alone",
        ),
        (
            "x-eryxon-signature",
            mac("s", BODY).hex(),
            "s",
            "the HMAC fits, in hex, expected sha256=<lower-case hex>",
        ),
        (
            "x-mes-signature",
            mac(KEY, BODY).hex(),
            SECRET,
            "its key is the decoded base64 of the secret, expected all its characters as they stand",
        ),
        (
            "x-own",
            mac("s", BODY).hex() + ";",
            "s",
            "the HMAC fits, in hex, expected it at the end, in hex or base64",
        ),
        (
            "x-mes-signature",
            "nonsense",
            "s",
            "its 8 characters hold no HMAC-SHA256, expected 64 hex digits or 44 characters of base64",
        ),
    ],
)
def test_what_is_wrong_with_the_others(name: str, value: str, secret: str, cause: str) -> None:
    assert check({name: value}, secret, headers=["x-own"]) == wrong(name, cause)


def test_hmac_cannot_be_checked_with_an_ed25519_key() -> None:
    (verdict,) = Verifier([PUBLIC]).check([("x-mes-signature", "0" * 64)], BODY)
    assert verdict.ok is None
    assert (
        verdict.text == "signature not checked: x-mes-signature needs the secret for HMAC, not an ed25519 key"
    )


def test_the_first_of_two_headers_may_be_wrong() -> None:
    headers = [("x-mes-signature", "0" * 64), ("x-mes-signature", mac("s", BODY).hex())]
    assert check(headers, "s") == ["signature ok: x-mes-signature (hex)"]


# -- secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "cause"),
    [
        ("", "secret 2 is empty."),
        ("whsec_hunter2", "secret 2: what follows whsec_ is not base64."),
        ("whsec_hünter2=", "secret 2: what follows whsec_ is not base64."),
        ("whsec_", "secret 2: nothing follows whsec_."),
        ("whpk_aHVudGVyMg==", "secret 2: whpk_ is followed by 7 bytes, expected an ed25519 key."),
    ],
)
def test_secrets_that_cannot_be_used(secret: str, cause: str) -> None:
    with pytest.raises(VerifyError) as caught:
        Verifier(["fine", secret])
    assert str(caught.value) == cause


def test_a_template_without_the_body() -> None:
    with pytest.raises(VerifyError, match=r"has no \{body\}"):
        Verifier(["s"], template="{id}")


def test_ed25519_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        VerifyError, match=r"needs the package cryptography: pip install 'hookmq\[ed25519\]'\."
    ):
        Verifier([PUBLIC])
    Verifier([SECRET, "plain"])
