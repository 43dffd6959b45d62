"""A scrape, written in the text format of Prometheus or in OpenMetrics, without holding up the loop.

A thousand endpoints are twenty thousand samples, which take far longer than a turn may. So they are read and
written piece by piece, and after each `BUDGET_S` everybody else has a turn. Scrapes that come together share
one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import NamedTuple

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from bridge.admin.metrics import process
from bridge.admin.metrics.endpoints import Rows
from bridge.admin.metrics.families import ENDPOINT, GLOBAL, Family
from bridge.admin.routes import Plant
from bridge.telemetry.histogram import Histogram

BUDGET_S = 0.001
"""Of the loop's time, between two turns of everybody else."""
PIECE = 100
"""Samples that are written at a time."""
SESSIONS = 1000
"""Sessions that are looked at at a time."""
TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_EOF = b"# EOF\n"
# Of the library, which has no types for them.
_openmetrics: Callable[[Collector], bytes] = openmetrics.generate_latest
_number: Callable[[float], str] = floatToGoString


class Piece(NamedTuple):
    """Some samples of one metric; `more`: others of it stand right before these."""

    metric: Metric
    more: bool = False


class _One(Collector):
    """A registry of one piece."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


class PlantCollector(Collector):
    """The custom collector: everything is read when it is asked for."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def collect(self) -> Iterator[Metric]:
        """All metrics, each in as many parts as it is written in."""
        return (piece.metric for piece in self.pieces() if piece is not None)

    def pieces(self) -> Iterator[Piece | None]:
        """All samples; None is a moment to pause."""
        plant = self._plant
        queued = 0
        waiting = iter(process.queued(plant))
        while some := list(islice(waiting, SESSIONS)):
            queued += sum(some)
            yield None
        rows = Rows()
        for number, _ in enumerate(rows.read(list(plant.webhooks.lanes), plant.webhooks.dead_bounds)):
            if number % 4 == 3:
                yield None
        values = process.read(plant, queued, rows)
        for family in GLOBAL:
            yield Piece(_metric(family, values[family.name]))
        for family in ENDPOINT:
            if family.kind == "summary":
                yield from _summaries(family, rows)
                continue
            found = rows.values(family)
            for at in range(0, max(len(found), 1), PIECE):
                yield Piece(_metric(family, found[at : at + PIECE]), at > 0)


def _empty(family: Family) -> Metric:
    return Metric(family.base, family.help, family.kind, family.unit)


def _metric(family: Family, values: Sequence[process.Value]) -> Metric:
    metric = _empty(family)
    for labels, value in values:
        named = dict(zip(family.labels, labels, strict=True))
        if isinstance(value, Histogram):
            for bound, count in value.buckets():
                metric.samples.append(Sample(f"{family.name}_bucket", {**named, "le": bound}, count))
            metric.samples.append(Sample(f"{family.name}_count", named, value.count))
            metric.samples.append(Sample(f"{family.name}_sum", named, value.sum))
        else:
            metric.samples.append(Sample(family.name, named, value))
    return metric


def _summaries(family: Family, rows: Rows) -> Iterator[Piece]:
    found = list(rows.rows.items())
    for at in range(0, max(len(found), 1), PIECE // 2):
        metric = _empty(family)
        for name, row in found[at : at + PIECE // 2]:
            for suffix in ("_count", "_sum"):
                sample = family.name + suffix
                metric.samples.append(Sample(sample, {"endpoint": name}, row[sample]))
        yield Piece(metric, at > 0)


def negotiate(accept: str) -> str:
    """The content type that an Accept header prefers (RFC 9110 section 12.5.1): `TEXT` or `OPENMETRICS`."""
    best = {"text/plain": 0.0, "application/openmetrics-text": 0.0}
    for part in accept.split(","):
        name, *parameters = [piece.strip().lower() for piece in part.split(";")]
        if name not in best:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        best[name] = max(best[name], quality)
    return OPENMETRICS if best["application/openmetrics-text"] > best["text/plain"] else TEXT


def _write(piece: Piece, content_type: str) -> bytes:
    """What begins a metric is the library's; its lines are written here, which takes a fifth of the time."""
    metric = piece.metric
    head = b""
    if not piece.more:
        bare = _One(Metric(metric.name, metric.documentation, metric.type, metric.unit))
        head = generate_latest(bare) if content_type == TEXT else _openmetrics(bare).removesuffix(_EOF)
    return head + "".join(map(_line, metric.samples)).encode()


def _line(sample: Sample) -> str:
    labels = sample.labels
    value = sample.value if sample.value.__class__ is int else _number(sample.value)
    if not labels:
        return f"{sample.name} {value}\n"
    shown = ",".join([f'{name}="{_escaped(text)}"' for name, text in labels.items()])
    return f"{sample.name}{{{shown}}} {value}\n"


def _escaped(text: str) -> str:
    if '"' in text or "\\" in text or "\n" in text:
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return text


class Scraper:
    """Answers scrapes of one plant."""

    def __init__(self, plant: Plant, clock: Callable[[], float] = perf_counter) -> None:
        self._collector = PlantCollector(plant)
        self._process = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self._clock = clock
        self._under_way: dict[str, asyncio.Task[bytes]] = {}

    async def scrape(self, content_type: str) -> bytes:
        """The whole text; whoever asks while one is being written gets that one."""
        task = self._under_way.get(content_type)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._scrape(content_type))
            self._under_way[content_type] = task
            task.add_done_callback(lambda _: self._under_way.pop(content_type, None))
        return await asyncio.shield(task)  # one that goes away does not end it for the others

    async def _scrape(self, content_type: str) -> bytes:
        # In a thread: with ten thousand files open the list of them alone takes milliseconds.
        of_process = await asyncio.to_thread(self._of_process)
        parts: list[bytes] = [_write(Piece(metric), content_type) for metric in of_process]
        clock = self._clock
        until = clock() + BUDGET_S
        for piece in self._collector.pieces():
            if piece is not None:
                parts.append(_write(piece, content_type))
            if clock() >= until:
                await asyncio.sleep(0)
                until = clock() + BUDGET_S
        if content_type == OPENMETRICS:
            parts.append(_EOF)
        return b"".join(parts)

    def _of_process(self) -> list[Metric]:
        return [metric for collector in self._process for metric in collector.collect()]
