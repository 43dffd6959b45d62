"""webhook.signature, secret, secrets, credentials and proxy; no message shows a secret."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.config import mask, signing
from bridge.config.settings import Credentials, Endpoint, Secret, Signature

from .conftest import Read, shown

HEAD = 'webhook { url = "http://h", events = [ { event = on_client_connack } ]\n'
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + b64encode(b"h1dden" * 8).decode()
WHSK = "whsk_" + b64encode(bytes(32)).decode()
ENVIRON = {"NEW": WHSEC, "OLD": OTHER, "HMAC": "h1dden", "KEY": WHSK, "BAD": "whsec_h1dden"}
FORMS = 'a text in quotes, { env = NAME } or { file = "PATH" }'
NO_SIGNATURE = (
    "found a secret and no signature, expected webhook.signature = standard, mes, eryxon or hmac"
    " (only a secret that begins with whsec_ or whsk_ means standard by itself)"
)


def value(text: str) -> Secret:
    return Secret(value=SecretStr(text))


def endpoint(read: Read, inside: str) -> Endpoint:
    report = read(f"{HEAD}{inside}\n}}", ENVIRON)
    assert shown(report) == []
    assert report.settings is not None
    return report.settings.webhooks[0]


def messages(read: Read, inside: str) -> list[str]:
    found = read.lines(f"{HEAD}{inside}\n}}", ENVIRON)
    assert "h1dden" not in "".join(found)
    assert WHSEC[6:] not in "".join(found)
    assert OTHER[6:] not in "".join(found)
    return found


@pytest.mark.parametrize(
    ("inside", "signatures", "secrets"),
    [
        ("", [], []),
        ("signature = []\nsecrets = []", [], []),
        ("signature = null\nsecret = null", [], []),
        (f'signature = standard\nsecret = "{WHSEC}"', [Signature()], [value(WHSEC)]),
        (f"signature = Standard\nsecret = {WHSEC}", [Signature()], [value(WHSEC)]),
        (f'secret = "{WHSEC}"', [Signature()], [value(WHSEC)]),
        (f'secret = "{WHSK}"', [Signature()], [value(WHSK)]),
        ("secret = { env = NEW }", [Signature()], [Secret(env="NEW")]),
        ("secrets = [{ env = NEW }, { env = OLD }]", [Signature()], [Secret(env="NEW"), Secret(env="OLD")]),
        ("secrets = [{ env = NEW }, { env = KEY }]", [Signature()], [Secret(env="NEW"), Secret(env="KEY")]),
        ("secrets { env = NEW }", [Signature()], [Secret(env="NEW")]),
        ("signature = mes\nsecret = 007", [Signature(scheme="mes")], [value("007")]),
        ("signature = eryxon\nsecret = 12h", [Signature(scheme="eryxon")], [value("12h")]),
        (f'signature = mes\nsecret = "{WHSEC}"', [Signature(scheme="mes")], [value(WHSEC)]),
        ("signature = hmac\nsecret { env = HMAC }", [Signature(scheme="hmac")], [Secret(env="HMAC")]),
        (
            "signature = [standard, mes]\nsecrets = [{ env = NEW }, { env = KEY }]",
            [Signature(), Signature(scheme="mes")],
            [Secret(env="NEW"), Secret(env="KEY")],
        ),
        (
            'signature = "standard,eryxon"\nsecret = { env = NEW }',
            [Signature(), Signature(scheme="eryxon")],
            [Secret(env="NEW")],
        ),
        ("signature { scheme = mes }\nsecret = x", [Signature(scheme="mes")], [value("x")]),
        ('signature { scheme = null, header = "x-signature", prefix = "" }', [], []),
        (
            'signature { scheme = hmac, header = X-Sig, prefix = "v1=", encoding = BASE64, template = "{timestamp}.{id}.{body}%{" }\nsecret = x',
            [Signature(scheme="hmac", header="X-Sig", prefix="v1=", encoding="base64", template="{timestamp}.{id}.{body}%{")],
            [value("x")],
        ),
        (
            "signature = [\nmes\n{ scheme = hmac, header = X-A }\n{ scheme = hmac, header = X-B }\n]\nsecret = x",
            [Signature(scheme="mes"), Signature(scheme="hmac", header="X-A"), Signature(scheme="hmac", header="X-B")],
            [value("x")],
        ),
    ],
)  # fmt: skip
def test_signatures(read: Read, inside: str, signatures: list[Signature], secrets: list[Secret]) -> None:
    one = endpoint(read, inside)
    assert one.signature == tuple(signatures)
    assert one.secrets == tuple(secrets)


@pytest.mark.parametrize(
    ("inside", "found"),
    [
        ("signature = standard", ['2: error: webhook.signature: found standard and no secret, expected webhook.secret = "…", { env = NAME } or { file = "PATH" }']),
        ("signature = [mes, eryxon]\nsecrets = []", ['2: error: webhook.signature: found a signature and no secret, expected webhook.secret = "…", { env = NAME } or { file = "PATH" }']),
        ("secret = h1dden", [f"2: error: webhook.secret: {NO_SIGNATURE}"]),
        ("signature = []\nsecret = h1dden", [f"3: error: webhook.secret: {NO_SIGNATURE}"]),
        (f'secrets = [\n"{WHSEC}"\nh1dden ]', [f"4: error: webhook.secrets[1]: {NO_SIGNATURE}"]),
        ("signature = rsa\nsecret = h1dden", ["2: error: webhook.signature: found rsa, expected standard, mes, eryxon or hmac"]),
        ("signature = 3", ["2: error: webhook.signature: found 3, expected standard, mes, eryxon or hmac"]),
        ("signature = [mes, [mes]]\nsecret = x", ["2: error: webhook.signature[1]: found [mes], expected standard, mes, eryxon or hmac"]),
        ("signature { header = x-mine }\nsecret = x", ["2: error: webhook.signature: found no scheme in it, expected scheme = hmac for a signature of your own"]),
        ("signature { scheme = mes, encoding = base64 }\nsecret = x", ["2: warning: webhook.signature.encoding: it has no effect with scheme = mes, only with hmac"]),
        ("signature { scheme = hmac, heeder = x-mine }\nsecret = x", ["2: warning: webhook.signature.heeder: unknown key, it has no effect; did you mean webhook.signature.header?"]),
        ("signature { scheme = hmac, header = Content-Length }\nsecret = x", ["2: error: webhook.signature.header: found Content-Length, which is no signature's header, expected another name"]),
        ("signature { scheme = hmac, header = webhook-x }\nsecret = x", ["2: error: webhook.signature.header: found webhook-x, which is no signature's header, expected another name"]),
        ('signature { scheme = hmac, header = "x y" }\nsecret = x', ["2: error: webhook.signature.header: found \"x y\", expected a header's name: letters, digits and !#$%&'*+-.^_`|~ only"]),
        ('signature { scheme = hmac, prefix = "a\\r\\nb" }\nsecret = x', ['2: error: webhook.signature.prefix: found "a\\r\\nb", expected printable ASCII that does not begin with a space, such as "sha256="']),
        ('signature { scheme = hmac, template = "{timestamp}" }\nsecret = x', ['2: error: webhook.signature.template: found "{timestamp}", expected a text with {body} once in it, and {id} and {timestamp} where you wish: "{timestamp}.{body}"']),
        ('signature { scheme = hmac, template = "{body}{body}" }\nsecret = x', ['2: error: webhook.signature.template: found "{body}{body}", expected a text with {body} once in it, and {id} and {timestamp} where you wish: "{timestamp}.{body}"']),
        ('signature { scheme = hmac, template = "{ts}.{body}" }\nsecret = x', ['2: error: webhook.signature.template: found "{ts}.{body}", expected a text with {body} once in it, and {id} and {timestamp} where you wish: "{timestamp}.{body}"; {ts} is not known']),
        ("signature = [mes, { scheme = hmac, header = X-Mes-Signature }]\nsecret = x", ["2: error: webhook.signature[1].header: the signature goes into the header X-Mes-Signature, which another signature has too, expected it once"]),
        ("signature = [hmac, hmac]\nsecret = x", ["2: error: webhook.signature[1]: the signature goes into the header x-signature, which another signature has too, expected it once"]),
        ("headers.X-MES-signature = y\nsignature = mes\nsecret = x", ["3: error: webhook.signature: the signature goes into the header x-mes-signature, which webhook.headers has too, expected it once"]),
        ("signature = [" + ", ".join(["mes"] * 9) + "]\nsecret = x", ["2: error: webhook.signature: found 9 signatures, expected at most 8"]),
        ("signature = standard\nsecret = h1dden", ["3: error: webhook.secret: found a secret (not shown) that cannot sign as standard: it begins with neither whsec_ nor whsk_, expected whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an ed25519 private key"]),
        ("secret = whsec_h1dden", ["2: error: webhook.secret: found a secret (not shown) that cannot sign as standard: what follows whsec_ is not base64 (padded, in quotes, no spaces), expected whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an ed25519 private key"]),
        ("signature = standard\nsecret { env = BAD }", ["3: error: webhook.secret: the environment variable BAD holds one that cannot sign as standard: what follows whsec_ is not base64 (padded, in quotes, no spaces), expected whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an ed25519 private key"]),
        ("signature = mes\nsecret { env = KEY }", ["2: error: webhook.signature: found mes and no secret but ed25519 (whsk_), expected one for HMAC"]),
        ("signature = mes\nsecret { env = GONE }", ["3: error: webhook.secret.env: the environment variable GONE is not set, expected the secret there"]),
        ('signature = mes\nsecret {\nfile = "/none" }', ["4: error: webhook.secret.file: cannot read /none: No such file or directory, expected the secret there"]),
        ("secret { env = GONE }", ["2: error: webhook.secret.env: the environment variable GONE is not set, expected the secret there"]),
        (f"secret {{ env = {OTHER[:30]} }}", [f"2: error: webhook.secret: found a secret (not shown), expected {FORMS}, NAME being that of an environment variable"]),
        ("secret { env = A, file = B }", [f"2: error: webhook.secret: found a secret (not shown), expected {FORMS}"]),
        ("secret { value = h1dden }", [f"2: error: webhook.secret: found a secret (not shown), expected {FORMS}"]),
        ("secret = {}", [f"2: error: webhook.secret: found a secret (not shown), expected {FORMS}"]),
        ('secret = ""', [f"2: error: webhook.secret: found a secret (not shown), expected {FORMS}"]),
        ("signature = mes\nsecret = [h1dden]", [f"3: error: webhook.secret: found a secret (not shown), expected {FORMS}"]),
        ("signature = mes\nsecrets = [[h1dden]]", [f"3: error: webhook.secrets[0]: found a secret (not shown), expected {FORMS}"]),
        (f'secret = "{WHSEC}"\nsecrets = ["{OTHER}"]', ["3: error: webhook.secrets: found beside webhook.secret, expected one of the two: secrets = [new, old]"]),
        (f'secrets = ["{WHSEC}", {{ env = NEW }}]', ["2: warning: webhook.secrets[1]: the same secret again; it is used once"]),
        ("signature = mes\nsecrets = [1, 2, 3, 4, 5, 6, 7, 8, 9]", ["3: error: webhook.secrets: found 9 secrets, expected at most 8: every one adds a signature"]),
        (
            "signature = [standard, { scheme = hmac, header = host }]\nsecrets = [{ env = BAD }, { env = GONE }]",
            [
                "2: error: webhook.signature[1].header: found host, which is no signature's header, expected another name",
                "3: error: webhook.secrets[1].env: the environment variable GONE is not set, expected the secret there",
                "3: error: webhook.secrets[0]: the environment variable BAD holds one that cannot sign as standard: what follows whsec_ is not base64 (padded, in quotes, no spaces), expected whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an ed25519 private key",
            ],
        ),
    ],
)  # fmt: skip
def test_messages_about_signatures(read: Read, inside: str, found: list[str]) -> None:
    assert sorted(messages(read, inside)) == sorted(found)


def test_ed25519_without_its_package(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "find_spec", lambda _: None)
    assert messages(read, "secret { env = KEY }") == [
        "2: error: webhook.secret: the environment variable KEY holds one that cannot sign as standard:"
        " ed25519 needs the package cryptography: pip install 'hookmq[ed25519]'"
    ]
    assert messages(read, "secret { env = NEW }") == []


def test_a_secret_in_a_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(WHSEC + "\n")
    assert endpoint(read, f'secret {{ file = "{tmp_path}/secret" }}').secrets == (
        Secret(file=tmp_path / "secret"),
    )


def test_variables(read: Read) -> None:
    report = read(
        f"{HEAD} signature = mes, secret = h1dden, credentials {{ kind = bearer, token = x }} }}",
        {
            **ENVIRON,
            "HOOKMQ_WEBHOOK__SIGNATURE": "standard,eryxon",
            "HOOKMQ_WEBHOOK__SECRET__ENV": "NEW",
            "HOOKMQ_WEBHOOK__CREDENTIALS__TOKEN": "tok",
            "HOOKMQ_WEBHOOK__PROXY": "http://u:p@h:1",
            "HOOKMQ_WEBHOOK__RETRY__SCHEDULE": "[0s, 1s]",
            "HOOKMQ_WEBHOOK__SUCCESS": "200,202",
            "HOOKMQ_EGRESS__DENY": "10.0.0.0/8",
        },
    )
    assert report.messages == []
    assert report.settings is not None
    one = report.settings.webhooks[0]
    assert one.signature == (Signature(), Signature(scheme="eryxon"))
    assert one.secrets == (Secret(env="NEW"),)
    assert one.credentials == Credentials(kind="bearer", token=value("tok"))
    assert one.proxy == "http://u:p@h:1"
    assert one.retry.schedule == (0, 1)
    assert one.success == ((200, 200), (202, 202))
    assert report.settings.egress.deny == ("10.0.0.0/8",)
    report = read(f"{HEAD} }}", {"HOOKMQ_WEBHOOK__SECRET": "h1dden"})
    assert [str(m) for m in report.messages] == [
        f"HOOKMQ_WEBHOOK__SECRET: error: webhook.secret: {NO_SIGNATURE}"
    ]


# --- credentials --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "made"),
    [
        ("kind = basic, username = joe, password = p", Credentials(kind="basic", username="joe", password=value("p"))),
        ("kind = Bearer, token = { env = HMAC }", Credentials(kind="bearer", token=Secret(env="HMAC"))),
        (
            'kind = oauth2, token_url = "https://Login.example/t?a=b", client_id = c, client_secret { env = HMAC }, scope = "a b"',
            Credentials(kind="oauth2", token_url="https://login.example/t?a=b", client_id="c", client_secret=Secret(env="HMAC"), scope="a b"),
        ),
        ("kind = null, token = null", None),
        ("", None),
    ],
)  # fmt: skip
def test_credentials(read: Read, inside: str, made: Any) -> None:
    assert endpoint(read, f"credentials {{ {inside} }}").credentials == made


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("kind = digest", "error: webhook.credentials.kind: found digest, expected basic, bearer or oauth2"),
        ("token = h1dden", "error: webhook.credentials: found no kind in it, expected kind = basic, bearer or oauth2; did you mean kind = bearer?"),
        ("scope = a", "error: webhook.credentials: found no kind in it, expected kind = basic, bearer or oauth2"),
        ("kind = basic", "error: webhook.credentials: found no username and no password, which basic needs"),
        ("kind = basic, username = a", "error: webhook.credentials: found no password, which basic needs"),
        ("kind = bearer", "error: webhook.credentials: found no token, which bearer needs"),
        ("kind = oauth2, client_id = a", "error: webhook.credentials: found no token_url and no client_secret, which oauth2 needs"),
        ("kind = bearer, token = x, username = y", "warning: webhook.credentials.username: it has no effect with kind = bearer"),
        ("kind = bearer, token = x, tokn = y", "warning: webhook.credentials.tokn: unknown key, it has no effect; did you mean webhook.credentials.token?"),
        ('kind = bearer, token = "h1d den"', "error: webhook.credentials.token: found a secret (not shown), expected a token of printable ASCII without spaces"),
        ('kind = bearer, token = "h1dden\\r\\nX-Evil: 1"', "error: webhook.credentials.token: found a secret (not shown), expected a token of printable ASCII without spaces"),
        ("kind = bearer, token = [h1dden]", f"error: webhook.credentials.token: found a secret (not shown), expected {FORMS}"),
        ("kind = bearer, token { env = GONE }", "error: webhook.credentials.token.env: the environment variable GONE is not set, expected the secret there"),
        ('kind = basic, username = "a:b", password = x', 'error: webhook.credentials.username: found "a:b", expected a user name without a colon and control characters'),
        ('kind = basic, username = a, password = "h1dden\\n"', "error: webhook.credentials.password: found a secret (not shown), expected a text on one line, without control characters"),
        ('kind = oauth2, token_url = "ftp://h", client_id = a, client_secret = b', 'error: webhook.credentials.token_url: found "ftp://h", expected http://host[:port][/path] or https://host[:port][/path]'),
        ('kind = oauth2, token_url = "https://u:h1dden@h", client_id = a, client_secret = b', "error: webhook.credentials.token_url: found a user or password in it, expected client_id and client_secret"),
    ],
)  # fmt: skip
def test_messages_about_credentials(read: Read, inside: str, message: str) -> None:
    assert messages(read, f"credentials {{ {inside} }}") == [f"2: {message}"]


def test_credentials_are_one_object(read: Read) -> None:
    assert messages(read, 'credentials = "joe:h1dden"') == [
        '2: error: webhook.credentials: found a secret (not shown), expected one object: credentials { kind = bearer, token = "…" }'
    ]


def test_two_ways_to_identify(read: Read) -> None:
    text = "found beside an Authorization header (or a user and password in the url), expected one of them"
    credentials = "credentials { kind = bearer, token = x }"
    assert messages(read, f"headers.authorization = h1dden\n{credentials}") == [
        f"3: error: webhook.credentials: {text}"
    ]
    assert messages(read, f'url = "http://u:h1dden@h"\n{credentials}') == [
        f"3: error: webhook.credentials: {text}"
    ]


# --- proxy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("http://h:3128", "http://h:3128"),
        ("HTTP://h:3128/", "http://h:3128"),
        ("http://u:p%40ss@[::1]:3128", "http://u:p%40ss@[::1]:3128"),
    ],
)
def test_proxy(read: Read, text: str, kept: str) -> None:
    assert endpoint(read, f'proxy = "{text}"').proxy == kept


PROXY = "http://[user:password@]host:port (reserved characters of a password percent-encoded)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h:3128", f'found "h:3128", expected {PROXY}'),
        ("u:h1dden@h:3128", f'found "******@h:3128", expected {PROXY}'),
        ("http://u:h1dden@h", f'found "http://******@h" without a port, expected {PROXY}'),
        ("https://u:h1dden@h:3128", f'found "https://******@h:3128", expected {PROXY}; a proxy that is reached over TLS is not supported'),
        ("socks5://u:h1dden@h:1080", f'found "socks5://******@h:1080", expected {PROXY}'),
        ("http://u:h1d/h1dden@h:3128", f'found "http://******@h:3128", expected {PROXY}'),
        ("http://u:h1dden@h:3128/x", f'found "http://******@h:3128/x" with a path, expected {PROXY}'),
        ("http://h:0", f'found "http://h:0", expected {PROXY}'),
    ],
)  # fmt: skip
def test_messages_about_the_proxy(read: Read, text: str, message: str) -> None:
    assert messages(read, f'proxy = "{text}"') == [f"2: error: webhook.proxy: {message}"]


def test_a_url_with_a_slash_in_its_password(read: Read) -> None:
    assert "http://******@h" in read.lines(HEAD + 'url = "http://u:h1d/h1dden@h" }')[0]
    assert "h1dden" not in read.lines(HEAD + 'url = "http://u:h1d/h1dden@h" }')[0]


# --- what is shown ------------------------------------------------------------------------------------------


def test_effective_shows_no_secret_and_loads_again(read: Read, tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OTHER)
    text = f"""{HEAD}
        signature = [standard, {{ scheme = hmac, header = X-Sig, prefix = "a=" }}]
        secrets = [ "{WHSEC}", {{ env = OLD }} ]
        credentials {{ kind = oauth2, token_url = "https://t/?api_key=h1dden", client_id = c, client_secret = h1dden }}
        proxy = "http://u:h1dden@h:3128"
    }}"""
    first = read(text, ENVIRON).settings
    assert first is not None
    out = mask.effective(first)
    assert "h1dden" not in out
    assert WHSEC[6:] not in out
    assert 'secrets = ["******", { env = "OLD" }]' in out
    assert 'client_secret = "******"' in out
    assert 'token_url = "https://t/?api_key=******"' in out
    assert 'proxy = "http://******@h:3128"' in out
    assert WHSEC not in repr(first.webhooks[0].secrets)
    again = read(out.replace('["******"', f'["{WHSEC}"'), ENVIRON)
    assert again.messages == []
    assert again.settings is not None
    one, two = first.webhooks[0], again.settings.webhooks[0]
    assert (two.signature, two.secrets) == (one.signature, one.secrets)
    assert two.credentials is not None
    assert two.credentials.client_secret == value("******")
    assert two.model_copy(update={"credentials": one.credentials, "proxy": one.proxy}) == one
