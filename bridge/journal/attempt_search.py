"""Finding rows of the attempt log among a million, newest first, a bounded piece of work at a time.

Each condition that an index answers in order of time is a set of streams (`endpoint` is one, `5xx` one for
each status that occurs). The rarest set is read, newest first, a window of `WINDOW_ROWS` at a time, and all
other conditions are tested on what it brings. So a rare value is found at once, however old, and a common one
among the latest rows; only conditions that are common each and rare together take longer, and those end
after a time, with what was found and where to go on.

SQLite does all that is done for a row; Python runs for each window.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from bridge.events.event import EventType
from bridge.events.names import matching
from bridge.mqtt.topics import matches

WINDOW_ROWS = 4000
"""Rows that one statement looks at: some milliseconds."""
RARE_ROWS = 4000
"""So few rows are rare enough: no other condition is looked at."""
MAX_STREAMS = 128
MAX_TOPICS = 20_000
"""Topics that are looked through for those that a pattern has."""
TOPIC_CHARACTERS = 256
"""What is kept of a topic or a client id."""

_DOMAIN = int(EventType.DOMAIN)
_TESTED = "id, endpoint, ok, at, seq, status, kind, event, topic, clientid"
"""The columns of conditions: long texts are left where they are."""
_GLOB = re.compile(r"[*?\[]")
INDEXES: tuple[tuple[str, str], ...] = (
    ("attempts_by_endpoint_at", "attempts(endpoint, at)"),
    ("attempts_by_clientid", "attempts(clientid, at)"),
    ("attempts_by_topic", "attempts(topic, at)"),
    ("attempts_by_status", "attempts(status, at)"),
    ("attempts_by_event", "attempts(event, at)"),
    ("attempts_by_kind", "attempts(kind, at) WHERE kind IS NOT NULL"),
    ("attempts_failed", "attempts(at) WHERE ok = 0"),
)
"""Those beside that of `at` alone."""

Place = tuple[int, int]
"""`at` and `id` of a row: rows are in descending order of both."""


class Filter(msgspec.Struct, frozen=True):
    """Which rows a query wants; None: all. Times are Unix ms, `until` exclusive. `seq` is that of an event,
    alone or in a group, or of a group. `type` is an event's name as people write it, or a pattern of names:
    `on_message_publish`, `client.*`, `work_order.created`, `work_order.*`; of a group the first one's counts.
    `client` is a client id, `topic` a topic filter of MQTT: only events with such a topic. `latest` means the
    last attempt of each event alone."""

    endpoint: str | None = None
    event: int | None = None
    type: str | None = None
    seq: int | None = None
    ok: bool | None = None
    kind: str | None = None
    status: tuple[int, int] | None = None  # both inclusive
    since: int | None = None
    until: int | None = None
    client: str | None = None
    topic: str | None = None
    latest: bool = False

    def where(self) -> tuple[str, dict[str, Any]]:
        """The SQL condition and its parameters. A topic filter with `+` and `#` lets more pass (`fits`)."""
        parts = {
            "endpoint": "endpoint = :endpoint",
            "event": "event = :event",
            "seq": (
                "(seq = :seq OR seq IN (SELECT number FROM groups WHERE last >= :seq AND first <= :seq"
                " AND EXISTS (SELECT 1 FROM json_each(members) WHERE value = :seq - first)))"
            ),
            "ok": "ok = :ok",
            "kind": "kind = :kind",
            "since": "at >= :since",
            "until": "at < :until",
        }
        values: dict[str, Any] = {
            name: getattr(self, name) for name in parts if getattr(self, name) is not None
        }
        conditions = [parts[name] for name in values]
        if self.type is not None:
            # A hook's event has its number, a business event its type as topic.
            numbers = ", ".join(str(int(kind)) for kind in matching(self.type))
            conditions.append(f"(event IN ({numbers}) OR event = {_DOMAIN} AND topic GLOB :type)")
            values["type"] = _pattern(self.type)
        if self.client is not None:
            conditions.append("clientid = :client")
            values["client"] = self.client[:TOPIC_CHARACTERS]
        if self.topic is not None:
            condition, more = topic_condition(self.topic)
            conditions.append(f"event NOT IN (0, {_DOMAIN}) AND topic != '' AND {condition}")
            values.update(more)
        if self.latest:
            conditions.append(
                "event != 0 AND NOT EXISTS (SELECT 1 FROM attempts AS later WHERE later.seq = attempts.seq"
                " AND later.endpoint = attempts.endpoint AND later.id > attempts.id)"
            )
        if self.status is not None:
            values["low"], values["high"] = self.status
            conditions.append("status BETWEEN :low AND :high")
        return " AND ".join(conditions) or "1", values

    @property
    def inexact(self) -> bool:
        """Whether `where` lets rows pass that do not fit."""
        return self.topic is not None and "+" in self.topic and "#" in self.topic

    def fits(self, topic: str) -> bool:
        """Whether a row that has passed fits, by its topic."""
        return self.topic is None or matches(self.topic, topic)


def _pattern(text: str) -> str:
    """A pattern of types as SQLite's GLOB has it."""
    return text.strip().replace("[!", "[^")


