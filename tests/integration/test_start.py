"""Start, signals and faults, as the person at the terminal sees them."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bridge.mqtt.packets import Publish
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Certificates, Receiver, hang, make_certificates

NOWHERE = webhook("http://127.0.0.1:9/hook", "on_message_publish")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


async def test_what_it_says_and_a_clean_end(tmp_path: Path) -> None:
    async with Receiver(delay=0.3) as receiver:
        block = webhook(
            receiver.url("/hook?token=secret", userinfo="user:secret@"),
            "on_message_publish a/#",
            "on_message_publish b",
            "on_client_disconnected",
        )
        async with HookMQ(tmp_path, block) as hookmq:
            address = f"127.0.0.1:{hookmq.port}"
            assert hookmq.stdout.splitlines()[1:] == [
                f"  listening  mqtt://{address}",
                f"  webhook    default: http://127.0.0.1:{receiver.port}/hook",
                "  events     on_message_publish (a/#, b), on_client_disconnected",
                f"  store      {hookmq.data}/hookmq.db",
            ]
            five = await Client.connect(hookmq.port, "five", version=5)
            four = await Client.connect(hookmq.port, "four")
            await five.publish("a/1", b"in flight", qos=1)
            await receiver.wait_count(1)

            hookmq.send_signal(signal.SIGTERM)
            await asyncio.gather(five.expect_disconnect(0x8B), four.expect_disconnect(0x8B))
            with pytest.raises(OSError, match="Connect call failed"):
                await Client.connect(hookmq.port, "late")
            assert await hookmq.ended() == 0
            assert hookmq.log.splitlines()[-1].endswith("stopped")
            assert "secret" not in hookmq.stdout + hookmq.log

        # The request in flight has ended, and what the shutdown itself brought was sent.
        requests = await receiver.wait_count(3)
        assert [r.json["action"] for r in requests] == ["message_publish"] + ["client_disconnected"] * 2
        assert {r.json.get("reason") for r in requests[1:]} == {"server_shutting_down"}
        async with hookmq:
            assert "waiting" not in hookmq.stdout
            assert await hookmq.stop() == 0
        assert len(receiver.requests) == 3


async def test_ctrl_c_with_an_endpoint_that_is_away(tmp_path: Path) -> None:
    async with HookMQ(tmp_path, webhook("http://127.0.0.1:9/", "on_message_publish", pool_size=2)) as hookmq:
        client = await Client.connect(hookmq.port)
        for number in range(5):
            await client.publish("a", b"%d" % number, qos=1)
        assert await hookmq.stop(signal.SIGINT, timeout=3) == 0
        async with hookmq:
            assert "  waiting    5 events from before the start" in hookmq.stdout


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        receiver.script = hang
        async with HookMQ(
            tmp_path, webhook(receiver.url(), "on_message_publish", cancel_timeout=60000)
        ) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            await client.publish("a", b"x", qos=1)
            await receiver.wait_count(1)
            hookmq.send_signal(signal.SIGTERM)
            await hookmq.said("SIGTERM: stopping")
            await asyncio.sleep(0.2)  # nothing happens meanwhile: it waits for the request
            assert hookmq.running
            assert await hookmq.stop(signal.SIGTERM, timeout=1) == 1
            assert "SIGTERM again: ending at once" in hookmq.log

        receiver.script = None
        receiver.requests.clear()
        async with hookmq:  # and nothing was lost
            assert (await receiver.wait_count(1))[0].json["payload"] == "x"


# -- what does not start -----------------------------------------------------------------------------------


async def refused(hookmq: HookMQ) -> str:
    """The one line of a start that is refused."""
    code, out, errors = await hookmq.run()
    assert code == 1, errors
    assert out == ""
    assert "Traceback" not in errors
    assert errors.count("\n") == 1, errors
    return errors.rstrip("\n")


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


async def test_a_port_in_use(tmp_path: Path) -> None:
    with taken_port() as port:
        hookmq = HookMQ(tmp_path, NOWHERE, f'listeners.tcp.second {{ bind = "127.0.0.1:{port}" }}')
        assert await refused(hookmq) == (
            f"hookmq: listeners.tcp.second.bind: 127.0.0.1:{port} is in use by another program; "
            f"stop it or choose another port"
        )


async def test_a_store_that_another_process_has(tmp_path: Path) -> None:
    async with HookMQ(tmp_path / "1", NOWHERE) as first:
        second = HookMQ(tmp_path / "2", NOWHERE, f'sqlite.mounted_file_path = "{first.data}"')
        assert await refused(second) == (
            f"hookmq: {first.data}/hookmq.db: in use by process {first.pid}: "
            f"stop it, or set sqlite.mounted_file_path to another place"
        )
        await Client.connect(first.port)  # the first one is as it was


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder where nobody may write: /sys of Linux")
async def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    hookmq = HookMQ(tmp_path, NOWHERE, 'sqlite.mounted_file_path = "/sys/hookmq.db"')
    line = await refused(hookmq)
    assert line.startswith("hookmq: /sys/hookmq.db")
    assert "ermission" in line
    assert "sqlite.mounted_file_path" in line


def random_bytes(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE meta SET value = 99 WHERE key = 'version'")


def torn_state(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO state VALUES ('connection', '1', x'c1')")


def torn_serial(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO state VALUES ('connection', 'one', x'90')")


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


async def test_a_file_that_is_no_store_or_damaged(tmp_path: Path) -> None:
    """Whatever is wrong with it, one line says so."""
    path = tmp_path / "data" / "hookmq.db"
    async with HookMQ(tmp_path, NOWHERE) as hookmq:
        await hookmq.stop()

    async def start(damage: Callable[[Path], None], *, store: bool) -> None:
        folder = tmp_path / damage.__name__
        damaged = HookMQ(folder, NOWHERE)
        file = damaged.data / "hookmq.db"
        damaged.data.mkdir()
        if store:
            shutil.copy(path, file)
        damage(file)
        line = await refused(damaged)
        assert line.startswith(f"hookmq: {file}: "), (damage, line)

    await asyncio.gather(
        start(random_bytes, store=False),
        *(start(damage, store=True) for damage in (newer, torn_state, torn_serial, overwritten)),
    )


async def test_certificates_of_a_listener(tmp_path: Path, certificates: Certificates) -> None:
    keys = f'bind = "127.0.0.1:0", certfile = "{certificates.server}"'
    other = f'listeners.ssl {{ {keys}, keyfile = "{certificates.client_key}" }}'
    line = await refused(HookMQ(tmp_path / "1", NOWHERE, other))
    assert re.search(
        r": error: listeners\.ssl\.keyfile: the key .* does not belong to the certificate ", line
    )
    async with HookMQ(
        tmp_path / "2", NOWHERE, f'listeners.ssl {{ {keys}, keyfile = "{certificates.server_key}" }}'
    ) as hookmq:
        found = re.search(r"listening  mqtts://127\.0\.0\.1:(\d+)$", hookmq.stdout, re.MULTILINE)
        assert found
        context = ssl.create_default_context(cafile=str(certificates.ca))
        client = await Client.connect(int(found[1]), "secure", version=5, tls=context)
        assert await client.publish("a", b"x", qos=1) < 0x80
        await client.disconnect()


async def test_certificates_of_a_webhook(tmp_path: Path, certificates: Certificates) -> None:
    pair = f'ssl {{ certfile = "{certificates.client}", keyfile = "{certificates.server_key}" }}'
    line = await refused(HookMQ(tmp_path, webhook("https://localhost:9/", "on_message_publish", extra=pair)))
    assert re.search(r"webhook\b.*keyfile", line), line


async def test_a_bad_configuration_tells_all_errors_at_once(tmp_path: Path) -> None:
    hookmq = HookMQ(
        tmp_path,
        "webhook {",
        '  url = "ftp://example.org"',
        "  pool_size = many",
        "  events = [{event = on_message_published}]",
        "}",
        "mqtt.max_packet_size = 10XB",
    )
    code, out, errors = await hookmq.run()
    assert (code, out) == (1, "")
    lines = errors.splitlines()
    for line, key in zip(
        lines, ("webhook.url", "webhook.pool_size", "webhook.events", "mqtt.max_packet_size"), strict=True
    ):
        assert re.match(rf"{re.escape(str(hookmq.conf))}:\d+: error: {key}", line), line
    assert not hookmq.data.exists()


# -- the machine -------------------------------------------------------------------------------------------


async def test_as_many_open_files_as_the_machine_allows(tmp_path: Path) -> None:
    """Every connection is a file, and a login's soft limit is often 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    low = ("sh", "-c", 'ulimit -Sn 256 && exec "$@"', "sh")
    async with HookMQ(tmp_path, NOWHERE, prefix=low) as hookmq:
        assert resource.prlimit(hookmq.pid, resource.RLIMIT_NOFILE) == (hard, hard)


