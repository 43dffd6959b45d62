"""The egress guard and the proxy of a running HookMQ: settings from the file, as its user sees them."""

from __future__ import annotations

import socket
from base64 import b64encode
from pathlib import Path

import pytest

from tests.integration.http_proxy import HttpProxy
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver


@pytest.mark.parametrize(
    ("url", "egress", "cause"),
    [
        ("http://169.254.169.254/latest", "", "169.254.169.254 is link-local (cloud metadata)"),
        ("http://0xA9FEA9FE/", "", "169.254.169.254 is link-local (cloud metadata)"),
        ("http://[::ffff:169.254.169.254]/", "", "stands for 169.254.169.254, which is link-local"),
        ("http://127.0.0.1:8888/", 'egress { deny = ["127.0.0.0/8"] }', "is in egress.deny (127.0.0.0/8)"),
    ],
)
async def test_an_address_that_is_refused_ends_the_start(
    tmp_path: Path, url: str, egress: str, cause: str
) -> None:
    code, out, err = await HookMQ(tmp_path, webhook(url, "on_message_publish"), egress).run()
    assert code != 0
    said = [line for line in (out + err).splitlines() if "url" in line]
    assert len(said) == 1
    assert "webhook default: url: " in said[0]
    assert cause in said[0]
    assert "Traceback" not in err


async def test_a_name_is_judged_by_its_address_at_the_connect(tmp_path: Path) -> None:
    blocks = 'egress { deny = ["127.0.0.0/8"] }'
    only_ipv4 = {found[4][0] for found in socket.getaddrinfo("localhost", 1)} == {"127.0.0.1"}
    async with Receiver() as receiver:
        url = f"http://localhost:{receiver.port}/"
        async with HookMQ(tmp_path, webhook(url, "on_message_publish"), blocks) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            await client.publish("a", b"x", qos=1)
            await hookmq.said("attempt failed")
            if only_ipv4:
                await hookmq.said("egress: localhost: 127.0.0.1 is in egress.deny (127.0.0.0/8)")
            assert receiver.accepted == 0


@pytest.mark.parametrize("broken", [False, True])
async def test_events_go_through_a_proxy_and_its_password_shows_nowhere(tmp_path: Path, broken: bool) -> None:
    pair = b64encode(b"user:hunter2").decode()
    async with HttpProxy(authorization=f"Basic {pair}") as proxy, Receiver() as receiver:
        proxy.names["mes.invalid"] = "127.0.0.1"
        if broken:
            proxy.authorization = "Basic other"
        url = f"http://mes.invalid:{receiver.port}/hook"
        block = webhook(url, "on_message_publish", proxy=f'"{proxy.url("user:hunter2@")}"')
        async with HookMQ(tmp_path, block) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            for number in range(20):
                await client.publish("a", b"%d" % number, qos=1)
            if broken:
                await hookmq.said(f"proxy: proxy 127.0.0.1:{proxy.port}: it wants other credentials")
                assert receiver.requests == []
            else:
                requests = await receiver.wait_count(20)
                assert {r.header("host") for r in requests} == {f"mes.invalid:{receiver.port}"}
                await until(lambda: len(proxy.heads) >= 20, "the proxy has seen them")
            assert await hookmq.stop() == 0
            for text in (hookmq.log, hookmq.stdout):
                assert "hunter2" not in text
                assert pair not in text
