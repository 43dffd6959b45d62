"""Signatures of a running HookMQ, checked with the readers' libraries and with `hookmq listen`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.integration import receiver as scripts
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ, until, webhook
from tests.integration.receiver import Exchange, Receiver, Request

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_" + base64.b64encode(b"a new secret of thirty-two bytes").decode()
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WHSK = "whsk_" + base64.b64encode(bytes(range(32))).decode()
WHPK = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
EVENTS = ("on_message_publish", "on_client_connack")


async def publish(hookmq: HookMQ, *payloads: bytes, client: str = "c1") -> None:
    async_client = await Client.connect(hookmq.port, client)
    for payload in payloads:
        await async_client.publish("a/b", payload, qos=1)
    await async_client.disconnect()


def verified(request: Request, secret: str) -> bool:
    """Whether both libraries take the request with this secret; they never disagree."""
    headers = {name.lower(): value for name, value in request.headers}
    found = []
    for library in (standardwebhooks.Webhook, svix.webhooks.Webhook):
        try:
            library(secret).verify(request.body, headers)
            found.append(True)
        except standardwebhooks.WebhookVerificationError:
            found.append(False)
    assert found[0] == found[1]
    return found[0]


def hides(text: str, *secrets: str) -> bool:
    """Whether a text shows no secret, nor what follows its prefix."""
    return not any(secret.removeprefix("whsec_").removeprefix("whsk_") in text for secret in secrets)


async def test_every_event_verifies_with_the_readers_libraries(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        HookMQ(
            tmp_path,
            webhook(receiver.url(), *EVENTS, signature="standard", secret=f'"{OLD}"'),
        ) as hookmq,
    ):
        await publish(hookmq, b"plain", "Grüße \U0001f600".encode(), b"\xff\x00binary", b"", b"x" * 50_000)
        requests = await receiver.wait_count(6)
        assert all(verified(request, OLD) for request in requests)
        assert not any(verified(request, NEW) for request in requests)
        assert [len(request.all("webhook-signature")) for request in requests] == [1] * 6
        assert hides(hookmq.stdout + hookmq.log, OLD)


async def test_all_schemes_at_once_from_environment_and_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(WHSK + "\n")
    block = f"""
  signature = [ standard, mes, eryxon, {{ scheme = hmac, header = X-Hub-Signature, prefix = "t0="
                                         encoding = base64, template = "{{timestamp}}.{{body}}" }} ]
  secrets = [ {{ env = HOOK_SECRET }}, {{ file = "{path}" }} ]