async def test_clients_leave_files_for_the_webhook(tmp_path: Path) -> None:
    """More clients than the machine allows files: those are closed, and what the others send is delivered."""
    few = ("sh", "-c", 'ulimit -n 128 && exec "$@"', "sh")
    async with Receiver() as receiver:
        block = webhook(receiver.url(), "on_message_publish", pool_size=8)
        async with HookMQ(tmp_path, block, prefix=few) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            silent = [await Client.open(hookmq.port) for _ in range(150)]
            await hookmq.said("WARNING mqtt.max_connections: 64 are open, new ones are refused")
            await client.publish("a", b"x", qos=1)  # the first POST: its connection is opened now
            await receiver.wait_count(1)
            await asyncio.gather(*(other.wait_closed() for other in silent[63:]))
            assert hookmq.log.count("are open") == 1
            for other in silent:
                other.abort()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/shm of Linux")
async def test_a_store_in_memory_gets_a_warning(tmp_path: Path) -> None:
    folder = Path("/dev/shm") / f"hookmq-test-{os.getpid()}"
    try:
        async with HookMQ(tmp_path, NOWHERE, f'sqlite.mounted_file_path = "{folder}"') as hookmq:
            await hookmq.said("WARNING sqlite.mounted_file_path: ")
            assert f"{folder}/hookmq.db is in memory (tmpfs), a power cut loses it" in hookmq.log
            assert await hookmq.stop() == 0
    finally:
        for path in [*folder.glob("*"), folder]:
            path.rmdir() if path.is_dir() else path.unlink()