def _literal(text: str) -> str:
    """A text that GLOB takes as it is."""
    return _GLOB.sub(lambda found: f"[{found[0]}]", text)


def topic_condition(topic_filter: str) -> tuple[str, dict[str, Any]]:
    """SQL for a topic filter [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.2-1]: exact unless it has both `+` and
    `#`."""
    levels = topic_filter.split("/")
    if not {"+", "#"} & set(levels):
        return "topic = :topic", {"topic": topic_filter[:TOPIC_CHARACTERS]}
    hidden = " AND topic NOT GLOB '$*'" if levels[0] in ("+", "#") else ""
    if levels == ["#"]:
        return f"1{hidden}", {}
    slashes = "length(topic) - length(replace(topic, '/', ''))"
    if levels[-1] != "#":
        # With as many slashes as the filter has, no `*` can stand for one.
        made = "/".join("*" if level == "+" else _literal(level) for level in levels)
        values = {"topic": made, "slashes": len(levels) - 1}
        return f"(topic GLOB :topic AND {slashes} = :slashes){hidden}", values
    above = "/".join("*" if level == "+" else _literal(level) for level in levels[:-1])
    values = {"topic": above, "below": above + "/*", "slashes": len(levels) - 2}
    return (
        f"(topic GLOB :topic AND {slashes} = :slashes OR topic GLOB :below AND {slashes} > :slashes){hidden}",
        values,
    )


class Stream(NamedTuple):
    """Rows with a value that an index has in order of time."""

    by: str  # the index
    condition: str
    values: dict[str, Any]


class Found(NamedTuple):
    """Rows in JSON, newest first. `more`: where to go on; None: there are none behind these."""

    rows: str
    more: Place | None


class _Reader:
    """One stream as far as it has been read. `below`: nothing at or above that place is read again."""

    def __init__(self, search: Search, stream: Stream, below: Place | None) -> None:
        self.below = below
        self.over = False
        self._search = search
        self._stream = stream

    def read(self, limit: int) -> list[Place]:
        """Look at one window: the rows in it that are wanted, at most so many."""
        search, stream = self._search, self._stream
        where = [stream.condition, *search.bounds]
        values = {**search.values, **stream.values}
        if self.below is not None:
            where.append("(at, id) < (:below_at, :below_id)")
            values["below_at"], values["below_id"] = self.below
        table = f"attempts INDEXED BY {stream.by}"
        window = f"FROM {table} WHERE {' AND '.join(where)} ORDER BY at DESC, id DESC LIMIT {WINDOW_ROWS}"
        execute = search.execute
        text = execute(
            "SELECT json_group_array(json_array(at, id, topic)) FROM ("  # noqa: S608  names of our own
            f"SELECT at, id, topic FROM (SELECT {_TESTED} {window}) AS attempts"
            f" WHERE {search.condition} LIMIT {limit})",
            values,
        ).fetchone()[0]
        passed: list[tuple[int, int, str]] = msgspec.json.decode(text)
        fits = search.wanted.fits if search.wanted.inexact else None
        found = [(at, row) for at, row, topic in passed if fits is None or fits(topic)]
        if len(passed) == limit:
            self.below = (passed[-1][0], passed[-1][1])
            return found
        end = execute(
            f"SELECT at, id FROM {table} WHERE {' AND '.join(where)}"  # noqa: S608
            f" ORDER BY at DESC, id DESC LIMIT 1 OFFSET {WINDOW_ROWS - 1}",
            values,
        ).fetchone()
        if end is None:
            self.over = True
        else:
            self.below = (end[0], end[1])
        return found


