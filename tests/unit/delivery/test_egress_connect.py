"""How connections are made: the address that was checked is the one that is used; several addresses; DNS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from bridge.config.settings import Egress, Endpoint, Tls
from bridge.delivery import connect as module
from bridge.delivery import resolver
from bridge.delivery.connect import Network
from bridge.delivery.egress import Guard, Trust
from bridge.delivery.errors import EndpointError
from bridge.delivery.resolver import Address
from bridge.delivery.target import Target
from tests.integration import receiver as scripts
from tests.integration.receiver import Certificates, Receiver
from tests.unit.delivery.conftest import STORE_ID, Connect, until


def address(host: str) -> Address:
    return Address(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


class Names:
    """A name server for one network: each lookup gets the next of the answers, the last one for ever."""

    def __init__(self, *answers: Sequence[str] | Exception, egress: Egress | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.network = Network(asyncio.get_running_loop(), egress, lookup=self.lookup)

    async def lookup(self, name: str) -> list[Address]:
        self.asked.append(name)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [address(host) for host in answer]


@contextlib.contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A listener whose queue is full: the kernel answers no SYN. Yields its port."""
    family = address(host).family
    with socket.socket(family) as listener, contextlib.ExitStack() as fillers:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = fillers.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield port


def tries() -> list[asyncio.Task[object]]:
    """Tries of single addresses that go on."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_dial"]


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is looked up anew."""
    monkeypatch.setattr(resolver, "FRESH_S", 0.0)


# -- at creation -------------------------------------------------------------------------------------------

SPELLINGS = {
    "127.0.0.1": (
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "[::ffff:127.0.0.1]",
        "１２７.0.0.1",
    ),
    "169.254.169.254": (
        *("169.254.169.254", "0xA9.254.0xA9FE", "2852039166", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]"),
        *("[64:ff9b::169.254.169.254]", "[2002:a9fe:a9fe::]", "user:p@169.254.169.254"),
    ),
    "0.0.0.0": ("0", "0.0.0.0", "[::ffff:0.0.0.0]"),
    "::1": ("[::1]", "[0:0:0:0:0:0:0:1]"),
    "loopback": ("localhost", "LOCALHOST", "localhost.", "a.localhost"),
    "fe80::1": ("[fe80::1]",),
}


@pytest.mark.parametrize(
    ("shown", "host"), [(shown, host) for shown, hosts in SPELLINGS.items() for host in hosts]
)
async def test_a_numeric_address_is_checked_when_the_endpoint_is_made(shown: str, host: str) -> None:
    network = Network(asyncio.get_running_loop())
    target = Target(Endpoint(url=f"http://{host}:8080/x"), STORE_ID)
    with pytest.raises(EndpointError) as caught:
        network.connector(target, name="mes", trust="tenant")
    assert caught.value.key == "url"
    assert shown in str(caught.value)
    assert "egress.allow" in str(caught.value)
    if shown in ("127.0.0.1", "::1", "loopback"):
        network.connector(target)  # the operator's own
    else:
        with pytest.raises(EndpointError):
            network.connector(target)


async def test_a_name_is_checked_when_it_is_known() -> None:
    names = Names(("127.0.0.1",))
    names.network.connector(Target(Endpoint(url="http://mes.example/"), STORE_ID), trust="tenant")
    assert names.asked == []


# -- at every connect --------------------------------------------------------------------------------------


async def test_the_address_that_was_checked_is_the_one_that_is_used(
    receiver: Receiver, connect: Connect, no_patience: None
) -> None:
    """The name exists in the injected lookup alone: a second one would find nothing, or another answer."""
    names = Names(("127.0.0.1",), ("169.254.169.254",), ("127.0.0.1",))
    client = connect(f"http://rebind.invalid:{receiver.port}/x", network=names.network)
    assert (await client.outcome()).ok
    assert names.asked == ["rebind.invalid"]
    assert (await client.outcome()).ok  # on the same connection: nothing is asked
    assert names.asked == ["rebind.invalid"]
    receiver.close_connections()
    await until(lambda: not client.pool.connections)
    refused = await client.outcome()
    assert refused.error == "egress"
    assert refused.text == (
        "rebind.invalid: 169.254.169.254 is link-local (cloud metadata): refused unless egress.allow has it"
    )
    assert (await client.outcome()).ok
    assert len(names.asked) == 3
    assert receiver.requests[0].header("host") == f"rebind.invalid:{receiver.port}"


