"""`auth` in a real process: `hookmq passwd`, a reload, the page's examples, real clients, no secret told."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import aiomqtt
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.broker.auth_hashes import verify
from bridge.config.load import load
from bridge.mqtt.packets import Publish
from tests.integration.commands import command
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ
from tests.integration.receiver import Receiver
from tests.integration.test_reload import reload

PAGE = (ROOT / "docs" / "security.md").read_text()
SECRET = "hunter2-s3cret"


def passwd(
    file: Path, *arguments: str, secret: str | bytes | None = SECRET
) -> subprocess.CompletedProcess[bytes]:
    given = secret.encode() + b"\n" if isinstance(secret, str) else secret or b""
    return subprocess.run(
        [sys.executable, "-m", "bridge", "passwd", str(file), *arguments],
        input=given,
        capture_output=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )


def users(file: Path) -> dict[str, str]:
    """The file as HookMQ reads it."""
    conf = file.with_name("all.conf")
    conf.write_text(f'auth.password = {{ include "{file.name}" }}\n')
    report = load(conf, {})
    assert report.messages == []
    assert report.settings is not None
    return {user: secret.get_secret_value() for user, secret in report.settings.auth.password}


# --- hookmq passwd ------------------------------------------------------------------------------------------


def test_passwd(tmp_path: Path) -> None:
    file = tmp_path / "pwd.conf"
    for arguments in (["line7"], ["scada.north", "--algorithm", "bcrypt"], ["dörte q"]):
        done = passwd(file, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    found = users(file)
    assert list(found) == ["line7", "scada.north", "dörte q"]
    assert found["line7"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert found["scada.north"].startswith("$2b$10$")
    assert all(verify(stored, SECRET.encode()) for stored in found.values())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SECRET not in file.read_text()
    assert passwd(file, "line7", secret="new").returncode == 0
    assert verify(users(file)["line7"], b"new")
    assert passwd(file, "scada.north", "--delete", secret=None).returncode == 0
    assert list(users(file)) == ["line7", "dörte q"]
    assert list(tmp_path.glob(".pwd*")) == []


def test_passwd_leaves_all_else_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "pwd.conf"
    file.write_text('# of the plant\n"admin" : "public"  # well known\njohn.doe: 12h\n\n// the end\n')
    file.chmod(0o640)
    assert passwd(file, "john.doe").returncode == 0
    lines = file.read_text().splitlines()
    assert lines[:2] == ["# of the plant", '"admin" : "public"  # well known']
    assert lines[2].startswith('"john.doe" : "$argon2id$')
    assert lines[3:] == ["", "// the end"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "arguments", "secret", "message"),
    [
        ("", ["u", "--delete"], None, 'there is no user "u"'),
        ("a : b\n", ["u", "-D"], None, 'there is no user "u"'),
        ("", ["u"], "", "the password is empty; nothing has changed"),
        ("", ["u"], b"\xff\xfe\n", "the password is not UTF-8 text"),
        ("", ["u", "--algorithm", "bcrypt"], "x" * 73, "bcrypt takes passwords of up to 72 bytes"),
        ("", [""], "x", "the user name is empty"),
        ("", ["a\nb"], "x", "not printable"),
        ('"a" : "b", "u" : "c"\n', ["u"], "x", "change it by hand"),
        ('"a" : {\n', ["u"], "x", "HOCON syntax"),
    ],
)
def test_passwd_that_cannot_be(
    tmp_path: Path, text: str, arguments: list[str], secret: str | bytes | None, message: str
) -> None:
    file = tmp_path / "pwd.conf"
    file.write_text(text)
    done = passwd(file, *arguments, secret=secret)
    assert done.returncode == 1
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert file.read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pwd.conf"]


@pytest.mark.parametrize(("second", "code"), [("s3cret", 0), ("other", 1)])
def test_passwd_asks_on_a_terminal_without_echo(tmp_path: Path, second: str, code: int) -> None:
    file = tmp_path / "pwd.conf"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "bridge", "passwd", str(file), "u"])
    said = b""
    answers = {b"Password: ": b"s3cret\n", b"Again: ": second.encode() + b"\n"}
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            said += os.read(terminal, 4096)
        except OSError:
            break
        for question in [question for question in answers if said.endswith(question)]:
            os.write(terminal, answers.pop(question))
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
    assert b"s3cret" not in said
    assert b"other" not in said
    if code == 0:
        assert verify(users(file)["u"], b"s3cret")
    else:
        assert b"nothing has changed" in said
        assert not file.exists()


# --- a running HookMQ ---------------------------------------------------------------------------------------

AUTH = """auth {
  allow_anonymous = false
  password = { include "pwd.conf" }
  acl = { include "acl.conf" }
  no_match = deny
}
"""


async def test_users_and_rules_that_change(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        (tmp_path / "acl.conf").write_text('rules = [ { permit = allow, topics = ["a"] } ]\n')
        passwd(tmp_path / "pwd.conf", "ann")
        hook = f"""webhook {{ url = "{receiver.url()}", format = emqx
          triggers = ["client.check_authn_complete", "client.check_authz_complete", "client.connack"] }}\n"""
        async with HookMQ(tmp_path, hook, AUTH, "log.level = debug\n") as hookmq:
            client = await Client.connect(
                hookmq.port, "c", version=5, username="ann", password=SECRET.encode()
            )
            assert await client.publish("a", b"", 1) < 0x80
            assert await client.publish("b", b"", 1) == 0x87
            assert await client.subscribe("#") == 0x87
            refused = await Client.connect(hookmq.port, "x", username="bob", password=SECRET.encode(), code=4)
            await refused.wait_closed()
            # other users, other rules, without a restart
            passwd(tmp_path / "pwd.conf", "bob")
            passwd(tmp_path / "pwd.conf", "ann", secret="changed")
            (tmp_path / "acl.conf").write_text('rules = [ { permit = allow, topics = ["b"] } ]\n')
            done = await reload(hookmq)
            assert done["changes"] == [
                "auth: changed; connected clients get the new access rules, and stay connected"
            ]
            assert await client.publish("a", b"", 1) == 0x87
            assert await client.publish("b", b"", 1) < 0x80
            await Client.connect(hookmq.port, "y", username="bob", password=SECRET.encode())
            await Client.connect(hookmq.port, "z", username="ann", password=SECRET.encode(), code=4)
            # what cannot be read changes nothing
            (tmp_path / "acl.conf").write_text("rules = [ { permit = perhaps } ]\n")
            assert not (await reload(hookmq, ok=False))["applied"]
            assert await client.publish("b", b"", 1) < 0x80
            await client.disconnect()
            await receiver.wait_for(
                lambda rs: sum(r.json["event"] == "client.check_authz_complete" for r in rs) >= 6
            )
            told = "\n".join(request.body.decode() for request in receiver.requests)
            assert SECRET not in hookmq.log + hookmq.stdout + told
            assert "argon2" not in hookmq.log + hookmq.stdout + told
            names = [
                (r.json["clientid"], r.json["reason_code"])
                for r in receiver.requests
                if r.json["event"] == "client.check_authn_complete"
            ]
            assert names[:2] == [("c", "success"), ("x", "bad_username_or_password")]


async def test_real_clients(tmp_path: Path) -> None:
    """aiomqtt, and paho below it: let in, refused, denied."""
    passwd(tmp_path / "pwd.conf", "ann")
    (tmp_path / "acl.conf").write_text(
        'rules = [ { permit = allow, username = ann, topics = ["u/${username}/#"] } ]\n'
    )
    async with HookMQ(tmp_path, AUTH) as hookmq:
        async with aiomqtt.Client("127.0.0.1", hookmq.port, username="ann", password=SECRET) as client:
            await client.subscribe("u/ann/#", qos=1)
            await client.publish("u/bob/x", b"no", qos=1)
            await client.publish("u/ann/x", b"yes", qos=1)
            message = await anext(aiter(client.messages))
            assert (message.topic.value, message.payload) == ("u/ann/x", b"yes")
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", hookmq.port, username="ann", password="wrong"):
                pass


async def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    hookmq = HookMQ(tmp_path, f'auth.jwt.public.keyfile = "{tmp_path}/k.pem"\n')
    code, _, errors = await hookmq.run()
    assert code == 1
    assert "auth.jwt.public.keyfile" in errors
    assert "Traceback" not in errors


# --- the page -----------------------------------------------------------------------------------------------


def block(language: str, marker: str) -> str:
    """The page's code block of a language that holds the marker."""
    (found,) = [t for t in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if marker in t]
    return found


