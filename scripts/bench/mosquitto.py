"""HookMQ beside Debian's mosquitto, in turn, without webhooks: what a broker alone is measured by."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bridge.mqtt.encoder import encode_connect
from bridge.mqtt.packets import Connect
from scripts.bench.process import Broker, Sink, cpu_of, load, memory_of

IDLE = 10_000
STORM = 5000
LIVES = ["client_connected", "client_disconnected"] * 2
"""What each client of a storm goes through."""
QUEUES = "mqtt { max_mqueue_len = 2000000 }"
"""No queue overflows, as at the peer: then less work would be faster."""
FILES = 30_000
"""Open files that the peer is allowed; both ends of 10,000 connections are far below."""


class Mosquitto:
    """A mosquitto with persistence, whose queues are as long as HookMQ's."""

    def __init__(self, folder: Path, *, users: int = 0) -> None:
        """Start it; with `users` nobody else gets in."""
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = sock.getsockname()[1]
        access = "allow_anonymous true"
        if users:
            names = folder / "users"
            names.write_text("".join(f"user-{at}:secret-{at}\n" for at in range(users)))
            subprocess.run(["mosquitto_passwd", "-U", str(names)], check=True)
            access = f"allow_anonymous false\npassword_file {names}"
        conf = folder / "mosquitto.conf"
        conf.write_text(
            # Started by root it would take another user's rights, who may not read the folder.
            f"user {getpass.getuser()}\n"
            f"listener {self.port} 127.0.0.1\n{access}\n"
            f"persistence true\npersistence_location {folder}/\n"
            "max_inflight_messages 2048\nmax_queued_messages 2000000\nlog_dest none\n"
        )
        command = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        if command is None:
            raise SystemExit("mosquitto is not on this machine (Debian: apt install mosquitto)")
        self.process = subprocess.Popen([command, "-c", str(conf)], cwd=folder, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise SystemExit("mosquitto did not start") from None
                time.sleep(0.02)

    def memory(self) -> int:
        """Resident bytes."""
        return memory_of(self.process.pid)

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return cpu_of(self.process.pid)

    def close(self) -> None:
        """End it at once: what it would write is of no use."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


Peer = Broker | Mosquitto


def traffic(port: int, *options: object) -> dict[str, Any]:
    """Run the clients to their end."""
    return load("traffic", port, *options)


def _in_turn(
    part: str, rounds: int, folder: Path, asked: str, measure: Callable[[Peer], tuple[float, float]]
) -> None:
    """One broker after the other, new ones for each round; the ratio of each round's pair.

    The processor time of the brokers alone is printed beside it: clients have the same two cores.
    """
    ratios = []
    for number in range(rounds):
        rates: dict[str, float] = {}
        costs: dict[str, float] = {}
        for name in ("hookmq", "mosquitto") if number % 2 == 0 else ("mosquitto", "hookmq"):
            own = folder / f"{part}-{name}{number}"
            peer: Peer = Broker(own, "", extra=QUEUES) if name == "hookmq" else Mosquitto(own)
            try:
                rates[name], costs[name] = measure(peer)
            finally:
                peer.close()
        ratios.append(rates["hookmq"] / rates["mosquitto"])
        print(
            f"{part}: hookmq {rates['hookmq']:,.0f}/s, mosquitto {rates['mosquitto']:,.0f}/s, "
            f"ratio {ratios[-1]:.2f}; "
            f"processor time {costs['hookmq']:.1f} and {costs['mosquitto']:.1f} µs each"
        )
    print(f"{part}: median ratio {statistics.median(ratios):.2f} ({asked})")


def _rate(*options: object) -> Callable[[Peer], tuple[float, float]]:
    """Messages/s, and microseconds of processor time for each."""

    def measure(peer: Peer) -> tuple[float, float]:
        before = peer.cpu()
        done = traffic(peer.port, *options)
        spent = peer.cpu() - before
        return done["messages"] / done["seconds"], spent / done["messages"] * 1e6

    return measure


def part_ingest(folder: Path, rounds: int) -> None:
    """QoS 1 from 10 publishers, nobody subscribes; publishes acknowledged/s."""
    _in_turn("ingest", rounds, folder, "at least 1.5 is asked", _rate("--count", 300_000))


def part_subscriber(folder: Path, rounds: int) -> None:
    """10 publishers to 1 subscriber, all QoS 1; messages received/s."""
    _in_turn(
        "subscriber", rounds, folder, "at least 1 is asked", _rate("--count", 200_000, "--subscribers", 1)
    )


def part_fanout(folder: Path, rounds: int) -> None:
    """1 publisher to 1,000 subscribers at QoS 0; messages received/s."""
    options = ("--publishers", 1, "--subscribers", 1000, "--pub-qos", 0, "--count", 400, "--ahead", 50)
    _in_turn("fanout", rounds, folder, "at least 0.5 is asked", _rate(*options))


def part_fanin(folder: Path, rounds: int) -> None:
    """1,000 publishers to 1 subscriber, all QoS 1; messages received/s."""
    options = ("--publishers", 1000, "--subscribers", 1, "--count", 200_000, "--window", 10)
    _in_turn("fanin", rounds, folder, "at least 1 is asked", _rate(*options, "--ahead", 2000))


def part_queues(folder: Path, rounds: int) -> None:
    """QoS 1 from 10 publishers while the queues of 10 persistent sessions grow; publishes acknowledged/s."""
    options = ("--subscribers", 10, "--away", "--count", 50_000)
    _in_turn("queues", rounds, folder, "at least 0.5 is asked", _rate(*options))


def _idle(peer: Peer) -> float:
    """Bytes of each of many idle connections."""
    traffic(peer.port, "--count", 1000)  # everything is loaded once
    before = peer.memory()
    with ExitStack() as stack:
        socks = []
        for at in range(IDLE):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", peer.port)))
            sock.sendall(encode_connect(Connect(client_id=f"idle-{at}", keepalive=600)))
            socks.append(sock)
        for sock in socks:
            if not sock.recv(4):
                raise SystemExit("an idle connection was closed")
        time.sleep(1)  # the sweep has run
        return (peer.memory() - before) / IDLE


def part_idle(folder: Path, rounds: int) -> None:
    """Resident memory of each of 10,000 idle connections."""
    _raise_limit()
    for peer in (Broker(folder / "idle-hookmq", ""), Mosquitto(folder / "idle-mosquitto")):
        try:
            name = "hookmq" if isinstance(peer, Broker) else "mosquitto"
            print(f"idle: {name} {_idle(peer) / 1024:.1f} KiB each of {IDLE:,} connections (at most 8)")
        finally:
            peer.close()


def part_storm(folder: Path, rounds: int) -> None:
    """5,000 clients, each with a password of its own, lose their connections and all connect again at once.

    HookMQ's time beside mosquitto's, and once more with a webhook that is sent each client's connected and
    disconnected events; that these came in order is checked.
    """
    _raise_limit()
    users = _users()
    ratios: dict[str, list[float]] = {"hookmq": [], "with events": []}
    for number in range(rounds):
        times: dict[str, float] = {}
        costs: dict[str, float] = {}
        names = ["hookmq", "mosquitto", "with events"]
        for name in names if number % 2 == 0 else reversed(names):
            own = folder / f"storm-{name.replace(' ', '-')}{number}"
            times[name], costs[name] = _storm(name, own, users)
        for name, found in ratios.items():
            found.append(times[name] / times["mosquitto"])
        print(
            f"storm: {STORM:,} clients are in after {times['hookmq']:.2f} s, "
            f"with their events {times['with events']:.2f} s, at mosquitto {times['mosquitto']:.2f} s, "
            f"ratios {ratios['hookmq'][-1]:.2f} and {ratios['with events'][-1]:.2f}; processor time "
            f"{costs['hookmq']:.0f}, {costs['with events']:.0f} and {costs['mosquitto']:.0f} µs each"
        )
    for name, found in ratios.items():
        print(f"storm: {name}: median ratio {statistics.median(found):.2f} (at most 2 is asked)")


def _storm(name: str, folder: Path, users: str) -> tuple[float, float]:
    """Seconds of one broker, and microseconds of processor time for each client's two lives."""
    if name == "mosquitto":
        peer = Mosquitto(folder, users=STORM)
        try:
            return _stormed(peer)
        finally:
            peer.close()
    folder.mkdir()
    (folder / "users.conf").write_text(users)
    access = f'auth {{ allow_anonymous = false, password = {{ include "{folder}/users.conf" }} }}'
    sink = Sink()
    hook = f"""webhook {{
  url = "http://127.0.0.1:{sink.port}/hook"
  events = [ {{ event = on_client_connected }}, {{ event = on_client_disconnected }} ]
}}"""
    broker = Broker(folder, hook if name == "with events" else "", extra=access)
    try:
        found = _stormed(broker)
        if name == "with events":
            sink.wait_for(4 * STORM, 60)
            _in_order(sink.actions())
        return found
    finally:
        broker.close()
        sink.close()


def _stormed(peer: Peer) -> tuple[float, float]:
    before = peer.cpu()
    seconds: float = traffic(peer.port, "--storm", STORM)["seconds"]
    return seconds, (peer.cpu() - before) / STORM * 1e6


def _in_order(actions: dict[str, list[str]]) -> None:
    """Each client was connected, disconnected, connected and disconnected, in this order."""
    wrong = {clientid: found for clientid, found in actions.items() if found != LIVES}
    if wrong or len(actions) != STORM:
        raise SystemExit(f"storm: events of {len(actions)} clients, not in order: {list(wrong.items())[:5]}")


def _users() -> str:
    """A password of its own for each client, hashed; what a hash costs is of no matter once it is cached."""
    from argon2 import PasswordHasher  # noqa: PLC0415  of this part alone

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return "".join(f'"user-{at}" = "{hasher.hash(f"secret-{at}")}"\n' for at in range(STORM))


def _raise_limit() -> None:
    import resource  # noqa: PLC0415  Linux, as /proc is

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))


PARTS = {
    "ingest": part_ingest,
    "subscriber": part_subscriber,
    "fanout": part_fanout,
    "fanin": part_fanin,
    "queues": part_queues,
    "idle": part_idle,
    "storm": part_storm,
}