async def test_a_store_that_is_taken_away_ends_it(tmp_path: Path) -> None:
    """What it would store from then on would be gone: it says so once, promises no more, and exits 1."""
    async with (
        Receiver() as receiver,
        HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish")) as hookmq,
    ):
        client = await Client.connect(hookmq.port, "c")
        await client.publish("a", b"x", qos=1)
        for path in hookmq.data.iterdir():
            path.unlink()
        client.send(Publish("a", b"x", qos=1, packet_id=9))
        await until(lambda: not hookmq.running, "the process ends", 10)
        assert hookmq.code == 1
        assert hookmq.log.count("the store has failed, HookMQ ends: ") == 1
        assert "Traceback" not in hookmq.log


async def test_without_uvloop(tmp_path: Path) -> None:
    """Where uvloop does not exist, asyncio's own loop does all that it does."""
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    async with Receiver() as receiver:
        block = webhook(receiver.url(), "on_message_publish", "on_client_disconnected")
        async with HookMQ(tmp_path, block, env={"PYTHONPATH": str(tmp_path)}) as hookmq:
            client = await Client.connect(hookmq.port, "c", version=5)
            for number in range(50):
                await client.publish("a", b"%d" % number, qos=1)
            hookmq.send_signal(signal.SIGTERM)
            await client.expect_disconnect(0x8B)
            assert await hookmq.ended() == 0
        assert len({r.id for r in await receiver.wait_count(51)}) == len(receiver.requests) == 51