@pytest.mark.parametrize(
    ("trust", "egress", "ok"),
    [
        ("operator", Egress(), True),
        ("operator", Egress(deny=("127.0.0.0/8",)), False),
        ("tenant", Egress(), False),
        ("tenant", Egress(allow=("127.0.0.1",)), True),
        ("tenant", Egress(allow=("127.0.0.0/8",), deny=("127.0.0.1",)), False),
    ],
)
async def test_trust_and_settings_decide(
    receiver: Receiver, connect: Connect, trust: Trust, egress: Egress, ok: bool
) -> None:
    names = Names(("127.0.0.1",), egress=egress)
    url = f"http://mes.invalid:{receiver.port}/"
    client = connect(url, network=names.network, trust=trust)
    outcome = await client.outcome()
    assert outcome.ok is ok
    assert receiver.accepted == int(ok)
    if not ok:
        assert outcome.error == "egress"
        assert client.pool._pause > 0
        with pytest.raises(EndpointError):
            connect(receiver.url(), network=names.network, trust=trust)


async def test_another_guard_counts_from_the_next_connect_on(receiver: Receiver, connect: Connect) -> None:
    network = Network(asyncio.get_running_loop())
    direct = connect(receiver.url(), network=network)
    proxied = connect("http://10.0.0.1/", network=network, proxy=f"http://127.0.0.1:{receiver.port}")
    for client in (direct, proxied):
        assert (await client.outcome()).ok  # the receiver takes absolute form too
    network.guard = Guard(Egress(deny=("10.0.0.0/8",)))
    receiver.close_connections()
    await until(lambda: not (direct.pool.connections or proxied.pool.connections))
    assert (await direct.outcome()).ok
    refused = await proxied.outcome()
    assert (refused.error, refused.text) == ("egress", "10.0.0.1 is in egress.deny (10.0.0.0/8)")
    network.guard = Guard(Egress(deny=("127.0.0.1",)))
    direct.pool.close()
    again = await proxied.outcome()
    assert again.error == "egress"
    assert again.text == f"proxy 127.0.0.1:{receiver.port}: 127.0.0.1 is in egress.deny (127.0.0.1/32)"


async def test_refused_addresses_of_a_name_are_passed_over(receiver: Receiver, connect: Connect) -> None:
    names = Names(("169.254.0.1", "::ffff:169.254.0.2", "127.0.0.1"))
    client = connect(f"http://mes.invalid:{receiver.port}/", network=names.network)
    began = time.monotonic()
    assert (await client.outcome()).ok
    assert time.monotonic() - began < module.STAGGER_S


async def test_a_redirect_leads_nowhere(receiver: Receiver, connect: Connect) -> None:
    receiver.script = scripts.status(307, headers=[("Location", "http://169.254.169.254/")])
    client = connect(receiver.url())
    assert (await client.outcome()).status == 307
    assert receiver.accepted == len(receiver.requests) == 1


async def test_an_odd_spelling_is_one_address_and_no_name(receiver: Receiver, connect: Connect) -> None:
    names = Names(("169.254.0.1",))
    client = connect(f"http://0x7f.1:{receiver.port}/", network=names.network)
    assert (await client.outcome()).ok
    assert names.asked == []


# -- several addresses -------------------------------------------------------------------------------------


async def test_an_address_that_refuses_costs_no_time(receiver: Receiver, connect: Connect) -> None:
    names = Names(("127.0.0.2", "::1", "127.0.0.1"))
    client = connect(f"http://mes.invalid:{receiver.port}/", network=names.network)
    began = time.monotonic()
    assert (await client.outcome()).ok
    assert time.monotonic() - began < module.STAGGER_S


async def test_an_address_that_is_silent_is_overtaken_and_goes_last_then(
    receiver: Receiver, connect: Connect
) -> None:
    names = Names(("127.0.0.2", "127.0.0.1"))
    with black_hole("127.0.0.2", receiver.port):
        client = connect(f"http://mes.invalid:{receiver.port}/", network=names.network)
        began = time.monotonic()
        assert (await client.outcome()).ok
        await until(lambda: not tries())
        assert module.STAGGER_S - 0.01 <= time.monotonic() - began < module.STAGGER_S + 1
        receiver.close_connections()
        await until(lambda: not client.pool.connections)
        began = time.monotonic()
        assert (await client.outcome()).ok
        assert time.monotonic() - began < module.STAGGER_S
    assert receiver.accepted == 2


async def test_ipv6_and_ipv4_of_a_name(connect: Connect) -> None:
    """The server listens on IPv6 alone; IPv4 comes first and refuses."""
    accepted = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer.get_extra_info("peername")[0])
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    try:
        server = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    port = server.sockets[0].getsockname()[1]
    async with server:
        names = Names(("127.0.0.1", "::1"))
        assert (await connect(f"http://mes.invalid:{port}/", network=names.network).outcome()).ok
        by_address = connect(f"http://[::1]:{port}/")
        assert (await by_address.outcome()).ok
        by_address.pool.close()
    assert accepted == ["::1", "::1"]


