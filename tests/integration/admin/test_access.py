"""Who may call the HTTP API, and what everybody else is told."""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.admin.calling import ADMIN, Api, problem
from tests.integration.process import HookMQ

EVENT = {"type": "work_order.created", "data": {}}
MESSAGE = {"topic": "a/b", "payload": "x"}


async def test_a_password(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        assert (await api.get("/api/v2/openapi.json")).status == 200
        for auth in (None, (ADMIN[0], "wrong"), ("other", ADMIN[1]), "hmq_nobody"):
            answer = await api.get("/api/v2/openapi.json", auth=auth)
            problem(answer, 401)
            assert answer.headers["WWW-Authenticate"].startswith(
                'Basic realm="HookMQ", charset="UTF-8", Bearer'
            )
        for header in ("Basic", "Basic !!", "Basic eA==", "Negotiate x", "", "Bearer", "Basic \u00e9"):
            answer = await api.get("/api/v2/openapi.json", auth=None, headers={"Authorization": header})
            assert answer.status in (401, 429)
        assert ADMIN[1] not in api.log
        assert "wrong" not in api.log


async def test_it_is_off_without_the_block(tmp_path: Path) -> None:
    async with HookMQ(tmp_path) as hookmq:
        assert "http" not in hookmq.stdout


async def test_it_says_where_it_listens(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        assert api.url.startswith("http://127.0.0.1:")
        _, out, _ = await api.hookmq("status")
        assert api.url in out


@pytest.mark.parametrize("address", ["0.0.0.0", '"::"', "192.0.2.7"])
async def test_no_authentication_on_another_address(tmp_path: Path, address: str) -> None:
    hookmq = HookMQ(tmp_path, f"http_server {{ port = 0, auth_type = no_auth, ip_addr = {address} }}")
    code, out, log = await hookmq.run()
    assert code == 1
    assert "http_server.auth_type: found no_auth" in log
    assert len(log.splitlines()) == 1
    assert out == ""


async def test_no_authentication_on_the_machine_itself(tmp_path: Path) -> None:
    async with Api(tmp_path, server="http_server { port = 0, auth_type = no_auth }") as api:
        assert (await api.post("/api/v5/publish", MESSAGE, auth=None)).status == 202
        # a page of another site in a browser of this machine: by its origin, or under a name of its own
        problem(
            await api.post("/api/v5/publish", MESSAGE, auth=None, headers={"Origin": "http://evil.example"}),
            403,
        )
        port = api.url.rpartition(":")[2]
        problem(
            await api.get("/api/v2/openapi.json", auth=None, headers={"Host": f"evil.example:{port}"}), 403
        )
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert (await api.get("/api/v2/openapi.json", auth=None, headers={"Host": host})).status == 200


async def test_a_page_of_the_same_origin(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        assert (await api.post("/api/v5/publish", MESSAGE, headers={"Origin": api.url})).status == 202
        problem(await api.post("/api/v5/publish", MESSAGE, headers={"Origin": "null"}), 403)


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async with Api(tmp_path / "one") as api:
        port = api.url.rpartition(":")[2]
        code, _, log = await HookMQ(tmp_path / "two", f"http_server {{ port = {port} }}").run()
        assert code == 1
        assert f"http_server.port: 127.0.0.1:{port} is in use" in log


# --- API keys -------------------------------------------------------------------------------------------


async def test_the_life_of_an_api_key(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        key = await api.key("mes", "events:write")
        assert key.startswith("hmq_")
        assert len(key) == 47
        assert (await api.post("/api/v2/events", EVENT, auth=key)).status == 202
        answer = await api.post("/api/v5/publish", MESSAGE, auth=key)
        assert "publish" in problem(answer, 403)["detail"]
        problem(await api.get("/api/v2/webhooks/event-types", auth=key), 403)

        code, out, _ = await api.hookmq("api-key", "list")
        assert code == 0
        assert "mes" in out
        assert "events:write" in out
        assert key not in out

        # it is good after a kill -9, for its hash was on the disk before it was shown
        api.kill()
        await api.start()
        assert (await api.post("/api/v2/events", EVENT, auth=key)).status == 202
        stored = b"".join(path.read_bytes() for path in api.data.iterdir() if path.is_file())
        assert key.encode() not in stored

        code, out, _ = await api.hookmq("api-key", "revoke", "mes")
        assert (code, out) == (0, "mes: revoked\n")
        problem(await api.post("/api/v2/events", EVENT, auth=key), 401)
        api.kill()
        await api.start()
        problem(await api.post("/api/v2/events", EVENT, auth=key), 401)
        assert key not in api.log


async def test_what_cannot_be_a_key(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        await api.key("one", "admin")
        for arguments, text in (
            (("create", "--name", "one", "--scope", "admin"), "already"),
            (("create", "--name", "two", "--scope", "all"), "found the scope 'all'"),
            (("create", "--name", " ", "--scope", "admin"), "found the name ' '"),
            (("create", "--name", "two", "--scope", "admin", "--expires", "2001-01-01"), "has passed"),
            (("create", "--name", "two", "--scope", "admin", "--expires", "soon"), "found 'soon'"),
            (("revoke", "two"), "no key is named 'two'"),
        ):
            code, out, err = await api.hookmq("api-key", *arguments)
            assert code in (1, 2)
            assert out == ""
            assert text in err


async def test_a_key_that_ends(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        code, out, _ = await api.hookmq(
            "api-key", "create", "--name", "short", "--scope", "publish", "--expires", "3s"
        )
        assert code == 0
        assert (await api.post("/api/v5/publish", MESSAGE, auth=out.strip())).status == 202
        end = time.monotonic() + 20
        while (answer := await api.post("/api/v5/publish", MESSAGE, auth=out.strip())).status == 202:
            assert time.monotonic() < end
        problem(answer, 401)
        _, out, _ = await api.hookmq("api-key", "list")
        assert "has expired" in out


async def test_scopes_that_imply_others(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        admin = await api.key("root", "admin")
        writer = await api.key("writer", "endpoints:write")
        assert (await api.post("/api/v5/publish", MESSAGE, auth=admin)).status == 202
        assert (await api.get("/api/v2/webhooks/event-types", auth=writer)).status == 200
        problem(await api.post("/api/v5/publish", MESSAGE, auth=writer), 403)


# --- JSON Web Tokens ------------------------------------------------------------------------------------


NONE, HS256 = b'{"alg":"none"}', b'{"alg":"HS256"}'


def _part(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Somebody who signs tokens."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.path = folder / "jwtRS256.key.pub"
        self.public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.path.write_bytes(self.public)

    def token(self, **claims: Any) -> str:
        return jwt.encode(claims, self.key, algorithm="RS256")


async def test_tokens(tmp_path: Path) -> None:
    issuer, other = Issuer(tmp_path / "a"), Issuer(tmp_path / "b")
    server = f'http_server {{ port = 0, auth_type = jwt, jwt.public.keyfile = "{issuer.path}" }}'
    now = int(time.time())
    async with Api(tmp_path, server=server) as api:
        for good in (issuer.token(exp=now + 600), issuer.token(nbf=now - 5, sub="erp", aud="x")):
            assert (await api.get("/api/v2/openapi.json", auth=good)).status == 200
        body = {"exp": now + 600}
        payload = issuer.token(**body).split(".")[1]
        unsigned = f"{_part(NONE)}.{payload}."
        # the public key, which everybody may have, as the secret of an HMAC
        signed = f"{_part(HS256)}.{payload}"
        forged = f"{signed}.{_part(hmac.digest(issuer.public, signed.encode(), 'sha256'))}"
        for bad in (
            issuer.token(exp=now - 600),
            issuer.token(nbf=now + 600),
            other.token(exp=now + 600),
            unsigned,
            forged,
            "a.b.c",
        ):
            answer = await api.get("/api/v2/openapi.json", auth=bad)
            assert answer.status in (401, 429)
            assert 'Bearer realm="HookMQ"' in answer.headers["WWW-Authenticate"]
            assert "Basic" not in answer.headers["WWW-Authenticate"]
        problem(await api.get("/api/v2/openapi.json"), 429)  # a password is none of its ways
        # and one who knows is not kept waiting by the failures of others at the same address
        assert (await api.get("/api/v2/openapi.json", auth=issuer.token(exp=now + 600))).status == 200
        key = await api.key("mes", "endpoints:read")
        assert (await api.get("/api/v2/webhooks/event-types", auth=key)).status == 200


async def test_failures_are_slowed(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        key = await api.key("reader", "endpoints:read")
        for _ in range(5):
            problem(await api.get("/api/v2/openapi.json", auth=("admin", "guess")), 401)
        refused = await api.get("/api/v2/openapi.json")  # the right one, too: who guesses learns nothing
        problem(refused, 429)
        assert refused.headers["Retry-After"] == "1"
        # a valid key is never kept waiting
        assert (await api.get("/api/v2/openapi.json", auth=key)).status == 200
        end = time.monotonic() + 10
        while (await api.get("/api/v2/openapi.json")).status == 429:
            assert time.monotonic() < end
        assert (await api.get("/api/v2/openapi.json")).status == 200
