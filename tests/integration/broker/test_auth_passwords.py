"""User names and passwords: plain and hashed, many at once, and those who guess."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import argon2
import bcrypt
import pytest

from bridge.broker.auth_hashes import HashPool, verify
from bridge.events.event import EventType
from bridge.mqtt.packets import Connack, Connect, Disconnect, Properties, Puback, Publish, Will
from bridge.mqtt.reasons import ReasonCode
from tests.integration.broker.looking import of
from tests.integration.broker.protecting import Protected, protect
from tests.integration.broker.running import Start
from tests.integration.mqtt_client import Client

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
ARGON = "$argon2id$v=19$m=64,t=1,p=1$u5Vu2hR+RyiOY5LChsVd1Q$+6lQiVbDGDvOMgCrwLy/RYIMoTqy3lw5wk08BE2pwZg"
BCRYPT = "$2b$04$wi9PL0gUsMJiHVVIIIkzj.z1Vy8eITFrFSljrfDOA8/.xLjYSNATi"
USERS = (("ann", ARGON), ("bob", BCRYPT), ("eve", "s3cret"))


class Gate:
    """Stands in for the check of a hash: it takes as long as the test wants. Called in threads."""

    def __init__(self, protected: Protected, *, opened: bool = True) -> None:
        self.loop = asyncio.get_running_loop()
        self.waiting: list[Callable[[], None]] = []
        self.seen: list[bytes] = []
        self.opened = opened
        memory = protected.setup.memory
        memory.pool = self.pool = HashPool(self.loop, memory.remembered, self.check, threads=4)

    def check(self, stored: str, password: bytes) -> bool:
        self.seen.append(password)
        end = time.monotonic() + 10
        while not self.opened and time.monotonic() < end:
            time.sleep(0.002)
        return verify(stored, password)


async def gated(start: Start, *, opened: bool = True, **auth: object) -> tuple[Protected, Gate]:
    protected = await protect(start, allow_anonymous=False, password=(("ann", ARGON),), **auth)
    gate = Gate(protected, opened=opened)
    protected.reload(protected.auth)
    return protected, gate


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        ("ann", b"s3cret", 0),
        ("bob", b"s3cret", 0),
        ("eve", b"s3cret", 0),
        ("ann", b"wrong", 0x86),
        ("bob", b"wrong", 0x86),
        ("eve", b"wrong", 0x86),
        ("ann", ARGON.encode(), 0x86),  # the hash is no password
        ("bob", BCRYPT.encode(), 0x86),
        ("ann", b"", 0x86),
        ("bob", b"s3cret\x00", 0x86),
        ("bob", b"s" * 100, 0x86),
        ("ann", None, 0x86),
        ("who", b"s3cret", 0x86),
        (None, None, 0x87),
    ],
)
async def test_hashes_and_plain_ones(
    start: Start, version: int, user: str | None, password: bytes | None, code: int
) -> None:
    broker = await protect(start, allow_anonymous=False, password=USERS)
    five = version == 5
    codes = {0: 0, 0x86: 4, 0x87: 5}
    expected = code if five else codes[code]
    client = await broker.connect("c", version=version, username=user, password=password, code=expected)
    if not code:
        await client.silent()
        await client.publish("a", b"x", 1)
    else:
        await client.wait_closed()
        assert not broker.broker.sessions
    (event,) = of(broker.running, EventType.CLIENT_CHECK_AUTHN_COMPLETE)
    names = {0: "success", 0x86: "bad_username_or_password", 0x87: "not_authorized"}
    assert event.data == {
        "conn_ack": names[code], "is_anonymous": user is None, "is_superuser": False,
    }  # fmt: skip


async def test_a_password_of_bcrypt_is_cut_where_bcrypt_cuts(start: Start) -> None:
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    broker = await protect(start, password=(("long", hashed),))
    await broker.connect("c", username="long", password=b"x" * 90)


async def test_every_failure_takes_the_same_way(start: Start) -> None:
    """Call counts instead of times: one hash for a wrong password and for an unknown user, however stored."""
    broker = await protect(start, allow_anonymous=False, password=USERS)
    pool = broker.setup.memory.pool
    for number, (user, password) in enumerate(
        [("ann", b"1"), ("bob", b"1"), ("eve", b"1"), ("nobody", b"1"), ("nobody", b"2"), ("other", b"1")], 1
    ):
        client = await broker.connect("c", username=user, password=password, code=4)
        await client.wait_closed()
        assert pool.checks == number
    # without any hash there is none to pay for
    plain = await protect(start, allow_anonymous=False, password=(("eve", "s3cret"),))
    await plain.connect("c", username="nobody", password=b"1", code=4)
    assert plain.setup.memory.pool.checks == 0


async def test_a_right_password_is_hashed_once(start: Start) -> None:
    broker = await protect(start, allow_anonymous=False, password=USERS)
    pool = broker.setup.memory.pool
    for clientid in ("1", "2", "2", "3"):
        await broker.connect(clientid, username="ann", password=b"s3cret")
    assert pool.checks == 1
    await broker.connect("4", username="ann", password=b"wrong", code=4)
    await broker.connect("5", username="bob", password=b"s3cret")
    assert pool.checks == 3
    # a reload forgets nothing, but a new hash is another question
    broker.reload(broker.auth)
    await broker.connect("6", username="ann", password=b"s3cret")
    assert pool.checks == 3
    broker.reload(broker.auth.model_copy(update={"password": type(broker.auth)(
        password=(("ann", CHEAP.hash("n3w")),)
    ).password}))  # fmt: skip
    await broker.connect("7", username="ann", password=b"s3cret", code=4)
    await broker.connect("8", username="ann", password=b"n3w")
    assert pool.checks == 5


async def test_two_thousand_come_back_at_once(start: Start) -> None:
    """All with their right password: one hash, asked for once, whether it is known already or not."""
    real = argon2.PasswordHasher(2, 19_456, 1).hash("s3cret")
    broker = await protect(start, allow_anonymous=False, password=(("fleet", real),))
    for _ in range(2):
        began = time.monotonic()
        for first in range(0, 2000, 250):
            await asyncio.gather(
                *[
                    broker.connect(f"d{n}", username="fleet", password=b"s3cret", version=4)
                    for n in range(first, first + 250)
                ]
            )
        took = time.monotonic() - began
        assert broker.setup.memory.pool.checks == 1
        for client in broker.clients:
            client.abort()
        broker.clients.clear()
        await broker.until_idle()
    print(f"2,000 known passwords: {took:.2f} s")


async def test_what_follows_a_connect_waits_for_its_verdict(start: Start, version: int) -> None:
    broker, gate = await gated(start, opened=False)
    client = await Client.open(broker.port, version=version)
    client.send(
        Connect("c", version, username="ann", password=b"s3cret"),
        Publish("a", b"1", 1, packet_id=1),
        Publish("a", b"2", 1, packet_id=2),
    )
    await broker.until(lambda: gate.seen)
    client.send(Publish("a", b"3", 1, packet_id=3))
    assert not broker.broker.sessions
    # others are served meanwhile
    other = await Client.open(broker.port)
    other.send(Connect("x"))
    assert (await other.expect(Connack)).reason_code == 5
    assert broker.recorder.of("publish") == []
    gate.opened = True
    assert (await client.expect(Connack)).reason_code == 0
    assert [(await client.expect(Puback)).packet_id for _ in range(3)] == [1, 2, 3]
    assert broker.recorder.by("c") == [
        ("connect",), ("connected",), ("connack", "success"),
        ("publish", "a", b"1"), ("publish", "a", b"2"), ("publish", "a", b"3"),
    ]  # fmt: skip
    client.abort()


async def test_packets_behind_a_refused_one_are_not_processed(start: Start, version: int) -> None:
    broker, gate = await gated(start, opened=False)
    client = await Client.open(broker.port, version=version)
    client.send(Connect("c", version, username="ann", password=b"no"), Publish("a", b"1", 1, packet_id=1))
    await broker.until(lambda: gate.seen)
    gate.opened = True
    (answer,) = await client.wait_closed()
    assert isinstance(answer, Connack)
    assert answer.reason_code == (0x86 if version == 5 else 4)
    assert broker.recorder.by("c") == [
        ("connect",),
        ("connack", "bad_username_or_password" if version == 5 else "malformed_username_or_password"),
    ]


async def test_one_that_goes_while_it_waits(start: Start) -> None:
    """What it sent before its end counts, as ever; one that broke off had no time to be let in."""
    broker, gate = await gated(start, opened=False)
    polite = await Client.open(broker.port)
    polite.send(Connect("polite", username="ann", password=b"s3cret"), Publish("a", b"1"), Disconnect())
    polite.writer.write_eof()
    abrupt = await Client.open(broker.port)
    abrupt.send(Connect("abrupt", username="ann", password=b"s3cret", will=Will("w", b"gone")))
    await broker.until(lambda: len(broker.broker.connections) == 2 and gate.seen)
    await asyncio.sleep(0)
    abrupt.abort()
    gate.opened = True
    await broker.until_idle()
    assert broker.recorder.by("polite") == [
        ("connect",), ("connected",), ("connack", "success"), ("publish", "a", b"1"),
        ("disconnected", "normal"), ("terminated", "normal"),
    ]  # fmt: skip
    assert broker.recorder.by("abrupt")[-1] in [("terminated", "tcp_closed"), ("connect",)]
    assert not broker.broker.sessions


async def test_a_refused_client_leaves_its_victim_alone(start: Start, version: int) -> None:
    broker, gate = await gated(start)
    victim = await broker.connect("v", version=version, username="ann", password=b"s3cret")
    await victim.subscribe("a", 1)
    session = broker.broker.sessions["v"]
    gate.opened = False
    thief = await Client.open(broker.port, version=version)
    thief.send(Connect("v", version, username="ann", password=b"guess"))
    await broker.until(lambda: b"guess" in gate.seen)
    await victim.publish("a", b"1", 1)
    gate.opened = True
    await thief.wait_closed()
    assert broker.broker.sessions["v"] is session
    assert (await victim.expect(Publish)).payload == b"1"
    assert broker.recorder.of("disconnected", "terminated") == []


async def test_a_client_that_waits_is_not_timed_out(start: Start) -> None:
    broker, gate = await gated(start, opened=False, mqtt={"connect_timeout": 0.3})
    client = await Client.open(broker.port)
    client.send(Connect("c", username="ann", password=b"s3cret"))
    await broker.until(lambda: gate.seen)
    silent = await Client.open(broker.port)
    await silent.wait_closed()  # a sweep has been made, and more than the limit is over
    assert broker.broker.stats.connect_timeouts == 1
    gate.opened = True
    assert (await client.expect(Connack)).reason_code == 0
    client.abort()


async def test_a_shutdown_while_some_wait(start: Start) -> None:
    broker, gate = await gated(start, opened=False)
    client = await Client.open(broker.port)
    client.send(Connect("c", username="ann", password=b"s3cret"))
    await broker.until(lambda: gate.seen)
    broker.broker.shut_down()
    broker.journal.flush()
    assert await client.wait_closed() == []
    gate.opened = True
    assert not broker.broker.sessions


async def test_failures_slow_down_their_address(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with real waits: what is looked at is whether the next attempt is held, refused or served."""
    broker = await protect(start, allow_anonymous=False, password=(("eve", "s3cret"), ("ann", "s3cret")))
    now = [1000.0]
    throttle = broker.setup.memory.throttle
    throttle._clock = lambda: now[0]
    await broker.connect("known", username="eve", password=b"s3cret")
    for _ in range(10):
        client = await broker.connect("g", version=5, username="eve", password=b"guess", code=0x86)
        await client.wait_closed()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    real = asyncio.sleep
    monkeypatch.setattr("bridge.broker.auth.asyncio.sleep", sleep)
    await broker.connect("first", username="ann", password=b"s3cret")
    assert not slept  # the address has its next attempt at once …
    await broker.connect("second", username="ann", password=b"s3cret")
    assert not slept  # … and whose password was right before does not wait
    client = await broker.connect("g", version=5, username="eve", password=b"guess", code=0x86)
    assert slept == [pytest.approx(0.1)]
    await broker.connect("again", username="eve", password=b"s3cret")
    codes = []
    for _ in range(12):
        client = await broker.connect("g", version=5, username="eve", password=b"guess", code=None)
        assert client.connack is not None
        codes.append(client.connack.reason_code)
    assert codes[0] == 0x86
    assert codes[-1] == ReasonCode.CONNECTION_RATE_EXCEEDED
    assert throttle.wait("192.0.2.1") == 0.0  # no other address waits
    now[0] += 301
    await broker.connect("late", version=5, username="eve", password=b"guess", code=0x86)


async def test_properties_of_a_late_connack(start: Start) -> None:
    broker, gate = await gated(start, opened=False)
    client = await Client.open(broker.port, version=5)
    client.send(Connect("", 5, username="ann", password=b"s3cret", properties=Properties(receive_maximum=3)))
    await broker.until(lambda: gate.seen)
    gate.opened = True
    connack = await client.expect(Connack)
    assert connack.reason_code == 0
    assert connack.properties is not None
    assert (connack.properties.assigned_client_identifier or "").startswith("auto-")
    client.abort()
