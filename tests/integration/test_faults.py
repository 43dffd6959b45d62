"""Every fault of `scripts/receiver` against a real `hookmq start`: what is tried again and when, what the log
shows of it, and that the event arrives when the receiver is mended, or waits as a dead letter until it is.

Times are those of the attempt log. The schedule of these endpoints is three attempts.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scripts.receiver import answers
from scripts.receiver.certificates import Certificates, make_certificates
from scripts.receiver.faults import FAULTS, Options, mend, misbehave
from tests.integration.commands import asked, said
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ, until, webhook
from tests.integration.receiver import Receiver
from tests.integration.test_operating import publish

WAIT_S = 0.2
POLL_S = 0.02
LIMIT_MS = 300  # of a request, where the fault is that it takes too long
SLACK_S = 1.5
"""How much later than due an attempt may begin on a busy machine; nothing begins early."""
TIMEOUT = f"within {LIMIT_MS} ms"


DEFAULT = Options()
TIME_TO_MEND_S = 0.6
"""The wait where a fault ends by another start of the receiver, which must come in time."""


def schedule(wait: float) -> str:
    """Three attempts."""
    return f"  retry {{ schedule = [0s, {wait}s, {wait}s], jitter = 0 }}\n"


@dataclass(frozen=True)
class Failing:
    """A fault that fails every attempt, and what each shows in the log: status, kind, words of the error."""

    fault: str
    status: int | None
    kind: str | None
    words: str
    options: Options = DEFAULT
    limit_ms: int = 5000
    wait: tuple[float, float] | None = None  # seconds between attempts if not the schedule's: least, most
    dies: bool = True  # whether the test goes on to the dead letter

    def shows(self, row: dict[str, Any]) -> bool:
        return (row["ok"], row["status"], row["kind"]) == (False, self.status, self.kind) and (
            self.words in row["error"]
        )


SOON = Options(retry_after=1)
CASES = [
    Failing("refuse", None, "connect", "Connection refused"),
    Failing("hang", None, "timeout", f"no response {TIMEOUT}", limit_ms=LIMIT_MS),
    Failing("hang-in-body", None, "timeout", f"not complete {TIMEOUT}", limit_ms=LIMIT_MS),
    Failing("close", None, "reset", "the connection ended before a response: closed"),
    Failing("reset", None, "reset", "the connection ended before a response: Connection reset by peer"),
    Failing("reset-in-body", None, "reset", "the connection ended inside the response"),
    Failing("301", 301, None, "status 301"),
    Failing("429", 429, None, "status 429", options=SOON, wait=(1, 1)),
    Failing("429-date", 429, None, "status 429", options=Options(retry_after=2), wait=(1, 2), dies=False),
    Failing("503", 503, None, "status 503"),
    Failing("too-long", None, "reset", "the connection ended inside the response"),
    Failing(
        "drip", None, "timeout", f"not complete {TIMEOUT}", options=Options(pause=0.1), limit_ms=LIMIT_MS
    ),
    Failing("endless-header", None, "protocol", "the response's head is longer than 65536 bytes"),
    Failing("tls-wrong-name", None, "tls", "Hostname mismatch"),
    Failing("tls-expired", None, "tls", "certificate has expired"),
    Failing("tls-unknown", None, "tls", "the certificate is not trusted"),
]
# What is no failure, and the status that the log shows.
HARMLESS = {
    "none": 204,
    "1xx": 200,
    "204": 204,
    "chunked": 200,
    "close-delimited": 200,
    "too-short": 200,
    "drip": 200,
    "endless-body": 200,
    "keep-alive": 204,
}


def test_every_fault_has_its_test() -> None:
    assert {case.fault for case in CASES} | set(HARMLESS) | {"410", "500"} == set(FAULTS)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory, command: Callable[[str], str]) -> Certificates:
    command("openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def block(
    receiver: Receiver, certificates: Certificates | None = None, wait: float = WAIT_S, **keys: object
) -> str:
    tls = f'  tls {{ cacertfile = "{certificates.ca}" }}\n' if certificates is not None else ""
    return webhook(receiver.url(), "on_message_publish", extra=schedule(wait) + tls, **keys)


async def rows_of(hookmq: HookMQ, id_: str) -> list[dict[str, Any]]:
    """What `hookmq log --json` shows of an event, the first attempt first."""
    return list(reversed(await asked(hookmq, "log", "--id", id_)))


async def first_failure(hookmq: HookMQ, *, but: set[str]) -> str:
    """Wait until an event that is none of these has failed; its id."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for row in await asked(hookmq, "log", "--status", "failed", "--full"):
            if row["id"] not in but:
                return str(row["id"])
        await asyncio.sleep(POLL_S)
    raise TimeoutError("no attempt fails")