"""
    async with (
        Receiver() as receiver,
        HookMQ(tmp_path, webhook(receiver.url(), *EVENTS, extra=block), env={"HOOK_SECRET": OLD}) as hookmq,
    ):
        await publish(hookmq, b"one", b"two")
        for request in await receiver.wait_count(3):
            assert verified(request, OLD)
            v1, v1a = (request.header("webhook-signature") or "").split()
            assert v1.startswith("v1,")
            content = f"{request.id}.{request.header('webhook-timestamp')}.".encode() + request.body
            PRIVATE.public_key().verify(base64.b64decode(v1a.removeprefix("v1a,")), content)
            plain = hmac.new(OLD.encode(), request.body, hashlib.sha256).hexdigest()
            assert request.header("x-mes-signature") == plain
            assert request.header("X-Eryxon-Signature") == f"sha256={plain}"
            content = f"{request.header('webhook-timestamp')}.".encode() + request.body
            other = base64.b64encode(hmac.new(OLD.encode(), content, hashlib.sha256).digest()).decode()
            assert request.header("X-Hub-Signature") == f"t0={other}"
        assert hides(hookmq.stdout + hookmq.log, OLD, WHSK)


async def test_the_bytes_signed_are_those_sent_and_the_same_at_every_attempt(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        HookMQ(
            tmp_path,
            webhook(
                receiver.url(),
                "on_message_publish",
                signature="standard",
                secret=f'"{OLD}"',
                extra="  retry { schedule = [0s, 1s, 1s, 1s] }",
            ),
        ) as hookmq,
    ):
        receiver.scripts.extend([scripts.status(500), scripts.close])
        await publish(hookmq, "Grüße".encode())
        requests = await receiver.wait_count(3, timeout=20)
        assert len({(request.id, request.body) for request in requests}) == 1
        # The second attempt went to a connection that was just closed, and went out again byte for byte.
        assert [request.attempt for request in requests] == [1, 2, 2]
        assert requests[1].headers == requests[2].headers
        for name in ("webhook-timestamp", "webhook-signature"):
            assert requests[0].header(name) != requests[1].header(name)
        assert all(verified(request, OLD) for request in requests)


async def test_rotation_with_an_overlap(tmp_path: Path) -> None:
    """First the old one signs, then both, then the new one: at each step one reader can change."""
    seen = []
    async with Receiver() as receiver:
        for secrets, count in (([OLD], 1), ([NEW, OLD], 2), ([NEW], 1)):
            block = webhook(
                receiver.url(), "on_message_publish", signature="[standard, mes]", secrets=json.dumps(secrets)
            )
            begin = len(receiver.requests)
            async with HookMQ(tmp_path, block) as hookmq:
                await publish(hookmq, b"x", client=f"c{count}")
                request = (await receiver.wait_count(begin + 1))[-1]
                await hookmq.stop()
            assert len((request.header("webhook-signature") or "").split()) == count
            newest = hmac.new(secrets[0].encode(), request.body, hashlib.sha256).hexdigest()
            assert request.header("x-mes-signature") == newest
            seen.append((verified(request, OLD), verified(request, NEW)))
    assert seen == [(True, False), (True, True), (False, True)]


async def test_a_secret_that_cannot_sign_is_told_at_start(tmp_path: Path) -> None:
    hookmq = HookMQ(
        tmp_path,
        webhook(
            "http://127.0.0.1:9/", "on_message_publish", signature="standard", secret="{env = HOOK_SECRET}"
        ),
        env={"HOOK_SECRET": "hunter2hunter2"},
    )
    code, stdout, log = await hookmq.run()
    assert code == 1
    assert "secret" in stdout + log
    assert "hunter2" not in stdout + log
    assert "Traceback" not in log


# -- hookmq listen --verify --------------------------------------------------------------------------------


class Listening:
    """A `hookmq listen` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.path = folder / "listen.txt"
        self._file = self.path.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "listen", "--port", "0", *arguments],
            cwd=ROOT,
            stdout=self._file,
        )

    @property
    def said(self) -> str:
        return self.path.read_text()

    async def port(self) -> int:
        await until(lambda: re.search(r":(\d+)/", self.said), "it listens", 20)
        found = re.search(r":(\d+)/", self.said)
        assert found
        return int(found[1])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._file.close()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[..., Listening]]:
    started: list[Listening] = []

    def start(*arguments: str) -> Listening:
        started.append(Listening(tmp_path, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.mark.parametrize(
    ("signature", "secrets", "arguments", "expected"),
    [
        (
            '[standard, mes, eryxon, {scheme = hmac, header = X-Sig, template = "{timestamp}:{body}"}]',
            [WHSK, OLD],
            [
                *("--verify", NEW, "--verify", OLD, "--verify", WHPK),
                *("--verify-header", "X-Sig", "--verify-template", "{timestamp}:{body}"),
            ],
            [
                "webhook-signature (v1a, secret 3 of 3)",
                "x-mes-signature (hex, secret 2 of 3)",
                "x-eryxon-signature (sha256=hex, secret 2 of 3)",
                "x-sig (hex, secret 2 of 3)",
            ],
        ),
        ("mes", ["s3cret of mes"], ["--verify", "s3cret of mes"], ["x-mes-signature (hex)"]),
    ],
)
async def test_listen_takes_what_hookmq_signs(
    tmp_path: Path,
    listening: Callable[..., Listening],
    signature: str,
    secrets: list[str],
    arguments: list[str],
    expected: list[str],
) -> None:
    listen = listening("--count", "2", *arguments)
    url = f"http://127.0.0.1:{await listen.port()}/hook"
    block = webhook(url, "on_message_publish", signature=signature, secrets=json.dumps(secrets))
    async with HookMQ(tmp_path / "mq", block) as hookmq:
        await publish(hookmq, b"one", "zwölf".encode())
        await until(lambda: listen.process.poll() is not None, "it has seen two requests")
    assert listen.process.returncode == 0
    for line in expected:
        assert listen.said.count(f"  signature ok: {line}\n") == 2
    assert listen.said.count("signature ok") == 2 * len(expected)
    assert "signature wrong" not in listen.said
    assert hides(listen.said, *secrets)


async def test_listen_says_what_is_wrong_and_ends_with_1(
    tmp_path: Path, listening: Callable[..., Listening]
) -> None:
    listen = listening("--verify", NEW)
    url = f"http://127.0.0.1:{await listen.port()}/hook"
    block = webhook(url, "on_message_publish", signature="standard", secret=f'"{OLD}"')
    async with HookMQ(tmp_path / "mq", block) as hookmq:
        await publish(hookmq, b"one")
        await until(lambda: "signature" in listen.said.partition("msg_")[2], "it has judged the request")
    assert "  signature wrong: webhook-signature: the secret does not fit" in listen.said
    listen.process.send_signal(signal.SIGINT)
    assert listen.process.wait(20) == 1
    assert hides(listen.said, OLD, NEW)


# -- OAuth2 ------------------------------------------------------------------------------------------------


async def test_oauth2_from_the_configuration(tmp_path: Path) -> None:
    good = {"Bearer first-token"}

    async def give(exchange: Exchange) -> None:
        name = "first-token" if len(tokens.requests) == 1 else "second-token"
        answer: dict[str, Any] = {"access_token": name, "token_type": "bearer", "expires_in": 3600}
        await exchange.respond(200, json.dumps(answer).encode())

    async def take(exchange: Exchange) -> None:
        sent = exchange.request.header("authorization") or ""
        await exchange.respond(204 if sent in good else 401, f"no: {sent}".encode())

    async with Receiver() as tokens, Receiver() as receiver:
        tokens.script, receiver.script = give, take
        block = f"""
  credentials {{ kind = oauth2, token_url = "{tokens.url("/oauth/token")}", client_id = hookmq
                client_secret = {{ env = CLIENT_SECRET }}, scope = "events" }}
"""
        async with HookMQ(
            tmp_path,
            webhook(receiver.url(), "on_message_publish", extra=block),
            env={"CLIENT_SECRET": "s3cret-of-oauth"},
        ) as hookmq:
            await publish(hookmq, *[b"%d" % number for number in range(20)])
            await receiver.wait_count(20)
            assert len(tokens.requests) == 1
            assert parse_qs(tokens.requests[0].body.decode())["scope"] == ["events"]
            good.clear()
            good.add("Bearer second-token")  # the first one is revoked
            await publish(hookmq, *[b"%d" % number for number in range(20, 40)], client="c2")
            accepted = lambda: {r.id for r in receiver.requests if r.header("authorization") in good}  # noqa: E731
            await until(lambda: len(accepted()) == 20, "all events with the second token")
            assert len(tokens.requests) == 2
            assert {request.attempt for request in receiver.requests} == {1}
            for hidden in ("s3cret-of-oauth", "first-token", "second-token"):
                assert hidden not in hookmq.stdout + hookmq.log
