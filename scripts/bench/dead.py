"""One of two endpoints dead: what the healthy one keeps of its pace."""

from __future__ import annotations

import socket
import statistics
from pathlib import Path

from scripts.bench.process import Broker, Sink, publish, webhook

EVENTS = 150_000
PAYLOAD = 100


def _refusing() -> str:
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/hook"


def _pace(folder: Path, other: str | None) -> tuple[float, float]:
    """Events/s at the healthy endpoint, beside another if an address is given, and processor µs an event."""
    sink = Sink()
    beside = f"""
webhooks.other {{ url = "{other}", events = [ {{ event = on_message_publish, topic = "bench/#" }} ] }}"""
    broker = Broker(folder, webhook(sink.port), extra="" if other is None else beside)
    try:
        publish(broker.port, "--count", 20_000, "--size", PAYLOAD, "--publishers", 10)
        sink.wait_for(20_000, 60)
        sink.say("reset")
        before = broker.cpu()
        done = publish(broker.port, "--count", EVENTS, "--size", PAYLOAD, "--publishers", 10)
        last = sink.wait_for(EVENTS, 120)
        spent = (broker.cpu() - before) / EVENTS * 1e6
        return EVENTS / (last - done["begin"]), spent
    finally:
        broker.close()
        sink.close()


def part_dead(folder: Path, rounds: int) -> None:
    """Events/s at one endpoint alone, beside one that refuses connections, and beside one that hangs."""
    names = ["alone", "beside one that refuses", "beside one that hangs"]
    rates: dict[str, list[float]] = {name: [] for name in names}
    costs: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            hung = Sink()
            hung.say("hold")
            try:
                hangs = f"http://127.0.0.1:{hung.port}/hook"
                other = {names[0]: None, names[1]: _refusing(), names[2]: hangs}[name]
                rate, cost = _pace(folder / f"dead-{names.index(name)}-{number}", other)
            finally:
                hung.close()
            rates[name].append(rate)
            costs[name].append(cost)
            print(f"dead: {name}: {rate:,.0f} events/s, {cost:.1f} µs of processor time per event")
    for name in names[1:]:
        rate = statistics.median(rates[name]) / statistics.median(rates[names[0]])
        cost = statistics.median(costs[names[0]]) / statistics.median(costs[name])
        print(
            f"dead: {name}: ratio of the medians {rate:.2f} (at least 0.9 is asked); "
            f"by processor time {cost:.2f}"
        )