async def status_is(hookmq: HookMQ, **wanted: object) -> dict[str, Any]:
    """Wait until the endpoint's `hookmq status` shows this."""
    end = time.monotonic() + 15
    while True:
        [endpoint] = (await asked(hookmq, "status"))["endpoints"]
        if wanted.items() <= endpoint.items():
            return dict(endpoint)
        assert time.monotonic() < end, (wanted, endpoint)
        await asyncio.sleep(POLL_S)


def check_times(rows: list[dict[str, Any]], wait: tuple[float, float]) -> None:
    """Each attempt begins when it is due after the end of the one before, and never early."""
    for one, next_ in pairwise(rows):
        gap = (next_["at"] - one["at"] - one["took_ms"]) / 1000
        assert wait[0] - 0.002 <= gap < wait[1] + SLACK_S, (gap, wait)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
async def test_a_fault_is_retried_and_mended_or_ends_as_a_dead_letter(
    tmp_path: Path, case: Failing, request: pytest.FixtureRequest
) -> None:
    fault = FAULTS[case.fault]
    given: Certificates | None = request.getfixturevalue("certificates") if fault.flaw is not None else None
    receiver = Receiver()
    misbehave(receiver, case.fault, case.options, given)
    if receiver.script is not None:
        receiver.script = answers.first(2, receiver.script)
    wait = WAIT_S if fault.script is not None else TIME_TO_MEND_S
    async with (
        receiver,
        HookMQ(tmp_path, block(receiver, given, wait, cancel_timeout=case.limit_ms)) as hookmq,
    ):
        # It misbehaves for a while: the event arrives with the first attempt after that.
        await publish(hookmq, "patience")
        if fault.script is None:
            await hookmq.said("attempt failed")
            await mend(receiver, given)
        id_ = await first_failure(hookmq, but=set())
        await status_is(hookmq, delivered=1, retrying=0)
        rows = await rows_of(hookmq, id_)
        assert [row["attempt"] for row in rows] == list(range(1, len(rows) + 1))
        assert 2 <= len(rows) <= 3
        assert all(case.shows(row) for row in rows[:-1]), rows
        assert (rows[-1]["ok"], rows[-1]["status"], rows[-1]["error"]) == (True, 204, "")
        check_times(rows, case.wait or (wait, wait))
        if fault.script is not None:
            assert len(rows) == 3
            assert [(r.id, r.attempt, r.target) for r in receiver.requests] == [
                (id_, attempt, "/hook") for attempt in (1, 2, 3)
            ]
        else:
            assert [r.id for r in receiver.requests] == [id_]

        if not case.dies:
            return
        # It misbehaves for longer than the schedule: a dead letter, sent again with one command.
        misbehave(receiver, case.fault, case.options, given)
        if fault.script is None:
            await receiver.restart()
        receiver.requests.clear()
        await publish(hookmq, "too late")
        other = await first_failure(hookmq, but={id_})
        await status_is(hookmq, dead=1, retrying=0, in_flight=0)
        rows = await rows_of(hookmq, other)
        assert [row["attempt"] for row in rows] == [1, 2, 3]
        assert all(case.shows(row) for row in rows), rows
        check_times(rows, case.wait or (wait, wait))
        assert {r.id for r in receiver.requests} <= {other}
        shown = await asked(hookmq, "dead", "show", other)
        assert (shown["payload"], shown["attempts_made"]) == ("too late", 3)
        assert case.words in shown["error"]

        await mend(receiver, given)
        receiver.requests.clear()
        await said(hookmq, "dead", "replay", "--all")
        await status_is(hookmq, delivered=2, dead=0)
        assert [(r.id, r.attempt, r.json["payload"]) for r in receiver.requests] == [(other, 1, "too late")]


