"""What webhooks cost that do not want a message, and what a thousand of them cost beside ten."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from scripts.bench.process import Broker, Sink, publish

UNWANTED, WANTED = 200_000, 40_000
"""Messages of one measurement; the brokers under comparison take turns."""
SLICES = 4
"""Measurements of each in a round."""
WARM = 10_000
PAYLOAD = 100
FEW, MANY = 10, 1000
CONNECTIONS = 1000
"""Of all webhooks together, so that ten and a thousand have the same number of requests in flight."""


def webhooks(number: int, prefix: str, port: int) -> str:
    """So many webhooks, each of a topic filter of its own: `<prefix>/0/#`, `<prefix>/1/#`, …"""
    pool = max(CONNECTIONS // number, 1)
    return "\n".join(
        f'webhooks.w{at} {{ url = "http://127.0.0.1:{port}/hook", pool_size = {pool}, '
        f'events = [ {{ event = on_message_publish, topic = "{prefix}/{at}/#" }} ] }}'
        for at in range(number)
    )


class Pace:
    """Publishes acknowledged/s and processor µs per publish of one broker, slice by slice."""

    def __init__(self, broker: Broker, topics: int, sink: Sink | None) -> None:
        self.broker = broker
        self.topics = topics
        self.sink = sink  # where every message is to arrive, if anywhere
        self.rates: list[float] = []
        self.costs: list[float] = []

    def run(self, count: int | None = None) -> None:
        """Publish, and wait until all is delivered."""
        count = count or (WANTED if self.sink is not None else UNWANTED)
        if self.sink is not None:
            self.sink.say("reset")
        before = self.broker.cpu()
        done = publish(
            self.broker.port, "--count", count, "--size", PAYLOAD, "--publishers", 10, "--topics", self.topics
        )
        if self.sink is not None:
            self.sink.wait_for(count, 60)
        self.rates.append(done["acked"] / done["seconds"])
        self.costs.append((self.broker.cpu() - before) / count * 1e6)


def compare(part: str, paces: Mapping[str, Pace], rounds: int) -> None:
    """Let the brokers take turns; print the second's pace as a share of the first's."""
    for pace in paces.values():
        pace.run(WARM)
        pace.rates.clear()
        pace.costs.clear()
    order = list(paces.values())
    for number in range(rounds * SLICES):
        for pace in order if number % 2 == 0 else reversed(order):
            pace.run()
    for name, pace in paces.items():
        print(
            f"{part}: {name}: {statistics.median(pace.rates):,.0f} publishes/s acknowledged, "
            f"{statistics.median(pace.costs):.1f} µs of processor time each"
        )
    first, second = order
    rate = statistics.median(
        later / earlier for earlier, later in zip(first.rates, second.rates, strict=True)
    )
    cost = statistics.median(
        earlier / later for earlier, later in zip(first.costs, second.costs, strict=True)
    )
    print(f"{part}: median ratio {rate:.2f} (at least 0.9 is asked); by processor time {cost:.2f}")


def part_nomatch(folder: Path, rounds: int) -> None:
    """QoS 1 publishes that no rule matches, as a share of those without any webhook, in turn."""
    none = Broker(folder / "nomatch-none", "")
    try:
        other = Broker(folder / "nomatch-one", webhooks(1, "other", 9))
        try:
            paces = {"no webhook": Pace(none, 0, None), "no rule matches": Pace(other, 0, None)}
            compare("nomatch", paces, rounds)
        finally:
            other.close()
    finally:
        none.close()


def part_many(folder: Path, rounds: int) -> None:
    """Publishes with 1,000 webhooks of distinct topic filters as a share of those with 10, in turn.

    First such that no webhook wants, then such that go to one webhook each, one webhook after the other.
    """
    for what, prefix in (("no rule matches", "other"), ("one rule matches each", "bench")):
        sinks = [Sink(), Sink()] if prefix == "bench" else []
        brokers: list[Broker] = []
        try:
            for at, number in enumerate((FEW, MANY)):
                port = sinks[at].port if sinks else 9
                name = f"many-{prefix}-{number}"
                brokers.append(Broker(folder / name, webhooks(number, prefix, port)))
            paces = {
                f"{number:,} webhooks": Pace(brokers[at], number, sinks[at] if sinks else None)
                for at, number in enumerate((FEW, MANY))
            }
            compare(f"many, {what}", paces, rounds)
        finally:
            for running in (*brokers, *sinks):
                running.close()
