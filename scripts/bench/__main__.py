"""`make bench`: what HookMQ does on this machine, as ratios taken in one run.

    python -m scripts.bench [--dir FOLDER] [--rounds 3] [PART …]

Parts: wrk (end to end against wrk on the same sink), signing (with signatures against without), dead (one of
two endpoints dead against one alone), nomatch (publishes that no rule matches against no webhook), many
(1,000 webhooks against 10), latency, memory (idle connections), backlog (a million events waiting), listeners
(tcp, ws, ssl and wss side by side).
Beside mosquitto, without webhooks: ingest (QoS 1 from 10 publishers), subscriber (to 1 subscriber), fanout (1
to 1,000), fanin (1,000 to 1), queues (persistent sessions that are away), idle (10,000 connections), storm
(5,000 connect at once).
All by default. FOLDER must lie on a real file system; the median time of a sync there is printed beside the
figures. A quiet machine gives the better figures; ratios hold on a busy one too.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from base64 import b64encode
from pathlib import Path

from bridge.mqtt.encoder import encode_connect
from bridge.mqtt.packets import Connect
from scripts.bench import mosquitto
from scripts.bench.dead import part_dead
from scripts.bench.listeners import part_listeners
from scripts.bench.many import part_many, part_nomatch
from scripts.bench.process import Broker, Sink, publish, webhook

EVENTS = 200_000
PAYLOAD = 100
BODY = (
    '{"ts":1706703724960,"topic":"bench/1/telemetry","retain":false,"qos":1,"action":"message_publish",'
    '"from_username":"undefined","from_client_id":"bench-1","payload":"' + "x" * PAYLOAD + '"}'
)


def sync_time(folder: Path) -> tuple[float, float]:
    """Median and 99th percentile of an 8 KiB write and fdatasync in that folder, in ms."""
    path = folder / "sync.tmp"
    times = []
    with path.open("wb") as file:
        for _ in range(200):
            begin = time.perf_counter()
            file.write(b"x" * 8192)
            file.flush()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begin) * 1000)
    path.unlink()
    times.sort()
    return statistics.median(times), times[int(len(times) * 0.99)]


def wrk(sink: Sink, folder: Path) -> float:
    """Requests per second that wrk reaches on the sink with 32 connections and our body."""
    script = folder / "post.lua"
    script.write_text(
        f"""wrk.method = "POST"
wrk.body = '{BODY}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["webhook-id"] = "msg_0123456789ab_0000000000000001"
"""
    )
    command = ["wrk", "-t1", "-c32", "-d5s", "-s", str(script), f"http://127.0.0.1:{sink.port}/hook"]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    sink.say("reset")
    return float(next(line for line in out.splitlines() if "Requests/sec" in line).split()[1])


def end_to_end(sink: Sink, folder: Path, **keys: object) -> tuple[float, float, float]:
    """Events/s from the first publish to the last receipt, publishes acknowledged/s, processor µs an event.

    `keys` are those of the webhook block.
    """
    broker = Broker(folder, webhook(sink.port, **keys))
    try:
        sink.say("reset")
        before = broker.cpu()
        done = publish(broker.port, "--count", EVENTS, "--size", PAYLOAD, "--publishers", 10)
        last = sink.wait_for(EVENTS, 120)
        requests, distinct = sink.count()
        if (requests, distinct) != (EVENTS, EVENTS):
            raise SystemExit(f"the sink got {requests} requests with {distinct} ids, not {EVENTS}")
        spent = (broker.cpu() - before) / EVENTS * 1e6
        return EVENTS / (last - done["begin"]), done["acked"] / done["seconds"], spent
    finally:
        broker.close()


def part_wrk(folder: Path, rounds: int) -> None:
    """Durable end-to-end events/s as a share of wrk's requests/s, in turn."""
    if shutil.which("wrk") is None:
        print("wrk: skipped, there is no wrk on this machine (Debian: apt install wrk)")
        return
    ratios = []
    for number in range(rounds):
        sink = Sink()
        try:
            reached = wrk(sink, folder)
            events, acked, _ = end_to_end(sink, folder / f"wrk{number}")
        finally:
            sink.close()
        ratios.append(events / reached)
        print(
            f"wrk: {reached:,.0f} requests/s; HookMQ end to end {events:,.0f} events/s "
            f"(acknowledged {acked:,.0f}/s); ratio {events / reached:.2f}"
        )
    print(f"wrk: median ratio {statistics.median(ratios):.2f} (at least 0.3 is asked)")