async def test_what_is_no_failure_costs_no_attempt(tmp_path: Path) -> None:
    receiver = Receiver()
    names = ["1", "2", "3", "4"]
    async with receiver, HookMQ(tmp_path, block(receiver, pool_size=1)) as hookmq:
        for number, (fault, status) in enumerate(HARMLESS.items(), 1):
            misbehave(receiver, fault, Options(pause=0.001))
            receiver.close_connections()
            await receiver.wait_closed()
            receiver.requests.clear()
            before = receiver.accepted
            await publish(hookmq, *names)
            found = await status_is(hookmq, delivered=4 * number, in_flight=0)
            assert (found["failed"], found["retrying"], found["dead"]) == (0, 0, 0), fault
            rows = list(reversed(await asked(hookmq, "log", "--limit", "4")))
            assert [(row["attempt"], row["ok"], row["status"], row["error"]) for row in rows] == [
                (1, True, status, "")
            ] * 4, fault
            came = Counter(request.json["payload"] for request in receiver.requests)
            if fault == "keep-alive":  # what was lost with the connection went again, as the same attempt
                assert came == {"1": 1, "2": 2, "3": 2, "4": 2}
                assert receiver.accepted - before == 4
            else:
                assert came == dict.fromkeys(names, 1), fault
            assert {request.attempt for request in receiver.requests} == {1}
            assert [row["id"] for row in rows] == list(dict.fromkeys(r.id for r in receiver.requests)), fault


async def test_500_now_and_then(tmp_path: Path) -> None:
    receiver = Receiver()
    misbehave(receiver, "500", Options(every=3))
    retry = f"  retry {{ schedule = [0s{', 0.1s' * 9}], jitter = 0 }}\n"
    async with (
        receiver,
        HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish", extra=retry)) as hookmq,
    ):
        names = [str(number) for number in range(20)]
        await publish(hookmq, *names)
        found = await status_is(hookmq, delivered=20, retrying=0)
        rows = await asked(hookmq, "log", "--limit", "100")
        bad = [r for number, r in enumerate(receiver.requests, 1) if number % 3 == 0]
        assert found["failed"] == len(bad) == 9  # of 29 requests
        assert Counter((r.id, r.attempt) for r in bad) == Counter(
            (row["id"], row["attempt"]) for row in rows if row["status"] == 500
        )
        assert {row["error"] for row in rows if not row["ok"]} == {"status 500: now and then"}
        good = [r for r in receiver.requests if r not in bad]
        assert sorted(r.json["payload"] for r in good) == sorted(names)
        assert {row["id"]: row["attempt"] for row in rows if row["ok"]} == {r.id: r.attempt for r in good}
        assert max(r.attempt for r in good) >= 2


async def test_410_switches_off_and_enable_brings_everything(tmp_path: Path) -> None:
    receiver = Receiver()
    misbehave(receiver, "410")
    async with receiver, HookMQ(tmp_path, block(receiver, pool_size=1)) as hookmq:
        await publish(hookmq, "one")
        found = await status_is(hookmq, state="off", retrying=1)
        assert found["reason"] == "it answered 410 (gone)"
        await mend(receiver)
        await publish(hookmq, "two", "three")
        await status_is(hookmq, state="off", backlog_events=2, retrying=1, dead=0)
        [row] = await asked(hookmq, "log")
        assert (row["attempt"], row["status"], row["error"]) == (1, 410, "status 410")
        assert len(receiver.requests) == 1
        assert (await asked(hookmq, "enable"))["changed"]
        await status_is(hookmq, delivered=3, retrying=0)
        assert sorted(r.json["payload"] for r in receiver.requests[1:]) == ["one", "three", "two"]
        assert [row["attempt"] for row in await rows_of(hookmq, row["id"])] == [1, 2]


# -- the command ---------------------------------------------------------------------------------------------