async def test_each_address_gets_its_share_of_a_short_time_limit(
    receiver: Receiver, connect: Connect
) -> None:
    names = Names(("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"))
    with (
        black_hole("127.0.0.2", receiver.port),
        black_hole("127.0.0.3", receiver.port),
        black_hole("127.0.0.4", receiver.port),
    ):
        client = connect(f"http://mes.invalid:{receiver.port}/", network=names.network, timeout=0.6)
        assert (await client.outcome()).ok


async def test_of_two_connections_made_at_the_same_moment_one_is_closed(
    receiver: Receiver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = asyncio.Event()
    dialled = []
    real = module._dial

    async def together(loop: asyncio.AbstractEventLoop, where: Address, port: int) -> socket.socket:
        sock = await real(loop, where, port)
        dialled.append(sock)
        if len(dialled) == 2:
            both.set()
        await both.wait()
        return sock

    monkeypatch.setattr(module, "_dial", together)
    names = Names(("127.0.0.1", "::ffff:127.0.0.1"))
    client = connect(f"http://mes.invalid:{receiver.port}/", network=names.network)
    assert (await client.outcome()).ok
    await until(lambda: receiver.accepted == 2 and receiver.open == 1)
    assert len(dialled) == 2
    assert (await client.outcome()).ok  # not the one in use
    assert receiver.accepted == 2


async def test_when_no_address_works_each_is_told(receiver: Receiver, connect: Connect) -> None:
    await receiver.stop()
    names = Names(("127.0.0.1", "127.0.0.2"))
    outcome = await connect(f"http://mes.invalid:{receiver.port}/", network=names.network).outcome()
    assert outcome.error == "connect"
    assert outcome.text == "127.0.0.1: Connection refused; 127.0.0.2: Connection refused"
    names = Names(("127.0.0.1",))
    outcome = await connect(f"http://mes.invalid:{receiver.port}/", network=names.network).outcome()
    assert outcome.text == "127.0.0.1: Connection refused"
    outcome = await connect(receiver.url()).outcome()
    assert (outcome.error, outcome.text.lower()) == ("connect", "connection refused")


async def test_when_all_addresses_are_silent_the_time_limit_ends_it(connect: Connect) -> None:
    with black_hole() as port, black_hole("127.0.0.2", port):
        names = Names(("127.0.0.1", "127.0.0.2"))
        client = connect(f"http://mes.invalid:{port}/", network=names.network, timeout=0.3)
        outcome = await client.outcome()
    assert (outcome.error, outcome.text) == ("timeout", "no connection within 300 ms")
    await until(lambda: not tries())


async def test_a_name_with_several_addresses_under_tls(certificates: Certificates, connect: Connect) -> None:
    async with Receiver(ssl=certificates.server_context()) as server:
        names = Names(("127.0.0.2", "127.0.0.1"))
        tls = Tls(cacertfile=certificates.ca)
        client = connect(f"https://localhost:{server.port}/", network=names.network, tls=tls)
        assert (await client.outcome()).ok
        assert names.asked == ["localhost"]


async def test_a_tls_handshake_that_stalls_is_told(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"https://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)
        outcome = await client.outcome()
    assert outcome.error == "timeout"
    assert outcome.text == "no connection within 200 ms, waiting for the TLS handshake"


# -- DNS ---------------------------------------------------------------------------------------------------


async def test_a_name_server_that_is_silent_is_told_as_dns(connect: Connect) -> None:
    async def silent(name: str) -> list[Address]:
        await asyncio.Event().wait()
        return []

    network = Network(asyncio.get_running_loop(), lookup=silent)
    outcome = await connect("http://mes.invalid/", network=network, timeout=0.2).outcome()
    assert outcome.error == "dns"
    assert outcome.text == "no connection within 200 ms, waiting for the address of mes.invalid"
    network.close()


async def test_an_outage_of_dns_stops_no_lane(
    receiver: Receiver, connect: Connect, no_patience: None
) -> None:
    """Every request needs a new connection, and after the first one no lookup works any more."""
    receiver.script = scripts.respond_with_close
    names = Names(("127.0.0.1",), socket.gaierror(socket.EAI_AGAIN, "Temporary failure"))
    client = connect(f"http://mes.invalid:{receiver.port}/", network=names.network, size=4)
    client.send(count=40)
    await client.wait(40)
    assert all(outcome.ok for _, outcome in client.outcomes)
    assert receiver.accepted == 40
    assert 1 < len(names.asked) < 20  # asked again now and then, not for every connection
    assert names.network.resolver.stale > 20
    found = await connect("http://other.invalid/", network=names.network).outcome()
    assert (found.error, found.text) == ("dns", "Temporary failure")


async def test_a_pool_that_opens_many_connections_asks_once(receiver: Receiver, connect: Connect) -> None:
    receiver.delay = 0.05
    names = Names(("127.0.0.1",))
    client = connect(f"http://mes.invalid:{receiver.port}/", network=names.network, size=16)
    client.send(count=16)
    await client.wait(16)
    assert receiver.accepted == 16
    assert len(names.asked) == 1