def part_signing(folder: Path, rounds: int) -> None:
    """Events/s with Standard Webhooks signatures as a share of those without, in turn."""
    signed = {"signature": "standard", "secret": f'"whsec_{b64encode(bytes(range(32))).decode()}"'}
    rates: dict[str, list[float]] = {"off": [], "on": []}
    costs: dict[str, list[float]] = {"off": [], "on": []}
    for number in range(rounds):
        for name in ("off", "on") if number % 2 == 0 else ("on", "off"):
            sink = Sink()
            try:
                keys = signed if name == "on" else {}
                events, _, spent = end_to_end(sink, folder / f"signing-{name}{number}", **keys)
            finally:
                sink.close()
            rates[name].append(events)
            costs[name].append(spent)
            print(f"signing {name}: {events:,.0f} events/s, {spent:.1f} µs of processor time per event")
    rate = statistics.median(rates["on"]) / statistics.median(rates["off"])
    cost = statistics.median(costs["off"]) / statistics.median(costs["on"])
    print(f"signing: ratio of the medians {rate:.2f} (at least 0.9 is asked); by processor time {cost:.2f}")


def part_latency(folder: Path, rounds: int) -> None:
    """Publish to receipt at 1,000 messages/s."""
    for number in range(rounds):
        sink = Sink()
        broker = Broker(folder / f"latency{number}", webhook(sink.port))
        try:
            publish(
                broker.port, "--count", 1000, "--rate", 1000, "--stamp"
            )  # connections are open afterwards
            sink.wait_for(1000, 20)
            sink.say("reset")
            publish(broker.port, "--count", 10_000, "--rate", 1000, "--stamp")
            sink.wait_for(10_000, 20)
            found = sink.latencies()
        finally:
            broker.close()
            sink.close()
        p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
        print(f"latency at 1,000/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {found[-1]:.2f} ms")


def part_memory(folder: Path, rounds: int) -> None:
    """Resident memory per idle connection."""
    sink = Sink()
    try:
        for number in (1000, 5000):
            broker = Broker(folder / f"memory{number}", webhook(sink.port))
            sockets = []
            try:
                publish(broker.port, "--count", 1000)  # everything is loaded once
                before = broker.memory()
                for index in range(number):
                    sock = socket.create_connection(("127.0.0.1", broker.port))
                    sock.sendall(encode_connect(Connect(client_id=f"idle-{index}", keepalive=600)))
                    sockets.append(sock)
                for sock in sockets:
                    if not sock.recv(4):
                        raise SystemExit("an idle connection was closed")
                time.sleep(1)  # the sweep and the checkpoint have run
                each = (broker.memory() - before) / number
                print(f"memory: {number:,} idle connections, {each / 1024:.1f} KiB each (at most 8)")
            finally:
                for sock in sockets:
                    sock.close()
                broker.close()
    finally:
        sink.close()


def part_backlog(folder: Path, rounds: int) -> None:
    """Memory and time per event with 10,000 and with 1,000,000 events waiting for a receiver that hangs."""
    sink = Sink()
    broker = Broker(folder / "backlog", webhook(sink.port, cancel_timeout=600_000))
    try:
        sink.say("hold")
        publish(broker.port, "--count", 2000)
        figures = []
        waiting = 2000
        for upto in (10_000, 1_000_000):
            fill = upto - waiting - 40_000
            if fill > 0:
                publish(broker.port, "--count", fill)
                waiting += fill
            cpu = broker.cpu()
            step = upto - waiting if upto - waiting <= 40_000 else 40_000
            done = publish(broker.port, "--count", step)
            waiting += step
            spent = (broker.cpu() - cpu) / step * 1e6
            figures.append((broker.memory(), spent))
            print(
                f"backlog: {waiting:,} waiting: {broker.memory() / 2**20:.1f} MiB resident, "
                f"{spent:.1f} µs of processor time and {done['seconds'] / step * 1e6:.1f} µs per event"
            )
        (memory_10k, time_10k), (memory_1m, time_1m) = figures
        print(
            f"backlog: memory ratio {memory_1m / memory_10k:.2f}, time ratio {time_1m / time_10k:.2f} "
            "(at most 1.2 is asked)"
        )
        begin = time.monotonic()
        sink.say("release")
        end = sink.wait_for(waiting, 300)
        print(
            f"backlog: {waiting:,} delivered in {end - begin:.1f} s ({waiting / (end - begin):,.0f}/s), "
            f"{broker.memory() / 2**20:.1f} MiB resident"
        )
    finally:
        broker.close()
        sink.close()


PARTS = {
    "wrk": part_wrk,
    "signing": part_signing,
    "dead": part_dead,
    "nomatch": part_nomatch,
    "many": part_many,
    "latency": part_latency,
    "memory": part_memory,
    "backlog": part_backlog,
    **mosquitto.PARTS,
    "listeners": part_listeners,
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path.cwd())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=args.dir))
    try:
        median, worst = sync_time(folder)
        print(
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}; "
            f"a sync takes {median:.2f} ms (p99 {worst:.2f} ms)"
        )
        for name in args.parts or PARTS:
            PARTS[name](folder, args.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
