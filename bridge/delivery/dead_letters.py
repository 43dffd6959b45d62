"""Dead letters: grouped, listed, shown, found and given up, for the command line and for the HTTP API.
Whatever is long yields in between.

The cause of a dead letter is what its last error begins with: `status 503`, `timeout`, `connect`.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.lookup import sequence
from bridge.delivery.parked import Parked
from bridge.delivery.replay import SLICE, letter, letters
from bridge.events.event import Event, EventType
from bridge.journal.batch import Settle
from bridge.journal.journal import Journal
from bridge.journal.store import DeadCause, DeadLetter, Store

MAX_GROUPS = 1000
MAX_CAUSES = 100
"""Of one endpoint."""
OTHERS = "others"
WINDOW = 2000
"""Dead letters that are looked at in one turn of the loop for their cause: some milliseconds."""
MAX_SHOWN = 256 << 10
"""Characters of a payload, and of a body, that are shown."""
MAX_IDS = 10_000
STALLED_S = 0.1
PAUSE_S = 0.005

Lines = AsyncGenerator[dict[str, Any], None]
Some = TypeVar("Some", bound=Lane | Parked)


async def groups(store: Store, lanes: Iterable[Lane | Parked]) -> Lines:
    """`{"result": […]}`: the dead letters of these lanes by endpoint, type of event and error."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    looked = 0
    for lane in lanes:
        for part in letters(store, lane.id, 0, store.head):
            events = store.fetch([letter.seq for letter in part])
            for each in part:
                event = events.get(each.seq)
                kind = _kind(event)
                error = each.error.partition(": ")[0]
                if len(found) >= MAX_GROUPS and (lane.name, kind, error) not in found:
                    kind, error = "", "others"
                group = found.setdefault(
                    (lane.name, kind, error),
                    {
                        "endpoint": lane.name,
                        "event": kind,
                        "error": error,
                        "count": 0,
                        "first": each.at,
                        "last": each.at,
                    },
                )
                group["count"] += 1
                group["first"] = min(group["first"], each.at)
                group["last"] = max(group["last"], each.at)
                group["example"] = _id(store, each.seq)
            looked += len(part)
            if looked % (10 * SLICE) < SLICE:
                yield {"progress": {"done": looked}}
            await asyncio.sleep(0)
    yield {"result": sorted(found.values(), key=lambda group: -group["count"])}


async def rows(store: Store, lanes: Sequence[Lane | Parked], limit: int) -> Lines:
    """The oldest dead letters of these lanes, each a row; at most `limit`."""
    left = limit
    for lane in lanes:
        for found in letters(store, lane.id, 0, store.head):
            part = found[:left]
            if not part:
                break
            left -= len(part)
            events = store.fetch([letter.seq for letter in part])
            yield {"rows": [_row(store, lane, letter, events.get(letter.seq)) for letter in part]}
            await asyncio.sleep(0)
    yield {"result": {"total": sum(lane.dead for lane in lanes)}}


def show(store: Store, lanes: Iterable[Lane | Parked], seq: int) -> dict[str, Any]:
    """One dead letter with its event. Raises Refused."""
    event = store.fetch([seq]).get(seq)
    for lane in lanes:
        found = letter(store, lane.id, seq)
        if found is None:
            continue
        shown = _row(store, lane, found, event)
        if event is not None:
            shown |= _event(event)
            if isinstance(lane, Lane) and lane.target.has_body:
                body = lane.format.body(seq, event)
                shown["body"] = body[:MAX_SHOWN].decode("utf-8", "replace")
        return shown
    raise Refused(f"{_id(store, seq)} is not a dead letter")


def find(store: Store, lanes: Sequence[Some], ids: Sequence[str]) -> list[tuple[Some, list[int]]]:
    """Which of these events are dead letters of which lane. Raises Refused if one is of none."""
    if len(ids) > MAX_IDS:
        raise Refused(f"{len(ids)} ids at a time are too many, expected at most {MAX_IDS}")
    seqs = sorted({sequence(text, store.id) for text in ids})
    found = [(lane, [seq for seq in seqs if letter(store, lane.id, seq) is not None]) for lane in lanes]
    missing = set(seqs).difference(*(part for _, part in found))
    if missing:
        raise Refused(f"{_id(store, min(missing))} is not a dead letter there")
    return found


