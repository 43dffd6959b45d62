"""Endpoints behind an HTTP proxy, on real sockets: what the proxy is sent, and whose fault a fault is."""

from __future__ import annotations

import asyncio
import os
import socket
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest

from bridge.config.settings import Egress, Endpoint, Tls
from bridge.delivery.connect import Network
from bridge.delivery.errors import EndpointError
from bridge.delivery.proxy import MAX_ANSWER, Proxy
from bridge.delivery.resolver import Address
from bridge.delivery.target import Target
from tests.integration.http_proxy import HttpProxy
from tests.integration.receiver import Certificates, Receiver, status
from tests.unit.delivery.conftest import STORE_ID, Connect, until

BASIC = b64encode(b"us@er:hunter2").decode()


@pytest.fixture
async def proxy() -> AsyncIterator[HttpProxy]:
    async with HttpProxy() as server:
        yield server


@pytest.fixture
async def https(certificates: Certificates) -> AsyncIterator[Receiver]:
    async with Receiver(ssl=certificates.server_context()) as server:
        yield server


# -- the way through ---------------------------------------------------------------------------------------


async def test_an_http_request_goes_in_absolute_form_and_the_proxy_resolves_the_name(
    receiver: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    proxy.names["mes.invalid"] = "127.0.0.1"
    proxy.authorization = f"Basic {BASIC}"
    client = connect(
        f"http://mes.invalid:{receiver.port}/a%20b?q=1",
        proxy=proxy.url("us%40er:hunter2@"),
        headers=(("X", "y"),),
    )
    for _ in range(3):
        outcome = await client.outcome(b'{"a":1}')
        assert outcome.ok, outcome
    assert proxy.requests == [f"POST http://mes.invalid:{receiver.port}/a%20b?q=1 HTTP/1.1"] * 3
    assert proxy.accepted == receiver.accepted == 1  # the connection is kept
    assert f"\r\nProxy-Authorization: Basic {BASIC}\r\n" in proxy.heads[0]
    request = receiver.requests[0]
    assert (request.target, request.body) == ("/a%20b?q=1", b'{"a":1}')
    assert request.header("host") == f"mes.invalid:{receiver.port}"
    assert request.header("x") == "y"
    assert request.id == f"msg_{STORE_ID}_0000000000000001"


async def test_an_https_request_goes_through_a_tunnel_and_the_proxy_sees_none_of_it(
    https: Receiver, proxy: HttpProxy, certificates: Certificates, connect: Connect
) -> None:
    proxy.authorization = f"Basic {BASIC}"
    client = connect(
        https.url("/secret?token=abc"),
        proxy=proxy.url("us%40er:hunter2@"),
        tls=Tls(cacertfile=certificates.ca),
        headers=(("X-Key", "k"),),
    )
    for body in (b"{}", b"x" * 3_000_000, b"{}"):
        outcome = await client.outcome(body)
        assert outcome.ok, outcome
    assert proxy.accepted == https.accepted == 1
    assert proxy.heads == [
        f"CONNECT localhost:{https.port} HTTP/1.1\r\nHost: localhost:{https.port}\r\n"
        f"Proxy-Authorization: Basic {BASIC}\r\n\r\n"
    ]
    assert https.requests[0].target == "/secret?token=abc"
    assert https.requests[0].header("proxy-authorization") is None


async def test_the_certificate_in_a_tunnel_is_checked_against_the_endpoints_name(
    https: Receiver, proxy: HttpProxy, certificates: Certificates, connect: Connect
) -> None:
    proxy.names["other.invalid"] = "127.0.0.1"
    tls = Tls(cacertfile=certificates.ca)
    wrong = connect(f"https://other.invalid:{https.port}/", proxy=proxy.url(), tls=tls)
    outcome = await wrong.outcome()
    assert outcome.error == "tls"
    assert "not trusted" in outcome.text
    unknown = await connect(https.url(), proxy=proxy.url()).outcome()
    assert unknown.error == "tls"
    assert https.requests == []


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    proxy = Proxy("http://[fd00::1]")
    assert (proxy.host, proxy.port, proxy.label) == ("fd00::1", 80, "[fd00::1]:80")
    head = Target(Endpoint(url="http://[fd00::2]:8080/x?y"), STORE_ID).head
    assert proxy.absolute(head, "fd00::2", 8080).startswith(
        b"POST http://[fd00::2]:8080/x?y HTTP/1.1\r\nHost: [fd00::2]:8080\r\n"
    )
    head = Target(Endpoint(url="http://h"), STORE_ID).head
    assert proxy.absolute(head, "h", 80).startswith(b"POST http://h/ HTTP/1.1\r\nHost: h\r\n")


# -- faults ------------------------------------------------------------------------------------------------


@pytest.fixture
def urls(receiver: Receiver, https: Receiver) -> dict[str, str]:
    return {"http": receiver.url(), "https": https.url()}


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_cannot_be_reached(
    urls: dict[str, str], proxy: HttpProxy, connect: Connect, scheme: str
) -> None:
    await proxy.stop()
    client = connect(urls[scheme], proxy=proxy.url("user:hunter2@"))
    outcome = await client.outcome()
    assert outcome.error == "proxy"
    assert outcome.text.startswith(f"proxy 127.0.0.1:{proxy.port}: ")
    assert "refused" in outcome.text.lower()
    assert "hunter2" not in outcome.text
    assert client.pool._pause > 0  # as with any connection that fails


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_whose_name_does_not_exist(urls: dict[str, str], connect: Connect, scheme: str) -> None:
    outcome = await connect(urls[scheme], proxy="http://user:hunter2@proxy.invalid:3128").outcome()
    assert outcome.error == "proxy"
    assert outcome.text.startswith("proxy proxy.invalid:3128: ")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_other_credentials(
    urls: dict[str, str], proxy: HttpProxy, connect: Connect, scheme: str
) -> None:
    proxy.authorization = "Basic something"
    outcome = await connect(urls[scheme], proxy=proxy.url("user:hunter2@")).outcome()
    assert outcome.error == "proxy"
    assert outcome.text == (
        f"proxy 127.0.0.1:{proxy.port}: it wants other credentials (407 Proxy Authentication Required)"
    )


async def test_what_a_proxy_echoes_holds_no_credentials(
    receiver: Receiver, proxy: HttpProxy, https: Receiver, connect: Connect
) -> None:
    echo = f"Proxy-Authorization: Basic {BASIC} us@er hunter2".encode()
    proxy.answer = b"HTTP/1.1 503 No hunter2\r\nContent-Length: %d\r\n\r\n%b" % (len(echo), echo)
    outcome = await connect(receiver.url(), proxy=proxy.url("us%40er:hunter2@")).outcome()
    assert (outcome.status, outcome.error) == (503, None)
    assert outcome.text == "Proxy-Authorization: Basic *** us@er ***"
    outcome = await connect(https.url(), proxy=proxy.url("us%40er:hunter2@")).outcome()
    assert outcome.text.endswith("it answered CONNECT with 503 No ***")


async def test_an_endpoint_that_the_proxy_cannot_reach(
    receiver: Receiver, https: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    for server in (receiver, https):
        await server.stop()
    tunnel = await connect(https.url(), proxy=proxy.url()).outcome()
    assert (tunnel.status, tunnel.error) == (None, "proxy")
    assert tunnel.text == f"proxy 127.0.0.1:{proxy.port}: it answered CONNECT with 502 Bad Gateway"
    plain = await connect(receiver.url(), proxy=proxy.url()).outcome()
    assert (plain.status, plain.error) == (502, None)  # nobody can tell whose it is


async def test_an_answer_of_407_is_the_proxys_only_where_there_is_one(
    receiver: Receiver, https: Receiver, proxy: HttpProxy, certificates: Certificates, connect: Connect
) -> None:
    receiver.script = https.script = status(407)
    direct = await connect(receiver.url()).outcome()
    assert (direct.status, direct.error) == (407, None)
    inside = connect(https.url(), proxy=proxy.url(), tls=Tls(cacertfile=certificates.ca))
    outcome = await inside.outcome()
    assert (outcome.status, outcome.error) == (407, None)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection instead of answering CONNECT"),
        (b"HTTP/1.1 200", "closed the connection instead of answering CONNECT"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "is not HTTP/1.1"),
        (b"HTTP/1.1 999 x\r\n\r\n", "is not HTTP/1.1"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\n\r\n", "301 Moved"),
        (b"HTTP/1.1 403 \x1b[31mNo\xff\r\n\r\n", "403 \ufffd[31mNo\ufffd"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "sent something behind its answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_ANSWER + 8192), f"longer than {MAX_ANSWER} bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, f"longer than {MAX_ANSWER} bytes"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4000, f"longer than {MAX_ANSWER} bytes"),
    ],
)
async def test_answers_to_connect_that_make_no_tunnel(
    https: Receiver, proxy: HttpProxy, connect: Connect, answer: bytes, text: str
) -> None:
    proxy.answer = answer
    outcome = await connect(https.url(), proxy=proxy.url()).outcome()
    assert outcome.error == "proxy"
    assert outcome.text.startswith(f"proxy 127.0.0.1:{proxy.port}: it")
    assert text in outcome.text
    assert https.accepted == 0


async def test_interim_answers_to_connect_are_passed_over(
    https: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    """Then TLS begins: the proxy's silence ends the attempt as what it is."""
    proxy.answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200\r\nX: y\r\n\r\n"
    outcome = await connect(https.url(), proxy=proxy.url()).outcome()
    assert outcome.error == "tls"
    assert "in the handshake" in outcome.text


async def test_a_proxy_that_does_not_answer_in_time(
    receiver: Receiver, https: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    proxy.hang = True
    tunnel = await connect(https.url(), proxy=proxy.url(), timeout=0.2).outcome()
    assert tunnel.error == "proxy"
    assert tunnel.text == (
        f"no connection within 200 ms, waiting for the answer of the proxy 127.0.0.1:{proxy.port} to CONNECT"
    )
    plain = await connect(receiver.url(), proxy=proxy.url(), timeout=0.2).outcome()
    assert plain.error == "timeout"


async def test_a_proxy_that_drips_its_answer_is_understood(
    https: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    proxy.answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Not there\r\nX: y\r\n\r\n"
    proxy.drip = 0.001
    outcome = await connect(https.url(), proxy=proxy.url()).outcome()
    assert outcome.text == f"proxy 127.0.0.1:{proxy.port}: it answered CONNECT with 403 Not there"


async def test_a_proxy_that_drips_its_answer_is_ended_by_the_time_limit(
    https: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    proxy.answer = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000
    proxy.drip = 0.005
    outcome = await connect(https.url(), proxy=proxy.url(), timeout=0.3).outcome()
    assert outcome.error == "proxy"
    assert "within 300 ms" in outcome.text


async def test_connections_that_fail_leave_no_file_open(
    https: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    folder = f"/proc/{os.getpid()}/fd"
    try:
        before = len(os.listdir(folder))
    except FileNotFoundError:
        pytest.skip("no /proc")
    for answer in (b"HTTP/1.1 502 No\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", None):
        proxy.answer = answer
        for _ in range(5):
            client = connect(https.url(), proxy=proxy.url())  # nobody vouches for the certificate
            assert not (await client.outcome()).ok
            client.pool.close()
    proxy.answer, proxy.hang = None, True
    for _ in range(5):
        client = connect(https.url(), proxy=proxy.url())
        asked = len(proxy.heads)
        client.send()
        await until(lambda asked=asked: len(proxy.heads) > asked)
        client.pool.close()
    await proxy.stop()
    await https.stop()
    await until(lambda: len(os.listdir(folder)) <= before)


# -- settings and the guard --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("https://user:hunter2@p", "plain HTTP"),
        ("socks5://user:hunter2@p", "plain HTTP"),
        ("user:hunter2@p:80", "plain HTTP"),
        ("http://user:hunter2@", "needs a host"),
        ("http://user:hunter2@p:0", "needs a host"),
        ("http://user:hunter2@p/path", "neither path"),
        ("http://user:hunter2@p?q", "neither path"),
        ("http://user:hunter2@p:99999", "port is wrong"),
        ("http://user:hunter2@[::1", "port is wrong"),
        ("http://user:hunter2@p\r\nX: y", "control characters"),
        ("http://user:hunter2@p q", "white space"),
    ],
)
async def test_a_proxy_that_cannot_work_is_told_without_its_credentials(url: str, cause: str) -> None:
    network = Network(asyncio.get_running_loop())
    target = Target(Endpoint(url="http://h/"), STORE_ID)
    with pytest.raises(EndpointError) as caught:
        network.connector(target, name="mes", proxy=url)
    assert str(caught.value).startswith("webhook mes: proxy: ")
    assert cause in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_credentials_of_a_proxy_cannot_end_their_line() -> None:
    proxy = Proxy("http://us%0d%0aX%3a%20y:p%0d%0a@h:1")
    assert b"\r" not in proxy.authorization
    assert b"\n" not in proxy.authorization


async def test_the_guard_judges_the_proxy_and_numeric_endpoints(
    receiver: Receiver, https: Receiver, proxy: HttpProxy, connect: Connect
) -> None:
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1 is loopback"):
        connect("http://mes.invalid/", proxy=proxy.url(), trust="tenant")
    with pytest.raises(EndpointError, match="link-local"):
        connect("http://169.254.169.254/", proxy=proxy.url())
    loop = asyncio.get_running_loop()
    network = Network(loop, Egress(allow=("127.0.0.0/8",)))
    with pytest.raises(EndpointError, match=r"10\.0\.0\.1 is private"):
        connect("http://10.0.0.1/", proxy=proxy.url(), trust="tenant", network=network)
    proxy.names["mes.invalid"] = "127.0.0.1"
    allowed = connect(
        f"http://mes.invalid:{receiver.port}/", proxy=proxy.url(), trust="tenant", network=network
    )
    assert (await allowed.outcome()).ok

    async def moved(name: str) -> list[Address]:
        return [Address(socket.AF_INET, "169.254.1.1")]

    network = Network(loop, lookup=moved)
    outcome = await connect(https.url(), proxy="http://proxy.invalid:3128", network=network).outcome()
    assert outcome.error == "egress"
    assert outcome.text == (
        "proxy proxy.invalid:3128: proxy.invalid: 169.254.1.1 is link-local (cloud metadata): "
        "refused unless egress.allow has it"
    )
