"""Publishers at mosquitto, read by mosquitto_sub as in Eryxon's document: every version, faults, restarts."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.config.load import load
from tests.acceptance.scene import run
from tests.integration.admin.calling import Api
from tests.integration.commands import asked
from tests.integration.process import until, webhook
from tests.integration.receiver import Certificates, Receiver, make_certificates

COMPLETED = {
    "type": "operation.completed",
    "timestamp": "2024-01-15T10:30:00Z",
    "data": {"operation_name": "Laser Cutting", "part_number": "BRACKET-A1", "cell_name": "Laser Cutting"},
}
ACME = "enterprise = acme, site = chicago, area = fabrication"
TOPIC = "acme/chicago/fabrication/laser_cutting/operation/completed"
FAST = "retry.schedule = [0, 200ms, 200ms, 200ms, 200ms, 500ms, 500ms, 1s, 1s, 1s, 1s, 1s]"
BREAKER = "breaker { probe_interval = 200ms }"
VERSIONS = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}


class Mosquitto:
    """A mosquitto that can be killed and started again on the same port."""

    def __init__(self, command: Callable[[str], str], folder: Path, port: int, *lines: str) -> None:
        self.command = command
        self.port = port
        self._log = folder / "mosquitto.log"
        self._conf = folder / "mosquitto.conf"
        anonymous = (
            () if any(line.startswith("allow_anonymous") for line in lines) else ("allow_anonymous true",)
        )
        listener = f"user {getpass.getuser()}\nlistener {port} 127.0.0.1"  # else it may not read our files
        self._conf.write_text(
            "\n".join([listener, "log_type all", "log_dest stderr", *anonymous, *lines]) + "\n"
        )
        self._process: asyncio.subprocess.Process | None = None
        self._said = 0

    async def start(self) -> None:
        with self._log.open("ab") as out:
            self._said = self._log.stat().st_size
            self._process = await asyncio.create_subprocess_exec(
                self.command("mosquitto"), "-c", str(self._conf), stdout=out, stderr=out
            )
        process = self._process
        await until(lambda: "running" in self.log or process.returncode is not None, "mosquitto runs")
        assert process.returncode is None, self.log

    @property
    def log(self) -> str:
        """What the latest one said."""
        return self._log.read_text()[self._said :]

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    @property
    def all_said(self) -> str:
        """What all of them said."""
        return self._log.read_text()

    @asynccontextmanager
    async def sub(self, *arguments: str) -> AsyncIterator[Callable[[], list[str]]]:
        """mosquitto_sub while the block runs; gives the lines that it has printed so far."""
        before = self.log.count("Sending SUBACK")
        out = self._log.with_name(f"sub{len(list(self._log.parent.iterdir()))}.out")
        with out.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(self.command("mosquitto_sub"), "-h", "localhost", "-p", str(self.port), *arguments),
                stdout=file,
                stderr=file,
            )
        try:
            await until(lambda: self.log.count("Sending SUBACK") > before, "the subscription")
            yield lambda: out.read_text().splitlines()
        finally:
            process.kill()
            await process.wait()


@pytest.fixture
async def mosquitto(
    tmp_path: Path, command: Callable[[str], str], free_port: Callable[[], int]
) -> AsyncIterator[Callable[..., Any]]:
    """`await mosquitto("line of its configuration", …)`: one that runs."""
    made: list[Mosquitto] = []

    async def make(*lines: str) -> Mosquitto:
        made.append(Mosquitto(command, tmp_path, free_port(), *lines))
        await made[-1].start()
        return made[-1]

    yield make
    for one in made:
        await one.kill()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory, command: Callable[[str], str]) -> Certificates:
    command("openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def publisher(server: str, *lines: str, name: str = "uns") -> str:
    return f'mqtt_publishers.{name} {{\nserver = "{server}"\n' + "\n".join(lines) + "\n}"


def job(number: int) -> dict[str, Any]:
    return {"type": "job.created", "data": {"job_id": "j", "job_number": f"J-{number}"}}


async def row(api: Api, name: str = "uns") -> dict[str, Any]:
    (found,) = [
        e for e in (await asked(api, "status"))["endpoints"] if e["name"] == f"mqtt_publishers.{name}"
    ]
    return dict(found)


async def settled(api: Api, count: int) -> dict[str, Any]:
    """Wait until so many events are delivered."""
    for _ in range(300):
        found = await row(api)
        if found["delivered"] >= count:
            return found
        await asyncio.sleep(0.03)
    raise TimeoutError(f"{found}\n{api.log}")


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_as_in_the_document(tmp_path: Path, mosquitto: Any, version: int, qos: int) -> None:
    broker = await mosquitto()
    block = publisher(f"mqtt://127.0.0.1:{broker.port}", ACME, f"proto_ver = {version}", f"qos = {qos}")
    async with Api(tmp_path / "hookmq", block) as api, broker.sub("-t", "acme/#", "-v", "-q", "2") as lines:
        assert (await api.post("/api/v2/events", COMPLETED)).status == 202
        await until(lines, "the message")
        (line,) = lines()
        topic, _, payload = line.partition(" ")
        assert topic == TOPIC
        assert json.loads(payload) == {
            "event": "operation.completed",
            "timestamp": "2024-01-15T10:30:00Z",
            "data": COMPLETED["data"],
        }
        assert (await settled(api, 1))["failed"] == 0
        kind = {3: "p1", 4: "p2", 5: "p5"}[version]
        assert re.search(
            rf"New client connected from \S+ as hookmq_[0-9a-z]+_uns \({kind}, c1, k60\)", broker.log
        )
        assert f"(d0, q{qos}, r0, m" in broker.log
        (attempt,) = await asked(api, "log", "--endpoint", "mqtt_publishers.uns", "--full")
        assert attempt["address"] == f"127.0.0.1:{broker.port}"
        assert attempt["body"] == ["", "PUBACK", "PUBCOMP"][qos]


async def test_properties(tmp_path: Path, mosquitto: Any) -> None:
    """What MQTT 5 has room for, retained; the log's id is the message's."""
    broker = await mosquitto()
    block = publisher(f"mqtt://localhost:{broker.port}", "retain = true", "format = cloudevents")
    async with Api(tmp_path / "hookmq", block) as api:
        assert (await api.post("/api/v2/events", COMPLETED)).status == 202
        await settled(api, 1)
        (attempt,) = await asked(api, "log", "--endpoint", "mqtt_publishers.uns")
        async with broker.sub("-V", "mqttv5", "-t", "#", "-F", "%r|%C|%P") as lines:
            await until(lines, "the retained message")
            assert lines() == [f"1|application/cloudevents+json; charset=utf-8|webhook-id:{attempt['id']}"]


@pytest.mark.parametrize("version", [4, 5])
async def test_nothing_is_lost_when_mosquitto_is_killed_under_load(
    tmp_path: Path, mosquitto: Any, version: int
) -> None:
    """Two kills among 3,000 events: each one has come to one of the three."""
    broker = await mosquitto()
    block = publisher(
        f"mqtt://127.0.0.1:{broker.port}",
        *('topic_pattern = "jobs/{job_number}"', f"proto_ver = {version}", FAST, BREAKER),
    )

    def published() -> set[str]:
        return set(
            re.findall(r"Received PUBLISH from \S+ \(d0, q1, r0, m\d+, 'jobs/(j-\d+)'", broker.all_said)
        )

    async with Api(tmp_path / "hookmq", block) as api:
        total = 3000

        async def post() -> None:
            for begin in range(0, total, 100):
                answer = await api.post("/api/v2/events", [job(n) for n in range(begin, begin + 100)])
                assert answer.status == 202

        posting = asyncio.create_task(post())
        for part in (300, 1200):
            await until(lambda n=part: len(published()) > n, "some have come")  # type: ignore[misc]
            await broker.kill()
            await api.said("connect: Connection refused")
            await broker.start()
        await posting
        found = await settled(api, total)
        assert (found["delivered"], found["dead"], found["queued"]) == (total, 0, 0)
        assert published() == {f"j-{n}" for n in range(total)}


async def test_hookmq_is_killed_in_between(tmp_path: Path, mosquitto: Any) -> None:
    """kill -9 of HookMQ: every event that was taken arrives at least once."""
    broker = await mosquitto()
    block = publisher(
        f"mqtt://127.0.0.1:{broker.port}", 'topic_pattern = "jobs/{job_number}"', "max_in_flight = 8"
    )
    async with (
        broker.sub("-t", "jobs/#", "-q", "1", "-F", "%t") as lines,
        Api(tmp_path / "hookmq", block) as api,
    ):
        for begin in range(0, 900, 300):
            answer = await api.post("/api/v2/events", [job(n) for n in range(begin, begin + 300)])
            assert answer.status == 202
            await until(lambda n=begin: len(set(lines())) > n + 20, "some have come")  # type: ignore[misc]
            api.kill()
            await api.start()
        await until(lambda: len(set(lines())) == 900, "all have come")


async def test_refusals_have_their_names(
    tmp_path: Path, command: Callable[[str], str], mosquitto: Any
) -> None:
    """A wrong password, and a topic that the broker's rules forbid; then both are mended."""
    passwords, rules = tmp_path / "passwords", tmp_path / "acl"
    for user in ("right", "reader"):
        flag = () if passwords.exists() else ("-c",)
        given = (*flag, "-b", str(passwords), user, "s3cret pass")
        assert await run(command("mosquitto_passwd"), *given) == (0, "")
    rules.write_text("user reader\ntopic read #\nuser right\ntopic write ok/#\n")
    broker = await mosquitto("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")
    server = f"mqtt://127.0.0.1:{broker.port}"
    reader = ("-u", "reader", "-P", "s3cret pass")

    def block(version: int, topic: str, password: str = "s3cret pass") -> str:
        lines = (f'topic_pattern = "{topic}/{{event}}"', f"proto_ver = {version}", "username = right")
        return publisher(server, *lines, f'password = "{password}"', FAST, BREAKER)

    async with (
        Api(tmp_path / "hookmq", block(5, "ok", "wrong pass")) as api,
        broker.sub(*reader, "-t", "#") as lines,
    ):
        assert (await api.post("/api/v2/events", job(1))).status == 202
        await api.said("refused: CONNACK 0x87 Not authorized")
        api.configure(block(4, "ok", "wrong pass"))
        await asked(api, "reload")
        await until(lambda: api.log.count("refused: CONNACK") > 1, "3.1.1 says it too")
        api.configure(block(5, "no"))
        await asked(api, "reload")
        await api.said("refused: PUBACK 0x87 Not authorized")
        assert lines() == []
        api.configure(block(5, "no") + "\nmqtt_publishers.uns.qos = 2")
        await asked(api, "reload")
        await api.said("refused: PUBREC 0x87 Not authorized")
        api.configure(block(5, "ok") + "\nmqtt_publishers.uns.qos = 2")
        await asked(api, "reload")
        await until(lines, "the message")
        assert (await row(api))["dead"] == 0
        assert "wrong pass" not in api.log
        assert "s3cret" not in api.log


