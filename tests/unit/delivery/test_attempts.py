"""The attempt log: what is kept of each attempt, that secrets are not, how much is kept, what faults do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import AttemptLog, BatchPolicy, RetryPolicy
from bridge.delivery import attempts as module
from bridge.delivery.attempt_text import request_head, response_parts
from bridge.delivery.attempts import AttemptRecorder, Attempts
from bridge.events.event import EventType
from bridge.journal import attempt_store
from bridge.journal.attempt_store import AttemptStore, Filter
from bridge.journal.store import StoreError
from tests.integration.receiver import Exchange, Receiver, reset
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

Logged = Callable[..., "Plant"]


class Plant:
    """A rig whose lane tells a recorder."""

    def __init__(self, path: Path, url: str, *, kept: AttemptLog | None = None, **settings: Any) -> None:
        self.rig = Rig(url, **settings)
        self.store = AttemptStore.open(path, self.rig.loop)
        self.recorder = AttemptRecorder(self.store, self.rig.loop)
        self.sink = self.recorder.sink(
            "default", kept or AttemptLog(), self.rig.lane.pool.timeout, self.rig.lane.target.scrub
        )
        self.rig.lane.attempts = self.sink
        self.rig.start()

    async def rows(self, limit: int = 1000, **wanted: Any) -> list[dict[str, Any]]:
        """All columns, the earliest first."""
        await self.recorder.flush()
        return (await self.recorder.query(Filter(**wanted), limit, full=True))[::-1]

    async def send(self, count: int = 1, text: str = "x") -> None:
        """Publish and wait until every event has had an attempt."""
        lane = self.rig.lane
        before = lane.delivered + lane.failed
        for _ in range(count):
            self.rig.publish(text)
        await until(lambda: lane.delivered + lane.failed >= before + count)


@pytest.fixture
async def logged(tmp_path: Path) -> AsyncIterator[Logged]:
    """`logged(url, …)`: a Plant, ended at the end."""
    made: list[Plant] = []

    def make(url: str, **settings: Any) -> Plant:
        made.append(Plant(tmp_path / "hookmq-attempts.db", url, **settings))
        return made[-1]

    yield make
    for plant in made:
        plant.rig.kill()
        await plant.recorder.stop()


# --- what is kept of an attempt -----------------------------------------------------------------------------


async def test_a_success(logged: Logged, receiver: Receiver) -> None:
    plant = logged(receiver.url("/hook"))
    receiver.status = 201
    seq = plant.rig.journal.append(plant.rig.event(EventType.SESSION_SUBSCRIBED, "press-1", "a/b"))
    await until(lambda: plant.rig.lane.delivered)
    [row] = await plant.rows()
    sent = receiver.requests[0]
    assert row["request"].split("\n")[0] == "POST /hook HTTP/1.1"
    assert row["request"].split("\n")[1:] == [f"{name}: {value}" for name, value in sent.headers]
    assert row["response"] == "HTTP/1.1 201 Created\nContent-Length: 0"
    assert abs(row["at"] / 1000 - plant.rig.clock()) < 30
    assert 0 <= row["took"] < 10_000_000
    wanted = {
        "endpoint": "default",
        "ok": 1,
        "seq": seq,
        "attempt": 1,
        "status": 201,
        "kind": None,
        "address": f"127.0.0.1:{receiver.port}",
        "event": int(EventType.SESSION_SUBSCRIBED),
        "events": 1,
        "topic": "a/b",
        "clientid": "press-1",
        "body": "",
        "error": "",
    }
    assert {name: row[name] for name in wanted} == wanted


async def test_a_failure_and_its_retry(logged: Logged, receiver: Receiver) -> None:
    plant = logged(receiver.url(), retry=RetryPolicy(schedule=(0.0, 0.2)))

    async def refuse(exchange: Exchange) -> None:
        await exchange.respond(503, b"come \x1b[31mback\nlater", [("X-Why", "tired"), ("Set-Cookie", "id=7")])

    receiver.scripts.append(refuse)
    plant.rig.publish("x")
    await until(lambda: plant.rig.lane.delivered)
    first, second = await plant.rows()
    assert (first["ok"], first["attempt"], first["status"], first["kind"]) == (0, 1, 503, None)
    assert first["error"].startswith("status 503: come")
    assert first["response"].split("\n") == [
        "HTTP/1.1 503 Service Unavailable",
        "X-Why: tired",
        "Set-Cookie: ***",
        "Content-Length: 20",
    ]
    assert first["body"] == "come \ufffd[31mback\nlater"
    assert (second["ok"], second["attempt"], second["status"], second["seq"]) == (1, 2, 204, first["seq"])
    assert second["at"] >= first["at"] + 190


async def test_a_request_of_several_events(logged: Logged, receiver: Receiver) -> None:
    plant = logged(receiver.url(), batch=BatchPolicy(max_events=10, max_wait=0.0))
    receiver.status = 500
    for index in range(7):
        plant.rig.publish(str(index))
    await until(lambda: plant.rig.lane.failed)
    receiver.status = 204
    rows = await plant.rows(ok=False)
    assert sum(row["events"] for row in rows) == 7
    for row in rows:
        assert f"webhook-id: {plant.rig.webhook_id(row['seq'])}" in row["request"]


async def test_an_event_is_found_in_its_groups(logged: Logged, receiver: Receiver) -> None:
    plant = logged(
        receiver.url(),
        batch=BatchPolicy(max_events=5, max_wait=0.0),
        retry=RetryPolicy(schedule=(0.0, 0.01, 0.01)),
    )
    receiver.scripts += [reset] * 2
    seqs = [plant.rig.publish(str(index)) for index in range(3)]
    await until(lambda: plant.rig.lane.delivered == 3)
    later = [plant.rig.publish(str(index)) for index in range(5)]
    await until(lambda: plant.rig.lane.delivered == 8)
    for seq in seqs:
        found = await plant.rows(seq=seq)
        assert [(row["attempt"], row["events"]) for row in found] == [(1, 3), (2, 3), (3, 3)]
        assert len({row["seq"] for row in found}) == 1
    [row] = await plant.rows(seq=later[2])
    assert (row["events"], await plant.rows(seq=row["seq"])) == (5, [row])
    for absent in (seqs[0] - 1, seqs[-1] + 1, later[-1] + 1):  # beside one, and between two groups
        assert await plant.rows(seq=absent) == []


async def test_groups_go_with_their_attempts_and_a_hole_in_one_is_no_member(tmp_path: Path) -> None:
    store = AttemptStore.open(tmp_path / "a.db", asyncio.get_running_loop())

    def row(number: int, *offsets: int) -> tuple[Any, ...]:
        head = (
            "a",
            0,
            1,
            (1 << 62) + number,
            1,
            500,
            None,
            1,
            "",
            10,
            len(offsets),
            "t",
            "c",
            "",
            "",
            "",
            "e",
        )
        return (*head, (100, 100 + offsets[-1], offsets))

    first, second = row(1, 0, 1, 4096), row(2, 0, 2)
    await store.write([first, second, first])
    assert len(await store.query(Filter(seq=101), 9)) == 2
    assert len(await store.query(Filter(seq=102), 9)) == 1
    assert len(await store.query(Filter(seq=100), 9)) == 3
    assert [len(await store.query(Filter(seq=seq), 9)) for seq in (99, 103, 4195, 4197)] == [0] * 4
    await store.trim({"a": attempt_store.Keep(0, 1, 0)}, 0)
    assert [len(await store.query(Filter(seq=seq), 9)) for seq in (100, 102, 4196)] == [1, 0, 1]
    [count] = store._database.execute("SELECT count(*) FROM groups").fetchone()
    assert count == 1
    store.close()


async def test_a_file_that_knows_no_groups_yet_is_taken_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    store = AttemptStore.open(path, asyncio.get_running_loop())
    await store.write([("a", 0, 1, 7, 1, 500, None, 1, "", 10, 1, "t", "c", "", "", "", "e")])
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE groups")
    store = AttemptStore.open(path, asyncio.get_running_loop())
    assert [row["seq"] for row in await store.query(Filter(seq=7), 9)] == [7]
    assert "damaged" not in caplog.text
    store.close()


async def test_attempts_without_a_response(logged: Logged, receiver: Receiver, free_port: Any) -> None:
    plant = logged(receiver.url(), cancel_timeout=150)
    receiver.scripts.append(Exchange.hang)
    await plant.send()
    [row] = await plant.rows()
    assert (row["status"], row["kind"], row["response"], row["body"]) == (None, "timeout", "", "")
    assert 150_000 <= row["took"] < 5_000_000
    assert row["address"] == f"127.0.0.1:{receiver.port}"
    assert "no response within 150 ms" in row["error"]


async def test_no_connection(logged: Logged, free_port: Callable[[], int]) -> None:
    plant = logged(f"http://127.0.0.1:{free_port()}/")
    await plant.send()
    [row] = await plant.rows()
    assert (row["status"], row["kind"], row["response"]) == (None, "connect", "")
    assert "refused" in row["error"]
    assert row["request"].startswith("POST / HTTP/1.1\n")


async def test_an_event_of_which_no_request_can_be_made(logged: Logged, receiver: Receiver) -> None:
    plant = logged(receiver.url())

    def broken(seq: int, event: Any) -> bytes:
        raise ValueError("too deep")

    plant.rig.lane._format = broken
    await plant.send()
    [row] = await plant.rows()
    assert (row["ok"], row["kind"], row["attempt"], row["request"]) == (0, "body", 1, "")
    assert row["error"] == "body: too deep"


async def test_secrets_are_masked(logged: Logged, receiver: Receiver) -> None:
    """Those that are sent, also where the receiver sends them back."""
    plant = logged(
        receiver.url("/hook?token=query-s3cret", userinfo="user:url-s3cret@"),
        headers=(("X-Api-Key", "header-s3cret"), ("Cookie", "session-s3cret"), ("X-Plant", "7")),
    )

    async def echo(exchange: Exchange) -> None:
        request = exchange.request
        said = "\n".join([request.target, *(f"{n}: {v}" for n, v in request.headers)])
        await exchange.respond(400, said.encode(), [("X-Echo", request.header("x-api-key") or "")])

    receiver.script = echo
    await plant.send()
    [row] = await plant.rows()
    text = "\n".join(str(value) for value in row.values())
    assert "s3cret" not in text
    assert "dXNlcjp1cmwtczNjcmV0" not in text  # base64 of user and password
    assert "X-Plant: 7" in row["request"]
    assert "Authorization: ***" in row["request"]
    assert "Cookie: ***" in row["request"]
    assert "webhook-id: msg_" in row["request"]


OK = b"HTTP/1.1 200 OK\r\n"
BEGINNINGS: list[tuple[bytes, tuple[int | None, str, str]]] = [
    (b"", (None, "", "")),
    (OK + b"A: b\r\nContent-Length: 2\r\n\r\nhi", (200, "HTTP/1.1 200 OK\nA: b\nContent-Length: 2", "hi")),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n\r\nwhy", (500, "HTTP/1.1 500 No", "why")),
    (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\nyou\r\n",
        (200, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked", "hiyou"),
    ),
    (b"HTTP/1.0 404 Not\xff Found\r\nB", (404, "HTTP/1.0 404 Not\ufffd Found", "")),
    (b"SSH-2.0-OpenSSH\r\n", (None, "", "SSH-2.0-OpenSSH\n")),
    # What follows a whole response belongs to no request.
    (
        OK + b"A: b\r\nContent-Length: 2\r\n\r\nhithere",
        (200, "HTTP/1.1 200 OK\nA: b\nContent-Length: 2", "hi"),
    ),
    (
        OK + b"Content-Length: 2\r\n\r\nhiHTTP/1.1 500 No\r\nC: d\r\n\r\nwhy",
        (200, "HTTP/1.1 200 OK\nContent-Length: 2", "hi"),
    ),
    (b"HTTP/1.1 204\r\n\r\ngarbage", (204, "HTTP/1.1 204", "")),
    (OK + b"\r\n\xff\x00", (200, "HTTP/1.1 200 OK", "\ufffd\ufffd")),
    (
        b"HTTP/1.1 401 U\r\nWWW-Authenticate: Basic\r\nX-Auth-Token: abc\r\n\r\n",
        (401, "HTTP/1.1 401 U\nWWW-Authenticate: Basic\nX-Auth-Token: ***", ""),
    ),
]


@pytest.mark.parametrize(("raw", "expected"), BEGINNINGS)
def test_the_beginning_of_a_response(raw: bytes, expected: tuple[int | None, str, str]) -> None:
    assert response_parts(raw, lambda text: text) == expected


def test_a_request_without_an_end_of_its_head_is_cut() -> None:
    head = request_head(b"POST / HTTP/1.1\r\nX: " + b"y" * 10_000, lambda text: text)
    assert len(head) < 2100


# --- how much is kept ---------------------------------------------------------------------------------------


async def test_long_things_are_cut(logged: Logged, receiver: Receiver) -> None:
    async def much(exchange: Exchange) -> None:
        await exchange.respond(500, b"z" * 100_000, [("X-Long", "y" * 10_000)])

    receiver.script = much
    plant = logged(receiver.url())
    event = plant.rig.event(text="t" * 5000, client="c" * 5000)
    event.payload = b"p" * 50_000
    plant.rig.journal.append(event)
    await until(lambda: plant.rig.lane.failed)
    [row] = await plant.rows()
    assert all(len(str(value)) <= 2048 for value in row.values())
    assert (row["topic"], row["clientid"]) == ("t" * 256, "c" * 256)


async def test_the_last_successes_and_all_failures_are_kept(logged: Logged, receiver: Receiver) -> None:
    plant = logged(receiver.url(), kept=AttemptLog(successes=20, max_rows=100))
    receiver.status = 500
    await plant.send(30, "bad")
    receiver.status = 204
    for _ in range(5):
        await plant.send(15, "good")
        await plant.recorder.flush()
    await plant.recorder._trim()
    rows = await plant.rows()
    assert len([row for row in rows if not row["ok"]]) == 30
    good = [row["seq"] for row in rows if row["ok"]]
    assert len(good) == 20
    assert good == sorted(good)


async def test_failures_have_a_bound_and_an_age(tmp_path: Path) -> None:
    store = AttemptStore.open(tmp_path / "a.db", asyncio.get_running_loop())

    def row(endpoint: str, number: int) -> tuple[Any, ...]:
        return (endpoint, 0, number, number, 1, 500, None, 1, "", 10, 1, "t", "c", "", "", "", "e")

    await store.write([row("a", i) for i in range(200)] + [row("gone", i) for i in range(200)])
    await store.trim({"a": attempt_store.Keep(10, 100, 0)}, 150)
    assert [r["seq"] for r in await store.query(Filter(endpoint="a"), 1000)] == list(range(199, 99, -1))
    assert [r["seq"] for r in await store.query(Filter(endpoint="gone"), 1000)] == list(range(199, 149, -1))
    await store.trim({"a": attempt_store.Keep(10, 100, 190)}, 0)
    assert [r["seq"] for r in await store.query(Filter(endpoint="a"), 1000)] == list(range(199, 189, -1))
    store.close()


async def test_the_file_gives_its_space_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_store, "KEEP_PAGES", 8)
    path = tmp_path / "a.db"
    store = AttemptStore.open(path, asyncio.get_running_loop())
    row = ("a", 0, 1, 1, 1, 500, None, 1, "", 10, 1, "t", "c", "r" * 2000, "", "b" * 1000, "e")
    await store.write([row] * 1000)
    for _ in range(10):
        await store.trim({"a": attempt_store.Keep(0, 5, 0)}, 0)
    store.close()
    assert path.stat().st_size < 100_000


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    monkeypatch.setattr(module, "MAX_FAILURES", 5)
    sink = Attempts("default", AttemptLog(successes=7), 2.0, str, asyncio.get_running_loop().time)
    rig = Rig(receiver.url())
    rig.lane.attempts = sink
    rig.start()
    for _ in range(20):
        rig.publish("x")
    await until(lambda: rig.lane.delivered == 20)
    receiver.status = 500
    for _ in range(8):
        rig.publish("x")
    await until(lambda: rig.lane.failed == 8)
    assert (sink.waiting, sink.failures, sink.missed) == (12, 5, 3)
    assert len(sink.take(4, 0.0)) == 4
    assert [row[1] for row in sink.take(100, 0.0)] == [0] + [1] * 7  # failures first
    rig.kill()


async def test_the_recorder_writes_by_itself(
    logged: Logged, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.02)
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    monkeypatch.setattr(module, "SLICE_ROWS", 10)
    plant = logged(receiver.url())
    plant.recorder.start()
    receiver.status = 500
    await plant.send(45, "bad")
    receiver.status = 204
    await plant.send(25, "good")
    await until(lambda: plant.sink.waiting == 0)
    await until(lambda: plant.recorder._writing is None)
    assert len(await plant.store.query(Filter(ok=False), 1000)) == 45
    assert len(await plant.store.query(Filter(ok=True), 1000)) == 25


# --- asking -------------------------------------------------------------------------------------------------


async def test_filters_and_pages(tmp_path: Path) -> None:
    store = AttemptStore.open(tmp_path / "a.db", asyncio.get_running_loop())
    rows = [
        (name, ok, at, seq, 1, status, kind, 1, "", event, 1, "t", "c", "", "", "", "")
        for seq, (name, ok, at, status, kind, event) in enumerate(
            [
                ("a", 1, 100, 200, None, 10),
                ("a", 0, 200, 500, None, 10),
                ("a", 0, 300, 503, None, 2),
                ("b", 0, 250, None, "timeout", 10),
                ("b", 1, 250, 204, None, 2),
            ]
        )
    ]
    await store.write(rows)

    async def seqs(limit: int = 100, below: tuple[int, int] | None = None, **wanted: Any) -> list[int]:
        return [row["seq"] for row in await store.query(Filter(**wanted), limit, below=below)]

    assert await seqs() == [2, 4, 3, 1, 0]  # by time
    assert await seqs(endpoint="b") == [4, 3]
    assert await seqs(ok=False) == [2, 3, 1]
    assert await seqs(status=(500, 599)) == [2, 1]
    assert await seqs(kind="timeout") == [3]
    assert await seqs(event=2) == [2, 4]
    assert await seqs(since=200, until=300) == [4, 3, 1]
    assert await seqs(seq=1) == [1]
    assert await seqs(endpoint="a", event=10, ok=True) == [0]
    assert await seqs(type="on_message_publish") == await seqs(type="message.publish") == [3, 1, 0]
    assert await seqs(type="client.*", endpoint="a") == [2]
    assert await seqs(endpoint="'; DROP TABLE attempts; --") == []
    page = await store.query(Filter(), 3)
    assert await seqs(below=(page[-1]["at"], page[-1]["id"])) == [1, 0]
    store.close()


async def test_business_events_are_found_by_type(tmp_path: Path) -> None:
    store = AttemptStore.open(tmp_path / "a.db", asyncio.get_running_loop())
    names = ["work_order.created", "work_order.started", "job.created", "a/work_order.created", "Job.Created"]
    types = [(int(EventType.DOMAIN), name) for name in names] + [(10, "work_order.created"), (2, "")]
    await store.write(
        [
            ("a", 1, seq, seq, 1, 200, None, 1, "", event, 1, topic, "c", "", "", "", "")
            for seq, (event, topic) in enumerate(types)
        ]
    )

    async def seqs(text: str) -> list[int]:
        return [row["seq"] for row in await store.query(Filter(type=text), 100)][::-1]

    assert await seqs("work_order.created") == [0]  # and no message on a topic of that name
    assert await seqs("work_order.*") == [0, 1]
    assert await seqs("*.created") == [0, 2, 3]
    assert await seqs("job.?reated") == [2]
    assert await seqs("work_order.[!c]*") == [1]
    assert await seqs("*") == [0, 1, 2, 3, 4, 5, 6]
    assert await seqs("message.*") == [5]
    assert await seqs("x' OR 1 --") == []
    store.close()


async def test_it_is_there_after_a_restart(logged: Logged, receiver: Receiver, tmp_path: Path) -> None:
    plant = logged(receiver.url())
    await plant.send(3)
    await plant.recorder.stop()
    path = tmp_path / "hookmq-attempts.db"
    assert path.stat().st_mode & 0o777 == 0o600
    store = AttemptStore.open(path, asyncio.get_running_loop())
    assert len(await store.query(Filter(), 10)) == 3
    store.close()


# --- faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["garbage", "stranger", "newer"])
async def test_an_unreadable_file_is_put_aside(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    if what == "garbage":
        path.write_bytes(b"no database" * 1000)
    else:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE mine(x)")
        if what == "newer":
            database.execute(f"PRAGMA application_id={attempt_store.APPLICATION_ID}")
            database.execute("PRAGMA user_version=99")
        database.commit()
        database.close()
    store = AttemptStore.open(path, asyncio.get_running_loop())
    assert await store.query(Filter(), 1) == []
    store.close()
    assert "a new one is made" in caplog.text
    aside = tmp_path / "a.db.damaged"
    if what == "garbage":
        assert aside.read_bytes() == b"no database" * 1000
    else:
        database = sqlite3.connect(aside)
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
        database.close()


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="attempt log cannot be opened"):
        AttemptStore.open(tmp_path / "missing" / "a.db", asyncio.get_running_loop())


async def test_a_store_that_fails_stops_nothing(
    logged: Logged, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    plant = logged(receiver.url())
    plant.store._database.execute("PRAGMA query_only=1")
    with caplog.at_level(logging.WARNING):
        await plant.send(3)
        await plant.recorder.flush()
        await plant.send(3)
        await plant.recorder.flush()
    assert plant.recorder.lost == 6
    assert caplog.text.count("the attempt log is not written") == 1
    plant.store._database.execute("PRAGMA query_only=0")
    await plant.send(2)
    assert len(await plant.rows()) == 2


async def test_endpoints_that_change_often_keep_no_more_than_one(logged: Logged, receiver: Receiver) -> None:
    """Each reload ends a sink and begins another; what the ended ones hold together is bounded."""
    kept = AttemptLog(successes=8)
    plant = logged(receiver.url(), kept=kept)
    lane = plant.rig.lane
    for _ in range(3):
        await plant.send(5)
        plant.recorder.retire(plant.sink)
        plant.sink = plant.recorder.sink("default", kept, lane.pool.timeout, lane.target.scrub)
        lane.attempts = plant.sink
    plant.recorder._sinks.rotate(1)  # as writing does
    plant.recorder._tidy()
    sent = [int((request.id or "").rpartition("_")[2], 16) for request in receiver.requests]
    assert sorted(row["seq"] for row in await plant.rows()) == sorted(sent)[-8:]
    plant.recorder._tidy()
    assert list(plant.recorder._sinks) == [plant.sink]
