"""Ten endpoints, each with a fault of its own, under load, while HookMQ is killed and receivers restart.

What must hold at the end:

* Every event that was acknowledged to a publisher is at every endpoint whose fault is no failure or a passing
  one, and among the dead letters of those that never took one.
* Where an order is asked for, first arrivals are in it; within one life of HookMQ nothing overtakes.
* What the endpoint that was switched off and the one with an open breaker had to wait for is there as soon as
  they are mended, and what had died at an endpoint arrives by one command.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bridge.config.mask import effective
from bridge.config.settings import (
    BatchPolicy,
    BreakerPolicy,
    Endpoint,
    Listener,
    RetryPolicy,
    Rule,
    Settings,
    StoreSettings,
    Tls,
)
from bridge.delivery.replay import letters
from bridge.events.event import EventType
from bridge.journal.sqlite import SqliteStore
from bridge.mqtt.packets import Puback, Publish
from scripts.receiver import answers, server
from scripts.receiver.certificates import Certificates
from scripts.receiver.faults import mend, misbehave
from scripts.receiver.server import Exchange, Script
from tests.integration.commands import asked
from tests.integration.mqtt_client import Client, Closed
from tests.integration.process import HookMQ, until

TOPICS = 4
BURST = 8
"""Messages that a publisher has in flight at most."""
PAUSE_S = 0.1, 0.4
LIFE_S = 1.0, 6.0
"""Seconds that a process lives after it is ready."""
DOWN_S = 0.1, 1.0
"""Seconds that a receiver is away while it restarts."""
DRAIN_S = 120.0

TAKES_ALL = ("plain", "client", "topic", "batch", "close-delimited")
KILLS_ALL = ("hang", "refuse", "reset-in-body")
WAITS = ("410", "tls-expired")


class Arrival(NamedTuple):
    """An event that a receiver took. `life` counts the processes of HookMQ."""

    life: int
    id: str
    client: str
    number: int
    topic: str


class Recorder(server.Receiver):
    """A receiver that remembers what it took, and no more of it than that."""

    def __init__(self, soak: Soak) -> None:
        super().__init__()
        self.soak = soak
        self.arrivals: list[Arrival] = []
        self.sent = 0  # requests that came

    async def on_request(self, request: server.Request) -> None:
        """Count it."""
        self.sent += 1

    def takes(self, script: Script = server.answer) -> Script:
        """The script, which answers a request with success, and what was in the request is noted."""

        async def noting(exchange: Exchange) -> None:
            found = exchange.request.json
            events = found if isinstance(found, list) else [{"id": exchange.request.id, "body": found}]
            for event in events:
                client, _, number = event["body"]["payload"].partition(":")
                self.arrivals.append(
                    Arrival(self.soak.life, event["id"], client, int(number), event["body"]["topic"])
                )
            await script(exchange)

        return noting

    @property
    def ids(self) -> set[str]:
        return {arrival.id for arrival in self.arrivals}


class Publisher:
    """A device: it sends QoS 1 messages in bursts, connects again after a crash, and sends what was not
    acknowledged once more."""

    def __init__(self, soak: Soak, name: str, version: int) -> None:
        self.soak = soak
        self.name = name
        self.version = version
        self.acked: set[str] = set()
        self.connects = 0
        self._number = 0
        self._open: dict[int, Publish] = {}  # by packet id

    async def run(self) -> None:
        """Publish until the soak stops, and until everything is acknowledged."""
        while not self.soak.stopping or self._open:
            await self.soak.up.wait()
            with contextlib.suppress(Closed, OSError):
                client = await Client.connect(
                    self.soak.hookmq.port, self.name, version=self.version, clean=False
                )
                self.connects += 1
                try:
                    await self._publish(client)
                finally:
                    client.abort()
            await asyncio.sleep(0.01)

    async def _publish(self, client: Client) -> None:
        for message in self._open.values():
            message.dup = True
        client.send(*self._open.values())
        while self._open or not self.soak.stopping:
            while self._open:
                puback = await client.expect(Puback)
                assert puback.reason_code < 0x80, puback
                message = self._open.pop(puback.packet_id)
                self.acked.add(bytes(message.payload).decode())
            await asyncio.sleep(self.soak.random.uniform(*PAUSE_S))
            if self.soak.stopping:
                return
            for _ in range(self.soak.random.randint(1, BURST)):
                packet_id = self._number % 65535 + 1
                self._open[packet_id] = Publish(
                    f"soak/{self._number % TOPICS}",
                    f"{self.name}:{self._number}".encode(),
                    qos=1,
                    packet_id=packet_id,
                )
                self._number += 1
            client.send(*self._open.values())


@dataclass
class Figures:
    """What happened, for the report."""

    kills: int = 0
    restarts: int = 0  # of receivers
    acknowledged: int = 0
    stored: int = 0  # events, with those that were stored and never acknowledged, or twice
    connects: int = 0
    arrived: dict[str, int] = field(default_factory=dict)  # different events, by endpoint
    repeated: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    waited: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    swapped: int = 0
    seconds: float = 0.0
    drain: float = 0.0

    def __str__(self) -> str:
        return "\n".join(f"  {name:13}{value}" for name, value in vars(self).items())


class Soak:
    """One run. Raises AssertionError for what does not hold."""

    def __init__(self, folder: Path, certificates: Certificates, seed: int, publishers: int = 5) -> None:
        self.random = random.Random(seed)
        self.certificates = certificates
        self.figures = Figures()
        self.life = 0
        self.stopping = False
        self.up = asyncio.Event()
        self.receivers = {name: Recorder(self) for name in (*TAKES_ALL, *KILLS_ALL, *WAITS)}
        self.publishers = [Publisher(self, f"c{n}", (4, 5)[n % 2]) for n in range(publishers)]
        self.hookmq = HookMQ(folder)
        self._free = asyncio.Lock()  # a receiver restarts, or HookMQ, never both

    async def run(self, seconds: float, kills: int) -> Figures:
        """Load for so many seconds and at least so many kills, then what must hold at the end."""
        begin = time.monotonic()
        try:
            for name, receiver in self.receivers.items():
                self._set(name, receiver)
                await receiver.start()
            self.hookmq.conf.write_text(effective(self._settings()))
            await self._start()
            load = [asyncio.create_task(publisher.run()) for publisher in self.publishers]
            restarts = asyncio.create_task(self._restart_receivers())
            while time.monotonic() - begin < seconds or self.figures.kills < kills:
                await asyncio.sleep(self.random.uniform(*LIFE_S))
                assert self.hookmq.running, "HookMQ ended by itself"
                await self._kill()
                await self._start()
                for task in (*load, restarts):
                    if task.done():
                        task.result()
            self.stopping = True
            await asyncio.gather(*load)
            restarts.cancel()
            self.figures.seconds = round(time.monotonic() - begin, 1)
            await self._drained()
            self.figures.drain = round(time.monotonic() - begin - self.figures.seconds, 1)
            assert await self.hookmq.stop() == 0
            self._check()
            await self._mended()
            assert await self.hookmq.stop() == 0
        except BaseException as error:
            error.add_note(f"{self.figures}\n{self.hookmq.stdout}{self.hookmq.log[-5000:]}")
            raise
        finally:
            self.hookmq.kill()
            for receiver in self.receivers.values():
                await receiver.stop()
        return self.figures

    # -- the endpoints ---------------------------------------------------------------------------------

    def _set(self, name: str, receiver: Recorder) -> None:
        """Make a receiver misbehave in its way."""
        takes = receiver.takes()
        if name == "plain":
            receiver.script = takes
        elif name == "client":
            receiver.script = answers.every(7, answers.status(500), takes)
        elif name == "topic":

            async def few(exchange: Exchange) -> None:
                await (takes if exchange.number % 5 else answers.close_when_reused)(exchange)

            receiver.script = few
        elif name == "batch":
            receiver.script = receiver.takes(answers.continue_first)
        elif name == "close-delimited":
            receiver.script = receiver.takes(answers.close_delimited)
        else:
            misbehave(receiver, name, certificates=self.certificates)

    def _settings(self) -> Settings:
        patient = RetryPolicy(schedule=(0, *(0.2,) * 300))
        short = RetryPolicy(schedule=(0, 0.2, 0.2), jitter=0.5)
        # Without it an endpoint that takes nothing would be asked once a second, and nothing would end.
        no_breaker = BreakerPolicy(failures=1_000_000)
        quick = BreakerPolicy(probe_interval=1.0)
        own: dict[str, dict[str, object]] = {
            "client": {"ordering": "client"},
            "topic": {"ordering": "topic"},
            "batch": {"batch": BatchPolicy(max_events=20, max_wait=0.05)},
            "hang": {"cancel_timeout": 200, "pool_size": 64},
            # After a connect that failed none is begun for up to a second, so each is worth many.
            "refuse": {"pool_size": 512},
            "tls-expired": {"tls": Tls(cacertfile=self.certificates.ca)},
        }
        endpoints = []
        for name, receiver in self.receivers.items():
            keys: dict[str, object] = {
                "pool_size": 8,
                "retry": short if name in KILLS_ALL else patient,
                "breaker": no_breaker if name in KILLS_ALL else quick,
                **own.get(name, {}),
            }
            rules = (Rule(event=EventType.MESSAGE_PUBLISH, topic="soak/#"),)
            endpoints.append(Endpoint(name=name, url=receiver.url(), events=rules, **keys))  # type: ignore[arg-type]
        return Settings(
            webhooks=tuple(endpoints),
            listeners=(Listener(kind="tcp", host="127.0.0.1", port=0),),
            store=StoreSettings(mounted_file_path=self.hookmq.data),
        )

    # -- lives -----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        await self.hookmq.start()
        self.up.set()

    async def _kill(self) -> None:
        """`kill -9`; what it had sent before is read before the next life begins."""
        async with self._free:
            self.up.clear()
            self.hookmq.kill()
            self.figures.kills += 1
            await until(lambda: not any(r.open for r in self.receivers.values()), "the connections end")
            self.life += 1

    async def _restart_receivers(self) -> None:
        """Now and then one of them is away for a moment."""
        while True:
            await asyncio.sleep(self.random.uniform(1, 4))
            async with self._free:
                receiver = self.random.choice(list(self.receivers.values()))
                await receiver.stop()
                await asyncio.sleep(self.random.uniform(*DOWN_S))
                await receiver.start()
                self.figures.restarts += 1

    # -- the end ---------------------------------------------------------------------------------------

    async def _status(self) -> dict[str, dict[str, object]]:
        return {found["name"]: found for found in (await asked(self.hookmq, "status"))["endpoints"]}

    async def _drained(self) -> None:
        """Wait until all schedules have ended."""
        end = time.monotonic() + DRAIN_S
        while True:
            status = await self._status()
            left = {
                name: [status[name][key] for key in ("backlog_events", "retrying", "in_flight")]
                for name in (*TAKES_ALL, *KILLS_ALL)
            }
            if not any(map(any, left.values())):
                break
            assert time.monotonic() < end, f"events wait: {left}"
            await asyncio.sleep(0.2)
        assert status["410"]["state"] == "off"
        assert status["tls-expired"]["state"] == "failing"
        for name in WAITS:
            assert status[name]["dead"] == 0
            self.figures.waited[name] = sum(  # type: ignore[misc]
                status[name][key] for key in ("backlog_events", "retrying", "in_flight")
            )

    def _dead(self) -> dict[str, set[str]]:
        """The ids of all dead letters, from the store that nobody uses now."""
        loop = asyncio.get_running_loop()
        store = SqliteStore.open(self.hookmq.data / "hookmq.db", loop)
        try:
            return {
                name: {
                    f"msg_{store.id}_{letter.seq:016x}"
                    for part in letters(store, store.lane(name).id, 0, store.head)
                    for letter in part
                }
                for name in self.receivers
            }
        finally:
            store.close()

    def _check(self) -> None:
        figures = self.figures
        acked = set().union(*(publisher.acked for publisher in self.publishers))
        figures.acknowledged = len(acked)
        figures.connects = sum(publisher.connects for publisher in self.publishers)
        plain = self.receivers["plain"].arrivals
        stored = {arrival.id for arrival in plain}
        ids: dict[str, set[str]] = defaultdict(set)  # of each message: several if it was sent again
        for arrival in plain:
            ids[f"{arrival.client}:{arrival.number}"].add(arrival.id)
        figures.stored = len(stored)
        assert len(acked) > 100, "there was load"
        problems = _missing("plain", acked, set(ids))
        dead = self._dead()
        for name, receiver in self.receivers.items():
            arrived = receiver.ids
            figures.arrived[name] = len(arrived)
            figures.repeated[name] = len(receiver.arrivals) - len(arrived)
            figures.requests[name] = receiver.sent
            figures.dead[name] = len(dead[name])
            if name in TAKES_ALL:
                problems += _missing(name, stored, arrived)
                problems += [f"{name}: dead letter {each}" for each in dead[name]]
            elif name in KILLS_ALL:
                problems += _missing(name, stored, dead[name])
        figures.missing = len(problems)
        swaps = self._swaps("client") + self._swaps("topic")
        figures.swapped = len(swaps)
        assert not problems, problems[:20]
        assert not swaps, swaps[:20]

    def _swaps(self, name: str) -> list[str]:
        """Where an event arrived after a later one of its client or topic."""
        found = []
        latest: dict[str, str] = {}  # by key: the last of those that arrived for the first time
        numbers: dict[str, int] = {}
        within: dict[tuple[int, str], str] = {}
        seen: set[str] = set()
        for arrival in self.receivers[name].arrivals:
            key = arrival.client if name == "client" else arrival.topic
            if arrival.id not in seen:
                seen.add(arrival.id)
                if arrival.id < latest.get(key, ""):
                    found.append(f"{name}: {arrival} came first after {latest[key]}")
                latest[key] = arrival.id
            if arrival.id < within.get((arrival.life, key), ""):
                found.append(f"{name}: {arrival} came after {within[arrival.life, key]}")
            within[arrival.life, key] = arrival.id
            # Of messages that were sent again after a crash, the first counts.
            if name == "client" and arrival.number > numbers.get(key, -1):
                if arrival.number != numbers.get(key, -1) + 1:
                    found.append(f"{name}: {arrival} came after number {numbers.get(key, -1)}")
                numbers[key] = arrival.number
        return found

    async def _mended(self) -> None:
        """What waits, and what has died at one endpoint, arrives once it is mended and told to."""
        wanted = self.receivers["plain"].ids
        mended = [*WAITS, "reset-in-body"]
        for name in mended:
            receiver = self.receivers[name]
            await mend(receiver, self.certificates)
            receiver.script = receiver.takes()
        await self._start()
        assert (await asked(self.hookmq, "enable", "--endpoint", "410"))["changed"]
        replayed = await asked(self.hookmq, "dead", "replay", "--all", "--endpoint", "reset-in-body")
        assert replayed["taken"] == len(wanted)
        for name in mended:
            receiver = self.receivers[name]
            await until(lambda ids=receiver: wanted <= ids.ids, f"{name} has everything", DRAIN_S)  # type: ignore[misc]
            self.figures.arrived[name] = len(receiver.ids)
            self.figures.repeated[name] = len(receiver.arrivals) - len(receiver.ids)
            counts = Counter(arrival.id for arrival in receiver.arrivals)
            assert set(counts.values()) == {1}, f"{name}: without a crash nothing comes twice"


def _missing(name: str, wanted: Iterable[str], found: set[str]) -> list[str]:
    return [f"{name}: {each} is missing" for each in wanted if each not in found]