async def test_tls(tmp_path: Path, mosquitto: Any, certificates: Certificates) -> None:
    """mqtts, with a certificate that is trusted and with one that is not, and one for the client."""
    lines = [f"certfile {certificates.server}", f"keyfile {certificates.server_key}"]
    broker = await mosquitto(*lines, f"cafile {certificates.ca}", "require_certificate false")
    server = f"mqtts://localhost:{broker.port}"
    ca = ("--cafile", str(certificates.ca))
    async with (
        Api(tmp_path / "hookmq", publisher(server, FAST, BREAKER)) as api,
        broker.sub(*ca, "-t", "#", "-F", "%t") as heard,
    ):
        assert (await api.post("/api/v2/events", COMPLETED)).status == 202
        await api.said("tls: the certificate is not trusted")
        assert heard() == []
        api.configure(publisher(server, f'tls {{ cacertfile = "{certificates.ca}" }}', FAST, BREAKER))
        await asked(api, "reload")
        await until(heard, "the message")
        for n in range(300):  # more than a record's worth at once, each way
            assert (await api.post("/api/v2/events", [job(n)] * 1)).status == 202
        await settled(api, 301)
        await until(lambda: len(heard()) == 301, "all have come")


# -- the page ------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "unified-namespace.md").read_text()
BLOCKS = re.findall(r"```hocon\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", BLOCKS)
def test_every_example_loads(tmp_path: Path, certificates: Certificates, text: str) -> None:
    conf = tmp_path / "nanomq.conf"
    conf.write_text(text.replace("/etc/hookmq/broker-ca.pem", str(certificates.ca)))
    report = load(conf, {"BROKER_PASSWORD": "p"})
    assert [str(message) for message in report.messages] == []