def test_every_block_of_the_page_loads(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "issuer.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "pwd.conf").write_text('"a" : "b"\n')
    (tmp_path / "acl.conf").write_text(block("hocon", "rules = ["))
    certs = ROOT / "tests" / "fixtures" / "conf" / "certs"
    files = {"issuer": tmp_path / "issuer.pem", "cert": certs / "cert.pem", "key": certs / "key.pem"}
    files["devices-ca"] = files["cert"]
    texts = re.findall(r"```hocon\n(.*?)```", PAGE, re.DOTALL)
    assert len(texts) == 5
    for text in texts:
        conf = tmp_path / "nanomq.conf"
        conf.write_text(
            re.sub(
                r'"(\w+(?:-ca)?)\.pem"',
                lambda found: f'"{files[found[1]]}"',
                "auth.acl {" + text + "}" if text.startswith("rules") else text,
            )
        )
        report = load(conf, {})
        assert report.errors == [], text
        assert report.warnings == [], text


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    lines = block("sh", "hookmq passwd").splitlines()
    assert [line.split("#")[0].split() for line in lines] == [
        ["hookmq", "passwd", "pwd.conf", "line7"],
        ["hookmq", "passwd", "pwd.conf", "scada", "<", "secret"],
        ["hookmq", "passwd", "pwd.conf", "old", "--delete"],
        ["hookmq", "reload"],
    ]
    for user in ("line7", "old"):
        assert passwd(tmp_path / "pwd.conf", user).returncode == 0
    assert passwd(tmp_path / "pwd.conf", "scada", secret=(tmp_path / "secret").read_bytes()).returncode == 0
    assert passwd(tmp_path / "pwd.conf", "old", "--delete", secret=None).returncode == 0
    assert list(users(tmp_path / "pwd.conf")) == ["line7", "scada"]


async def test_the_tokens_of_the_page(tmp_path: Path) -> None:
    """Its own configuration, and both forms of rules, through the front door."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "issuer.pem").write_bytes(pem)
    conf = block("hocon", "public.keyfile").replace('"issuer.pem"', f'"{tmp_path}/issuer.pem"')
    one, other = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    async with HookMQ(tmp_path, conf) as hookmq:

        async def connect(claims: object, user: str, code: int = 0) -> Client:
            token = jwt.encode(claims, private, algorithm="ES256").encode()  # type: ignore[arg-type]
            return await Client.connect(hookmq.port, "c", version=5, username=user, password=token, code=code)

        one["exp"] = int(time.time()) + 1000
        await connect(one, "other", 0x86)
        client = await connect(one, "line7")
        assert await client.publish("plant/c/x", b"", 1) < 0x80
        assert await client.publish("plant/c/x", b"", 2) < 0x80  # no rule for it, and no_match allows
        assert await client.subscribe("plant/#") == 0x87
        client = await connect({**other, "username": "line7"}, "line7")
        assert await client.publish("plant/c/x", b"", 1) < 0x80
        assert await client.publish("elsewhere", b"", 1) == 0x87
        assert await client.subscribe("commands/c") == 0


async def test_rules_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "acl.conf").write_text(block("hocon", "rules = ["))
    users = "password { dashboard : p, line : p }"
    conf = f'auth {{ acl = {{ include "acl.conf" }}, {users} }}\n'
    async with HookMQ(tmp_path, conf) as hookmq:
        dashboard = await Client.connect(hookmq.port, "d", version=5, username="dashboard", password=b"p")
        assert await dashboard.subscribe("$SYS/#") == 0
        line = await Client.connect(hookmq.port, "l7", version=5, username="line", password=b"p")
        assert await line.subscribe("$SYS/#") == 0x87
        assert await line.subscribe("#") == 0x87
        assert await line.subscribe("plant/l7/#", 1) == 1
        assert await line.publish("plant/l7/t", b"1", 1) < 0x80
        assert (await line.expect(Publish)).payload == b"1"
        assert await line.publish("plant/l8/t", b"1", 1) == 0x87


async def test_check_tells_of_hashes_nothing(tmp_path: Path) -> None:
    passwd(tmp_path / "pwd.conf", "ann")
    (tmp_path / "nanomq.conf").write_text('auth.password = { include "pwd.conf" }\n')
    done = await command("check", "--conf", str(tmp_path / "nanomq.conf"))
    assert done.returncode == 0
    assert '"ann" = "******"' in done.stdout
    assert "argon2" not in done.stdout + done.stderr