class Search:
    """One search for rows. Its methods run in the store's thread; errors are those of sqlite3. `indexed`:
    whether the log has `INDEXES`."""

    def __init__(self, database: sqlite3.Connection, wanted: Filter, *, indexed: bool = True) -> None:
        self.execute = database.execute
        self._indexed = indexed
        self.wanted = wanted
        self.condition, self.values = wanted.where()
        self.bounds = [
            text
            for text, value in (("at >= :since", wanted.since), ("at < :until", wanted.until))
            if value is not None
        ]

    def rows(self, columns: Sequence[str], limit: int, below: Place | None, seconds: float | None) -> Found:
        """At most `limit` rows behind `below`. After `seconds` it ends with what it has; None: never."""
        pairs = ", ".join(f"'{name}', {name}" for name in columns)
        shape = f"SELECT json_group_array(json_object({pairs})) FROM (SELECT * FROM attempts"  # noqa: S608
        if self.wanted.seq is not None:
            return self._few(shape, limit, below)
        found, more = self._places(limit, below, seconds)
        ids = msgspec.json.encode([row for _, row in found]).decode()
        text = self.execute(
            f"{shape} WHERE id IN (SELECT value FROM json_each(?)) ORDER BY at DESC, id DESC)",  # noqa: S608
            (ids,),
        ).fetchone()[0]
        return Found(text, more)

    def _few(self, shape: str, limit: int, below: Place | None) -> Found:
        """Those of one event: they are few."""
        condition, values = self.condition, {**self.values, "limit": limit}
        if below is not None:
            condition += " AND (at, id) < (:below_at, :below_id)"
            values["below_at"], values["below_id"] = below
        text = self.execute(
            f"{shape} WHERE {condition} ORDER BY at DESC, id DESC LIMIT :limit)", values
        ).fetchone()[0]
        rows = msgspec.json.decode(text)
        return Found(text, (rows[-1]["at"], rows[-1]["id"]) if len(rows) == limit else None)

    def _places(
        self, limit: int, below: Place | None, seconds: float | None
    ) -> tuple[list[Place], Place | None]:
        end = None if seconds is None else time.monotonic() + seconds
        readers = [_Reader(self, stream, below) for stream in self._streams()]
        found: list[Place] = []
        take = max(2 * limit // max(len(readers), 1), 4) if len(readers) > 2 else limit
        while True:
            last = found[-1] if len(found) == limit else None
            # Those that may still bring a row that is newer than the last one.
            left = [one for one in readers if not one.over and (last is None or _newer(one.below, last))]
            if not left:
                return found, last
            newest = max(left, key=lambda one: (one.below is None, one.below or (0, 0)))
            reached = newest.below
            if reached is not None and reached != below and end is not None and time.monotonic() > end:
                return [place for place in found if place >= reached], reached
            found = sorted([*found, *newest.read(take)], reverse=True)[:limit]

    # -- which streams ---------------------------------------------------------------------------------

    def _streams(self) -> list[Stream]:
        """The rarest set of streams that together hold all rows that are wanted."""
        sets = self._sets() if self._indexed else []
        best: list[Stream] | None = None
        fewest = RARE_ROWS + 1
        for streams in sets:
            if len(sets) == 1:
                return streams
            count = self._count(streams, fewest)
            if count < fewest:
                best, fewest = streams, count
        if best is not None:
            return best
        return sets[0] if sets else [Stream("attempts_by_at", "1", {})]

    def _count(self, streams: Sequence[Stream], most: int) -> int:
        """How many rows they have, or `most` if they have more."""
        total = 0
        for index, condition, values in streams:
            where = " AND ".join([condition, *self.bounds])
            total += self.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM attempts INDEXED BY {index}"  # noqa: S608
                f" WHERE {where} LIMIT {most - total})",
                {**self.values, **values},
            ).fetchone()[0]
            if total >= most:
                return most
        return total

    def _sets(self) -> list[list[Stream]]:
        """What each condition gives, those first that are most often rare."""
        wanted = self.wanted
        sets: list[list[Stream]] = []
        if wanted.client is not None:
            sets.append([Stream("attempts_by_clientid", "clientid = :client", {})])
        if wanted.endpoint is not None:
            sets.append([Stream("attempts_by_endpoint_at", "endpoint = :endpoint", {})])
        if wanted.topic is not None:
            self._add(sets, self._topics(wanted.topic))
        if wanted.type is not None:
            self._add(sets, self._types(wanted.type))
        if wanted.kind is not None:
            sets.append([Stream("attempts_by_kind", "kind = :kind", {})])
        if wanted.status is not None:
            self._add(sets, self._statuses(*wanted.status))
        if wanted.event is not None:
            sets.append([Stream("attempts_by_event", "event = :event", {})])
        if wanted.ok is False:
            sets.append([Stream("attempts_failed", "ok = 0", {})])
        return sets

    @staticmethod
    def _add(sets: list[list[Stream]], streams: list[Stream] | None) -> None:
        if streams is not None:
            sets.append(streams)

    def _statuses(self, low: int, high: int) -> list[Stream]:
        found = self._values("status", "attempts_by_status", low, high + 1, "1", {})
        return [Stream("attempts_by_status", "status = :one", {"one": one}) for one in found or ()]

    def _topics(self, topic_filter: str) -> list[Stream] | None:
        if not {"+", "#"} & set(topic_filter.split("/")):
            return [Stream("attempts_by_topic", "topic = :topic", {})]
        prefix = re.split(r"[+#]", topic_filter)[0].removesuffix("/")
        condition, values = topic_condition(topic_filter)
        found = self._values("topic", "attempts_by_topic", prefix, _behind(prefix), condition, values)
        if found is None:
            return None
        return [Stream("attempts_by_topic", "topic = :one", {"one": one}) for one in found]

    def _types(self, text: str) -> list[Stream] | None:
        streams = [Stream("attempts_by_event", "event = :one", {"one": int(kind)}) for kind in matching(text)]
        pattern = _pattern(text)
        prefix = _GLOB.split(pattern)[0]
        if prefix == pattern:
            found: list[Any] | None = [pattern]
        else:
            values = {"type": pattern}
            found = self._values(
                "topic", "attempts_by_topic", prefix, _behind(prefix), "topic GLOB :type", values
            )
        if found is None or len(found) + len(streams) > MAX_STREAMS:
            return None
        return [*streams, *(Stream("attempts_by_topic", "topic = :one", {"one": one}) for one in found)]

    def _values(
        self, column: str, index: str, low: Any, high: Any, condition: str, values: dict[str, Any]
    ) -> list[Any] | None:
        """The values of a column from `low` to `high` (exclusive; None: to the end) that occur and meet the
        condition; None if they are too many. Leaps from one value to the next in the index."""
        upper = "" if high is None else f" AND {column} < :high"
        table = f"attempts INDEXED BY {index}"
        text = self.execute(
            f"WITH RECURSIVE one(value) AS ("  # noqa: S608  names of our own
            f"SELECT min({column}) FROM {table} WHERE {column} >= :low{upper}"
            f" UNION ALL SELECT (SELECT min({column}) FROM {table} WHERE {column} > value{upper}) FROM one"
            f" WHERE value IS NOT NULL LIMIT {MAX_TOPICS})"
            f" SELECT json_array((SELECT count(*) FROM one), (SELECT json_group_array({column}) FROM"
            f" (SELECT value AS {column} FROM one WHERE value IS NOT NULL AND {condition}"
            f" LIMIT {MAX_STREAMS + 1})))",
            {"low": low, "high": high, **values},
        ).fetchone()[0]
        count, inner = msgspec.json.decode(text)
        found: list[Any] = msgspec.json.decode(inner) if isinstance(inner, str) else inner
        return None if count >= MAX_TOPICS or len(found) > MAX_STREAMS else found


def _newer(place: Place | None, than: Place) -> bool:
    """Whether rows behind a place may be newer than another one."""
    return place is None or place > than


def _behind(prefix: str) -> str | None:
    """The first text behind all that begin so; None: there is no prefix."""
    if not prefix:
        return None
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if ord(prefix[-1]) < 0x10FFFF else None