async def test_the_first_example(tmp_path: Path, command: Callable[[str], str]) -> None:
    """mosquitto_sub at HookMQ itself prints the line that the page shows, and `send-test` sends a sample."""
    printed = re.search(r"```\n(acme/.*)\n```", PAGE)
    assert printed
    topic, _, payload = printed[1].partition(" ")
    shown = json.loads(payload)
    async with (
        Receiver() as receiver,
        Api(tmp_path / "hookmq", BLOCKS[0], webhook(receiver.url(), "on_session_subscribed")) as api,
    ):
        found = re.search(r"```sh\nmosquitto_sub (.*)\n```", PAGE)
        assert found
        arguments = shlex.split(found[1])
        process = await asyncio.create_subprocess_exec(
            *(command("mosquitto_sub"), *arguments, "-p", str(api.port), "-C", "2"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await receiver.wait_for(lambda requests: requests)
            event = {"type": shown["event"], "timestamp": shown["timestamp"], "data": shown["data"]}
            assert (await api.post("/api/v2/events", event)).status == 202
            command_line = re.search(r"`hookmq (send-test [^`]+)`", PAGE)
            assert command_line
            assert (await asked(api, *command_line[1].split()))["ok"]
            output, _ = await asyncio.wait_for(process.communicate(), 15)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        first, second = output.decode().splitlines()
        assert first == printed[1]
        assert second.startswith(topic.replace("laser_cutting", "default") + " ")