class Command:
    """`python -m scripts.receiver …`, as a user gives it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.file = folder / "receiver.txt"
        with self.file.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scripts.receiver", *arguments],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def said(self) -> str:
        return self.file.read_text()

    async def line(self, name: str) -> str:
        """Wait for a line `name  value`; the value."""

        def found() -> re.Match[str] | None:
            return re.search(rf"^{name} +(.*)$", self.said, re.MULTILINE)

        await until(found, f"the receiver prints {name}")
        match = found()
        assert match is not None
        return match[1]

    async def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        await until(lambda: self.process.poll() is not None, "the receiver ends")
        return int(self.process.returncode)


async def test_the_command_misbehaves_for_a_number_of_requests(tmp_path: Path) -> None:
    with Command(tmp_path, "--fault", "reset", "--times", "2") as receiver:
        url = await receiver.line("url")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/hook", url)
        assert await receiver.line("fault") == "reset: resets the connection instead of answering"
        async with HookMQ(
            tmp_path / "mq", webhook(url, "on_message_publish", extra=schedule(WAIT_S))
        ) as hookmq:
            await publish(hookmq, "x")
            await status_is(hookmq, delivered=1, failed=2)
            [*_, last] = await rows_of(hookmq, (await asked(hookmq, "log"))[0]["id"])
        assert [line.split("  ")[1:] for line in receiver.said.splitlines()[2:]] == [
            [f"{n}", f"connection {n}", "POST /hook", last["id"], f"attempt {n}", f"{length} bytes"]
            for length in re.findall(r"(\d+) bytes", receiver.said)[:1]
            for n in (1, 2, 3)
        ]
        assert await receiver.stop(signal.SIGINT) == 0


async def test_the_command_with_a_fault_of_tls_and_after_some_seconds_without(
    tmp_path: Path, command: Callable[[str], str]
) -> None:
    command("openssl")
    with Command(tmp_path, "--fault", "tls-expired", "--seconds", "8") as receiver:
        url = await receiver.line("url")
        tls = f'  tls {{ cacertfile = "{await receiver.line("cacertfile")}" }}\n'
        retry = f"  retry {{ schedule = [0s{', 0.5s' * 30}], jitter = 0 }}\n"
        block = webhook(url, "on_message_publish", extra=retry + tls)
        async with HookMQ(tmp_path / "mq", block) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            await client.publish("a", b"x", qos=1)
            await hookmq.said("certificate has expired")
            await receiver.line("mended:")
            await status_is(hookmq, delivered=1, retrying=0)
        assert receiver.said.count("POST /hook") == 1
        folder = Path(await receiver.line("cacertfile")).parent
        assert await receiver.stop(signal.SIGTERM) == 0
        assert not folder.exists()


async def test_the_page_on_it(tmp_path: Path, free_port: Callable[[], int]) -> None:
    page = (ROOT / "docs" / "receiving.md").read_text().partition("## A receiver that misbehaves\n")[2]
    names = re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\|.*\|$", page, re.MULTILINE)[2:]))
    assert sorted(names) == sorted(FAULTS)
    (command,) = re.findall(r"```sh\n(.*)\n```", page)
    python, *arguments = command.replace("8888", str(free_port())).split()
    assert python == "python3"
    assert arguments[:2] == ["-m", "scripts.receiver"]
    with Command(tmp_path, *arguments[2:]) as receiver:
        url = await receiver.line("url")
        assert url == f"http://127.0.0.1:{arguments[-1]}/hook"
        conf = webhook(url, "on_message_publish", extra=schedule(WAIT_S))
        async with HookMQ(tmp_path / "mq", conf) as hookmq:
            await publish(hookmq, "1", "2", "3", "4")
            await status_is(hookmq, delivered=4, failed=1)
        assert receiver.said.count("POST /hook") == 5
        assert await receiver.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--fault", "explode"), 2, "invalid choice: 'explode'"),
        (("--fault", "refuse", "--times", "2"), 2, "--seconds does"),
        (("--port", "70000"), 2, "expected a port, 0 to 65535"),
        (("--seconds", "0"), 2, "more than 0"),
        (("--host", "203.0.113.7"), 1, "receiver: 203.0.113.7:0: "),
    ],
)
def test_the_command_given_wrongly(arguments: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    with Command(tmp_path, *arguments) as receiver:
        assert receiver.process.wait(20) == code
        assert says in receiver.said
        assert "Traceback" not in receiver.said


def test_the_command_lists_its_faults(tmp_path: Path) -> None:
    with Command(tmp_path, "--list") as receiver:
        assert receiver.process.wait(20) == 0
        assert [line.split()[0] for line in receiver.said.splitlines()] == list(FAULTS)
