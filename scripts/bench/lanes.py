"""Many webhooks of distinct topic filters: publishes acknowledged a second with 1,000 of them against 10."""

from __future__ import annotations

import statistics
from pathlib import Path

from scripts.bench.process import Broker, Sink, publish

EVENTS = 60_000
PAYLOAD = 100
FEW, MANY = 10, 1000


def _pace(folder: Path, number: int, topics: int) -> tuple[float, float]:
    """Publishes acknowledged/s, and processor µs a publish until all is delivered."""
    sink = Sink()
    url = f"http://127.0.0.1:{sink.port}/hook"
    load = ("--size", PAYLOAD, "--publishers", 10, "--topics", topics)
    broker = Broker(folder, "", command=("-m", "scripts.bench.several", str(folder), url, str(number)))
    try:
        publish(broker.port, "--count", 5000, *load)
        sink.wait_for(5000, 60)
        sink.say("reset")
        before = broker.cpu()
        done = publish(broker.port, "--count", EVENTS, *load)
        sink.wait_for(EVENTS, 120)
        spent = (broker.cpu() - before) / EVENTS * 1e6
        return done["acked"] / done["seconds"], spent
    finally:
        broker.close()
        sink.close()


def part_lanes(folder: Path, rounds: int) -> None:
    """Publishes/s with 10 webhooks; with 1,000, all but ten of them quiet; and with 1,000 that share them."""
    cases = {
        f"{FEW} webhooks": (FEW, FEW),
        f"{MANY:,} webhooks, {FEW} topics": (MANY, FEW),
        f"{MANY:,} webhooks, {MANY:,} topics": (MANY, MANY),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds):
        for name in cases if turn % 2 == 0 else reversed(cases):
            number, topics = cases[name]
            rate, cost = _pace(folder / f"lanes-{number}-{topics}-{turn}", number, topics)
            rates[name].append(rate)
            costs[name].append(cost)
            print(f"lanes: {name}: {rate:,.0f} publishes/s, {cost:.1f} µs of processor time each")
    first, *others = cases
    for name in others:
        rate = statistics.median(rates[name]) / statistics.median(rates[first])
        cost = statistics.median(costs[first]) / statistics.median(costs[name])
        print(
            f"lanes: {name}: ratio of the medians {rate:.2f} (at least 0.9 is asked); "
            f"by processor time {cost:.2f}"
        )
