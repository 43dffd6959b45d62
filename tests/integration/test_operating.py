"""The commands that talk to the running process: given as a user gives them, to a real process."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import asked, command, given, said
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, webhook
from tests.integration.receiver import Exchange, Receiver

ONCE = "retry.schedule = [0s]"
EVENTS = ("on_message_publish", "on_client_connack")


async def refused(hookmq: HookMQ, *arguments: str) -> str:
    """The standard error of a command that does not go well: one line."""
    done = await given(*arguments, "--store", str(hookmq.data))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    return done.stderr


async def settled(hookmq: HookMQ) -> None:
    """Every request was answered, and the store knows: the receiver had it before HookMQ has the answer."""
    end = time.monotonic() + 20
    while True:
        [found] = (await asked(hookmq, "status"))["endpoints"]
        if not (found["in_flight"] or found["retrying"] or found["backlog_events"]):
            break
        assert time.monotonic() < end, found
    await asked(hookmq, "dead")  # commits what is open before it reads


async def publish(hookmq: HookMQ, *texts: str, topic: str = "a/b") -> None:
    client = await Client.connect(hookmq.port, "c1")
    for text in texts:
        await client.publish(topic, text.encode(), qos=1)
    await client.disconnect()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


def payloads(receiver: Receiver) -> list[str]:
    return [r.json["payload"] for r in receiver.requests if r.json["action"] == "message_publish"]


# --- where none runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("endpoints", "--json"),
        ("log",),
        ("dead",),
        ("dead", "list", "--each"),
        ("dead", "show", "msg_0123456789ab_0000000000000001"),
        ("dead", "replay", "--all"),
        ("dead", "purge", "--all", "--yes"),
        ("replay", "--since", "1h"),
        ("send-test",),
        ("enable",),
        ("disable",),
    ],
    ids=" ".join,
)
async def test_where_none_runs_one_sentence_says_so(arguments: tuple[str, ...], tmp_path: Path) -> None:
    run = command if len(arguments) == 1 else given
    done = await run(*arguments, "--store", str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"hookmq: no HookMQ runs on the store {tmp_path / 'data' / 'hookmq.db'} "
        "(hookmq start runs one; --conf or --store says which)\n"
    )


async def test_after_a_crash_too(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), *EVENTS)) as hookmq:
        hookmq.kill()
        assert (hookmq.data / "hookmq.sock").exists()
        done = await given("status", "--conf", str(hookmq.conf))
        assert done.returncode == 1
        assert "no HookMQ runs on the store" in done.stderr
        await hookmq.start()
        assert "HookMQ" in await said(hookmq, "status")
        assert await hookmq.stop() == 0
        assert not (hookmq.data / "hookmq.sock").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("replay",), 2, "--since"),
        (("replay", "--since", "soon"), 2, "expected how long ago"),
        (("log", "--limit", "0"), 2, "--limit"),
        (("dead", "replay"), 2, "--all"),
        (("dead", "purge", "--all", "x"), 2, "--all"),
        (("dead", "bury"), 2, "bury"),
        (("status", "--store", "x", "--conf", "y"), 1, "not both"),
        (("status", "--conf", "/nowhere/nanomq.conf"), 1, "/nowhere/nanomq.conf"),
    ],
)
async def test_a_wrong_command_line(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = await given(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


async def test_help_names_the_commands() -> None:
    shown = (await command("--help")).stdout
    for name in ("status", "endpoints", "log", "dead", "replay", "send-test", "enable", "disable"):
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)


# --- seeing -------------------------------------------------------------------------------------------------


async def test_status_and_endpoints(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(
        tmp_path, webhook(receiver.url("/hook?key=s3cret"), *EVENTS, "on_client_connected a")
    ) as hookmq:
        client = await Client.connect(hookmq.port, "c1")
        for index in range(3):
            await client.publish("a/b", str(index).encode(), qos=1)
        await receiver.wait_for(lambda rs: len(rs) == 5)
        receiver.script = Exchange.hang
        await client.publish("a/b", b"hangs", qos=1)
        await receiver.wait_for(lambda rs: len(rs) == 6)
        found = await asked(hookmq, "status")
        assert found["pid"] == hookmq.pid
        assert found["uptime_s"] > 0
        assert found["listeners"] == [f"mqtt://127.0.0.1:{hookmq.port}"]
        assert (found["clients"], found["sessions"]) == (1, 1)
        assert found["messages"]["received"] == 4
        assert found["store"]["path"] == str(hookmq.data / "hookmq.db")
        assert found["store"]["bytes"] > 0
        assert found["not_served"] == []
        [endpoint] = found["endpoints"]
        assert endpoint["url"] == receiver.url("/hook")
        wanted = {
            "name": "default",
            "state": "on",
            "in_flight": 1,
            "retrying": 0,
            "dead": 0,
            "delivered": 5,
            "failed": 0,
        }
        assert {name: endpoint[name] for name in wanted} == wanted
        assert endpoint["oldest_ms"] > 0
        assert endpoint["delivered_per_s"] > 0
        shown = await said(hookmq, "status")
        assert f"process {hookmq.pid}" in shown
        assert re.search(r"^default +on +0 ", shown, re.MULTILINE)
        shown = await said(hookmq, "endpoints")
        assert f"{receiver.url('/hook')} " in shown
        assert "on_message_publish, on_client_connack, on_client_connected" in shown
        assert (await asked(hookmq, "endpoints"))[0]["events"][0] == {
            "event": "on_message_publish",
            "topic": None,
        }
        assert "s3cret" not in shown + json.dumps(found)


async def test_a_configuration_finds_the_process(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), *EVENTS)) as hookmq:
        for way in (["--conf", str(hookmq.conf)], ["--store", str(hookmq.data / "hookmq.db")]):
            done = await given("status", "--json", *way)
            assert json.loads(done.stdout)["pid"] == hookmq.pid


async def test_the_log(tmp_path: Path, receiver: Receiver) -> None:
    block = webhook(receiver.url(), *EVENTS, extra='headers.authorization = "Bearer s3cret-token"')
    async with HookMQ(tmp_path, block) as hookmq:
        await publish(hookmq, "good")
        await receiver.wait_for(lambda rs: len(rs) == 2)

        async def fail(exchange: Exchange) -> None:
            await exchange.respond(503, b"the database is \x1b[31maway")

        receiver.scripts.append(fail)
        await publish(hookmq, "bad", topic="plant/press/7")
        await hookmq.said("attempt failed")
        rows = await asked(hookmq, "log", "--status", "failed")
        while len(rows) < 1:
            rows = await asked(hookmq, "log", "--status", "failed")
        [row] = rows
        bad = next(
            r
            for r in receiver.requests
            if r.json.get("payload") == "bad" or r.json.get("topic") == "plant/press/7"
        )
        wanted = {
            "endpoint": "default",
            "ok": False,
            "status": 503,
            "kind": None,
            "attempt": 1,
            "id": row["id"],
            "event": row["event"],
            "address": f"127.0.0.1:{receiver.port}",
            "body": "the database is \ufffd[31maway",
        }
        assert {name: row[name] for name in wanted} == wanted
        assert bad.id.startswith("msg_")
        assert f"webhook-id: {row['id']}" in row["request"]
        assert "authorization: ***" in row["request"]
        assert row["response"].startswith("HTTP/1.1 503 Service Unavailable\n")
        shown = await said(hookmq, "log", "--full", "--id", row["id"])
        assert "\x1b" not in shown
        assert "the database is" in shown
        assert "s3cret" not in shown
        # Filters.
        assert {r["event"] for r in await asked(hookmq, "log", "--event", "client_connack")} == {
            "on_client_connack"
        }
        assert await asked(hookmq, "log", "--status", "4xx") == []
        assert len(await asked(hookmq, "log", "--status", "503")) == 1
        assert len(await asked(hookmq, "log", "--limit", "1")) == 1
        assert await asked(hookmq, "log", "--until", "1h") == []
        assert len(await asked(hookmq, "log", "--since", "1h", "--endpoint", "default")) >= 3
        shown = await said(hookmq, "log")
        assert shown.splitlines()[0].split()[:3] == ["time", "endpoint", "event"]
        for arguments, says in (
            (("--status", "strange"), "no status is called 'strange'"),
            (("--event", "on_nothing"), "no event is called 'on_nothing'"),
            (("--id", "7"), "is no id of an event"),
            (("--id", "msg_000000000000_0000000000000001"), "another store"),
            (("--endpoint", "elsewhere"), "no endpoint is called 'elsewhere'; there are: default"),
        ):
            assert says in await refused(hookmq, "log", *arguments)


async def test_the_log_outlives_the_process(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish")) as hookmq:
        await publish(hookmq, "one", "two")
        await receiver.wait_for(lambda rs: len(rs) == 2)
        assert await hookmq.stop() == 0
        assert (hookmq.data / "hookmq-attempts.db").stat().st_mode & 0o777 == 0o600
        await hookmq.start()
        assert len(await asked(hookmq, "log")) == 2


async def test_a_damaged_attempt_log_stops_nothing(tmp_path: Path, receiver: Receiver) -> None:
    hookmq = HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish"))
    hookmq.data.mkdir()
    (hookmq.data / "hookmq-attempts.db").write_bytes(b"nonsense" * 4096)
    async with hookmq:
        assert "a new one is made" in hookmq.log
        await publish(hookmq, "one")
        await receiver.wait_for(lambda rs: len(rs) == 1)
        assert len(await asked(hookmq, "log")) == 1


async def test_an_attempt_log_that_cannot_be_made_stops_nothing(tmp_path: Path, receiver: Receiver) -> None:
    hookmq = HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish"))
    (hookmq.data / "hookmq-attempts.db").mkdir(parents=True)
    async with hookmq:
        await publish(hookmq, "one")
        await receiver.wait_for(lambda rs: len(rs) == 1)
        assert "no attempts are logged" in await refused(hookmq, "log")


# --- mending ------------------------------------------------------------------------------------------------


async def test_a_test_request(tmp_path: Path, receiver: Receiver) -> None:
    block = webhook(receiver.url("/hook"), "on_message_publish", extra='headers.x-api-key = "s3cret-key"')
    async with HookMQ(tmp_path, block) as hookmq:
        shown = await said(hookmq, "send-test")
        assert "POST /hook HTTP/1.1" in shown
        assert "x-api-key: ***" in shown
        assert "HTTP/1.1 204 No Content" in shown
        assert receiver.requests[0].header("x-api-key") == "s3cret-key"
        assert receiver.requests[0].json["topic"] == "hookmq/test"
        receiver.status = 401
        done = await given("send-test", "--event", "on_client_connack", "--store", str(hookmq.data))
        assert done.returncode == 1
        assert "failed after" in done.stdout
        assert "status 401" in done.stdout
        assert receiver.requests[1].json["action"] == "client_connack"
        done = await given("send-test", "--json", "--store", str(hookmq.data))
        found = json.loads(done.stdout)
        assert (done.returncode, found["ok"], found["status"]) == (1, False, 401)
        assert found["id"] == receiver.requests[2].id
        # It counts for nothing and shows nowhere else.
        [endpoint] = (await asked(hookmq, "status"))["endpoints"]
        assert (endpoint["delivered"], endpoint["failed"]) == (0, 0)
        assert await asked(hookmq, "log") == []


async def test_every_type_of_test_request(tmp_path: Path, receiver: Receiver) -> None:
    from bridge.control.client import Client as Control
    from bridge.events.event import HOOK_EVENTS, EventType

    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish")) as hookmq:

        def ask(kind: EventType) -> Any:
            with Control(hookmq.data / "hookmq.db") as control:
                return list(control.call("send-test", event=kind.action))[-1]["result"]

        for kind in HOOK_EVENTS:
            found = await asyncio.to_thread(ask, kind)
            assert found["ok"]
            assert receiver.requests[-1].json["action"] == kind.action
            assert json.loads(found["body"]) == receiver.requests[-1].json


async def test_a_replay(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish")) as hookmq:
        await publish(hookmq, *[f"old{i}" for i in range(20)], topic="plant/old")
        await receiver.wait_for(lambda rs: len(rs) == 20)
        ids = {r.json["payload"]: r.id for r in receiver.requests}
        middle = time.time()
        await asyncio.sleep(1.1 - middle % 1)  # times on the command line have a second
        between = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime())
        await publish(hookmq, *[f"new{i}" for i in range(5)], topic="plant/new")
        await receiver.wait_for(lambda rs: len(rs) == 25)
        await settled(hookmq)
        receiver.requests.clear()
        shown = await said(hookmq, "replay", "--since", "1h", "--until", between)
        assert shown == "default: 20 events are sent once more\n"
        await receiver.wait_for(lambda rs: len(rs) == 20)
        assert sorted(payloads(receiver)) == sorted(f"old{i}" for i in range(20))
        assert all(r.id == ids[r.json["payload"]] and r.attempt == 1 for r in receiver.requests)
        await settled(hookmq)
        receiver.requests.clear()
        found = await asked(hookmq, "replay", "--since", between)
        assert (found["endpoint"], found["taken"]) == ("default", 5)
        await receiver.wait_for(lambda rs: len(rs) == 5)
        await settled(hookmq)
        receiver.requests.clear()
        found = await asked(hookmq, "replay", "--since", "1h", "--filter", "plant/+", "--endpoint", "default")
        assert found["taken"] == 25
        found = await asked(hookmq, "replay", "--since", "1h", "--filter", "other/#")
        assert found["taken"] == 0
        # After a restart the log is still there.
        await receiver.wait_for(lambda rs: len(rs) == 25)
        await settled(hookmq)  # else what was answered last comes once more, and is under way
        hookmq.kill()
        await hookmq.start()
        receiver.requests.clear()
        assert (await asked(hookmq, "replay", "--since", "1h"))["taken"] == 25
        await receiver.wait_for(lambda rs: len(rs) == 25)
        for arguments, says in (
            (("--filter", "a/#/b"), "'a/#/b' is not a topic filter"),
            (("--until", "2h"), "nothing lies between"),
            (("--endpoint", "x"), "no endpoint is called 'x'; there are: default"),
        ):
            assert says in await refused(hookmq, "replay", "--since", "1h", *arguments)


async def test_a_replay_keeps_to_the_retention(tmp_path: Path, receiver: Receiver) -> None:
    block = webhook(receiver.url(), "on_message_publish") + "sqlite.retention.max_bytes = 0\n"
    async with HookMQ(tmp_path, block) as hookmq:
        await publish(hookmq, "one", "two")
        await receiver.wait_for(lambda rs: len(rs) == 2)
        await until_async(hookmq, lambda found: found["taken"] == 0)


async def until_async(hookmq: HookMQ, condition: Any) -> None:
    """Replay until the log has let go of all."""
    end = time.monotonic() + 20
    while not condition(await asked(hookmq, "replay", "--since", "1h")):
        assert time.monotonic() < end


async def test_a_replay_is_ended_by_ctrl_c(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish", pool_size=1)) as hookmq:
        client = await Client.connect(hookmq.port, "c1")
        for index in range(700):
            await client.publish("a", str(index).encode(), qos=0)
        await receiver.wait_for(lambda rs: len(rs) == 700)
        receiver.script = Exchange.hang
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "replay", "--since", "1h", "--store", str(hookmq.data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await receiver.wait_for(lambda rs: len(rs) > 700)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
        # What was handed over is sent, and no more; the process itself goes on.
        handed_over = (await asked(hookmq, "status"))["endpoints"][0]["retrying"]
        assert 0 < handed_over <= 500
        receiver.script = None
        receiver.close_connections()
        await receiver.wait_for(lambda rs: len(rs) >= 700 + handed_over)
        found = (await asked(hookmq, "status"))["endpoints"][0]
        assert (found["retrying"], found["backlog_events"]) == (0, 0)
        assert len(set(payloads(receiver)[700:])) == handed_over


async def test_dead_letters(tmp_path: Path, receiver: Receiver) -> None:
    block = webhook(receiver.url(), "on_message_publish", extra=ONCE)
    async with HookMQ(tmp_path, block) as hookmq:
        receiver.status = 500
        await publish(hookmq, *[f"bad{i}" for i in range(6)], topic="plant/7")
        await receiver.wait_for(lambda rs: len(rs) == 6)
        ids = {r.json["payload"]: r.id for r in receiver.requests}
        end = time.monotonic() + 10
        while (found := await asked(hookmq, "dead")) == [] or found[0]["count"] < 6:
            assert time.monotonic() < end
        assert [(g["endpoint"], g["event"], g["error"], g["count"]) for g in found] == [
            ("default", "on_message_publish", "status 500", 6)
        ]
        assert re.search(
            r"^default +on_message_publish +status 500 +6 ", await said(hookmq, "dead", "list"), re.MULTILINE
        )
        each = await asked(hookmq, "dead", "list", "--each", "--limit", "4")
        assert [row["id"] for row in each] == sorted(ids.values())[:4]
        assert "and 2 more" in await said(hookmq, "dead", "list", "--each", "--limit", "4")
        # One, in full.
        one = ids["bad3"]
        found = await asked(hookmq, "dead", "show", one)
        assert (found["payload"], found["topic"], found["clientid"]) == ("bad3", "plant/7", "c1")
        assert (found["error"], found["attempts_made"]) == ("status 500", 1)
        assert json.loads(found["body"])["payload"] == "bad3"
        assert [row["status"] for row in found["attempts"]] == [500]
        shown = await said(hookmq, "dead", "show", one)
        assert "bad3" in shown
        assert "HTTP/1.1 500" in shown
        # One is sent again, one thrown away, and all the rest sent again.
        receiver.status = 204
        receiver.requests.clear()
        assert await said(hookmq, "dead", "replay", one) == "1 events are sent once more\n"
        await receiver.wait_for(lambda rs: len(rs) == 1)
        assert (receiver.requests[0].id, payloads(receiver)) == (one, ["bad3"])
        assert await said(hookmq, "dead", "purge", ids["bad0"], "--yes") == "1 dead letters deleted\n"
        assert f"{ids['bad0']} is not a dead letter" in await refused(hookmq, "dead", "show", ids["bad0"])
        hookmq.kill()  # dead letters are stored
        await hookmq.start()
        receiver.requests.clear()
        found = await asked(hookmq, "dead", "replay", "--all")
        assert (found["taken"], found["gone"]) == (4, 0)
        await receiver.wait_for(lambda rs: len(rs) == 4)
        assert Counter(payloads(receiver)) == Counter(["bad1", "bad2", "bad4", "bad5"])
        assert await said(hookmq, "dead") == "no dead letters\n"
        assert await asked(hookmq, "dead", "list", "--each") == []
        assert (await asked(hookmq, "dead", "replay", "--all"))["taken"] == 0


async def test_dead_letters_have_bounds(tmp_path: Path, receiver: Receiver) -> None:
    block = webhook(receiver.url(), "on_message_publish", extra=ONCE + "\ndead.max_bytes = 4KB")
    async with HookMQ(tmp_path, block) as hookmq:
        receiver.status = 500
        await publish(hookmq, *[f"bad{i}".ljust(1000) for i in range(8)])
        await receiver.wait_for(lambda rs: len(rs) == 8)
        await hookmq.said("dead letters are at their bound (webhook.dead): gave up the oldest ")
        end = time.monotonic() + 10
        while (found := (await asked(hookmq, "status"))["endpoints"][0])["dead"] + found["dead_given_up"] < 8:
            assert time.monotonic() < end
        await until_status(hookmq, lambda found: found["dead"] == 3)
        [found] = (await asked(hookmq, "status"))["endpoints"]
        assert (found["dead_given_up"], found["dead_bytes"] <= 4096) == (5, True)
        assert (
            "default: 5 dead letters were given up since the start (webhook.dead); 3 are kept"
            in await said(hookmq, "status")
        )
        each = await asked(hookmq, "dead", "list", "--each")
        shown = [await asked(hookmq, "dead", "show", row["id"]) for row in each]
        assert {one["payload"].strip() for one in shown} <= {f"bad{i}" for i in range(8)}
        hookmq.kill()  # what was given up stays away; an endpoint that is not served has the bound too
        hookmq.configure(block + "webhook { enable = false, dead.max_bytes = 1KB }\n")
        await hookmq.start()
        await hookmq.said("gave up the oldest 3")
        [kept] = (await asked(hookmq, "status"))["not_served"]
        assert (kept["dead"], kept["dead_given_up"]) == (0, 3)


async def until_status(hookmq: HookMQ, condition: Any) -> None:
    """Wait until what `status` says of the one endpoint fits."""
    end = time.monotonic() + 10
    while not condition(found := (await asked(hookmq, "status"))["endpoints"][0]):
        assert time.monotonic() < end, found


async def test_an_event_is_found_in_the_batches_that_it_was_in(tmp_path: Path, receiver: Receiver) -> None:
    extra = "batch { max_events = 4, max_wait = 200ms }\nretry.schedule = [0s, 10ms]"
    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish", extra=extra)) as hookmq:
        receiver.status = 500
        await publish(hookmq, *[f"one{i}" for i in range(4)])
        await receiver.wait_for(lambda rs: len(rs) >= 2)
        receiver.status = 204
        await until_status(hookmq, lambda found: found["failed"] + found["delivered"] >= 2)
        await settled(hookmq)
        items = [(item["id"], r.id, r.attempt) for r in receiver.requests for item in r.json]
        one = items[0][0]
        tried = sorted((batch, attempt) for item, batch, attempt in items if item == one)
        assert tried[0][0] != one
        for option in ("--id", "--event"):
            rows = await asked(hookmq, "log", option, one)
            assert sorted((row["id"], row["attempt"]) for row in rows) == tried
            assert all(row["events"] > 1 for row in rows)
        assert "another store" in await refused(hookmq, "log", "--event", "msg_000000000000_0000000000000001")


async def test_status_knows_the_oldest_also_on_disk(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish")) as hookmq:
        await said(hookmq, "disable")
        begin = time.monotonic()
        await publish(hookmq, "first", "second")
        assert await hookmq.stop() == 0
        for block in (None, webhook(receiver.url(), "on_message_publish", enable="false")):
            if block is not None:
                hookmq.kill()
                hookmq.configure(block)
            await hookmq.start()  # what waits from before a start is on disk
            found = await asked(hookmq, "status")
            [one] = found["endpoints"] or found["not_served"]
            assert one["backlog_events"] == 2
            assert 0 < one["oldest_ms"] <= (time.monotonic() - begin) * 1000 + 1


async def test_a_purge_asks_first(tmp_path: Path, receiver: Receiver) -> None:
    block = webhook(receiver.url(), "on_message_publish", extra=ONCE)
    async with HookMQ(tmp_path, block) as hookmq:
        receiver.status = 500
        await publish(hookmq, "bad1", "bad2")
        await hookmq.said("gave up event")
        await receiver.wait_for(lambda rs: len(rs) == 2)
        done = await command("dead", "purge", "--all", "--store", str(hookmq.data))  # nobody answers
        assert done.returncode != 0
        assert (await asked(hookmq, "status"))["endpoints"][0]["dead"] == 2
        assert (await asked(hookmq, "dead", "purge", "--all", "--yes"))["purged"] == 2
        assert (await asked(hookmq, "status"))["endpoints"][0]["dead"] == 0
        hookmq.kill()
        await hookmq.start()
        assert await asked(hookmq, "dead") == []


async def test_the_dead_letters_of_an_endpoint_that_is_gone(tmp_path: Path, receiver: Receiver) -> None:
    block = webhook(receiver.url(), "on_message_publish", extra=ONCE)
    async with HookMQ(tmp_path, block) as hookmq:
        receiver.status = 500
        await publish(hookmq, "bad1", "bad2")
        await receiver.wait_for(lambda rs: len(rs) == 2)
        await hookmq.said("gave up event")
        assert await hookmq.stop() == 0
        hookmq.configure(webhook(receiver.url(), "on_message_publish", enable="false"))
        await hookmq.start()
        found = await asked(hookmq, "status")
        assert found["endpoints"] == []
        assert [(p["name"], p["dead"]) for p in found["not_served"]] == [("default", 2)]
        [group] = await asked(hookmq, "dead")
        assert group["count"] == 2
        assert (await asked(hookmq, "dead", "show", group["example"]))["payload"] in ("bad1", "bad2")
        assert "is not served" in await refused(hookmq, "replay", "--since", "1h", "--endpoint", "default")
        assert (await asked(hookmq, "dead", "purge", "--all", "--yes", "--endpoint", "default"))[
            "purged"
        ] == 2
        assert await asked(hookmq, "dead") == []


async def test_switching_off_and_on(tmp_path: Path, receiver: Receiver) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish")) as hookmq:
        await publish(hookmq, "before")
        await receiver.wait_for(lambda rs: len(rs) == 1)
        assert await said(hookmq, "disable") == "default: off\n"
        assert await said(hookmq, "disable") == "default: was already off\n"
        await publish(hookmq, "while off")
        found = (await asked(hookmq, "status"))["endpoints"][0]
        assert (found["state"], found["backlog_events"], len(receiver.requests)) == ("off", 1, 1)
        assert "default is off: by hand (hookmq disable)" in await said(hookmq, "status")
        assert "is switched off" in await refused(hookmq, "replay", "--since", "1h")
        assert (await asked(hookmq, "send-test"))["ok"]
        receiver.requests.pop()
        hookmq.kill()
        await hookmq.start()
        assert (await asked(hookmq, "status"))["endpoints"][0]["state"] == "off"
        found = await asked(hookmq, "enable")
        assert (found["changed"], found["state"]) == (True, "slow")
        await receiver.wait_for(lambda rs: len(rs) == 2)
        assert payloads(receiver) == ["before", "while off"]


# --- at a terminal ------------------------------------------------------------------------------------------


async def test_a_terminal_gets_a_table_that_fits_and_no_foreign_escapes(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish")) as hookmq:
        await publish(hookmq, "x", topic="a/\x1b]0;owned\x07\x1b[31m/b")
        await receiver.wait_for(lambda rs: len(rs) == 1)

        def run() -> bytes:
            main, other = pty.openpty()
            done = subprocess.Popen(
                [sys.executable, "-m", "bridge", "log", "--store", str(hookmq.data)],
                stdout=other,
                stderr=other,
                env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
            )
            os.close(other)
            shown = b""
            try:
                while part := os.read(main, 65536):
                    shown += part
            except OSError:  # the other side is closed
                pass
            finally:
                os.close(main)
            assert done.wait(30) == 0
            return shown

        shown = await asyncio.to_thread(run)
        assert b"owned" not in shown or b"\x1b]0;owned" not in shown
        assert b"\x07" not in shown
        text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
        assert max(len(line.rstrip("\r")) for line in text.split("\n")) <= 100