def of_cause(store: Store, lane: int, cause: str | None) -> Iterator[list[int]]:
    """A lane's dead letters of a cause, or all (None), a slice at a time; slices may be empty."""
    after: int | None = -1
    while after is not None:
        if cause is None:
            found = store.dead(lane, after, SLICE)
            after = found[-1].seq if len(found) == SLICE else None
        else:
            found, after = store.dead_of(lane, cause, after, WINDOW)
        yield [one.seq for one in found]


async def causes(store: Store, lane: int) -> dict[str, DeadCause]:
    """A lane's dead letters by their cause; causes beyond `MAX_CAUSES` are not told apart."""
    found: dict[str, DeadCause] = {}
    after: int | None = -1
    while after is not None:
        part, after = store.dead_causes(lane, after, WINDOW)
        for one in part:
            cause = one.cause if one.cause in found or len(found) < MAX_CAUSES else OTHERS
            known = found.get(cause)
            found[cause] = (
                one._replace(cause=cause)
                if known is None
                else DeadCause(
                    cause, known.letters + one.letters, min(known.first, one.first), max(known.last, one.last)
                )
            )
        await asyncio.sleep(0)
    return found


async def purge(
    journal: Journal,
    lane: Lane | Parked,
    seqs: Sequence[int] | None,
    known: Callable[[int], Lane | Parked | None],
) -> AsyncGenerator[int, None]:
    """Give up these dead letters of a lane, or all (None); see `purge_parts`."""
    parts: Iterable[Sequence[int]] = (
        of_cause(journal.store, lane.id, None)
        if seqs is None
        else (seqs[i : i + SLICE] for i in range(0, len(seqs), SLICE))
    )
    async for gone in purge_parts(journal, lane, parts, known):
        yield gone


async def purge_parts(
    journal: Journal,
    lane: Lane | Parked,
    parts: Iterable[Sequence[int]],
    known: Callable[[int], Lane | Parked | None],
) -> AsyncGenerator[int, None]:
    """Give up these dead letters of a lane; yields how many went, slice by slice.

    `known` gives what has come in the place of the lane with an id, by a reload.
    """
    for part in parts:
        if not part:
            await asyncio.sleep(0)
            continue
        while journal.stalled:  # noqa: ASYNC110  nothing announces it to one who asks only now and then
            await asyncio.sleep(STALLED_S)
        lane = known(lane.id) or lane
        # One that is being sent again at this moment is a dead letter no more.
        busy = lane.under_way(part) if isinstance(lane, Lane) else set()
        gone = [seq for seq in part if seq not in busy]
        for seq in gone:
            journal.change(Settle(lane.id, seq))
        lane.dead -= len(gone)
        yield len(gone)
        await asyncio.sleep(PAUSE_S)  # so that no commit has to take thousands


def _id(store: Store, seq: int) -> str:
    return f"msg_{store.id}_{seq:016x}"


def _kind(event: Event | None) -> str:
    if event is None:
        return ""
    return event.topic if event.type == EventType.DOMAIN else "on_" + EventType(event.type).action


def _row(store: Store, lane: Lane | Parked, letter: DeadLetter, event: Event | None) -> dict[str, Any]:
    return {
        "id": _id(store, letter.seq),
        "endpoint": lane.name,
        "event": _kind(event),
        "topic": "" if event is None else event.topic[:1024],
        "clientid": "" if event is None else event.clientid[:1024],
        "attempts_made": letter.attempt,
        "dead_at": letter.at,
        "error": letter.error,
    }


def _event(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "at": event.ts,
        "username": event.username,
        "peername": event.peername,
        "qos": event.qos,
        "retain": event.retain,
        "payload_bytes": len(event.payload),
    }
    try:
        shown["payload"] = event.payload.decode()[:MAX_SHOWN]
    except UnicodeDecodeError:
        shown["payload"] = b64encode(event.payload[:MAX_SHOWN]).decode("ascii")
        shown["payload_encoding"] = "base64"
    return shown
