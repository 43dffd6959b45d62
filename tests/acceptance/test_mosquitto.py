"""mosquitto's clients, mosquitto_pub and mosquitto_sub, and mosquitto itself as a bridge to HookMQ."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.scene import (
    ALL_EVENTS,
    TUTORIAL,
    Scene,
    arrival,
    connack,
    delivered,
    departure,
    disconnected,
    publish,
    run,
    subscribed,
    terminated,
)
from tests.integration.process import until

VERSIONS = {"mqttv31": 3, "mqttv311": 4, "mqttv5": 5}


class Mosquitto:
    """mosquitto_pub and mosquitto_sub against one port."""

    def __init__(self, port: int, command: Callable[[str], str]) -> None:
        self.pub_command = [command("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(port)]
        self.sub_command = [command("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(port)]

    async def pub(self, *arguments: str, stdin: bytes = b"") -> None:
        assert await run(*self.pub_command, *arguments, stdin=stdin) == (0, "")

    async def sub(self, *arguments: str) -> list[str]:
        """To its end (`-C`, `-W`, `-E`); what it printed, in lines."""
        code, output = await run(*self.sub_command, *arguments)
        assert code == 0, output
        return output.splitlines()

    @asynccontextmanager
    async def subscriber(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A mosquitto_sub that runs while the block does."""
        process = await asyncio.create_subprocess_exec(
            *self.sub_command, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def lines(process: asyncio.subprocess.Process) -> list[str]:
    """What a subscriber printed, once it has ended by itself."""
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0, output
    return output.decode().splitlines()


@pytest.fixture
def peer(command: Callable[[str], str]) -> Callable[[Scene], Mosquitto]:
    command("mosquitto_pub")
    return lambda scene: Mosquitto(scene.port, command)


async def test_publish_and_subscribe(tmp_path: Path, peer: Callable[[Scene], Mosquitto]) -> None:
    """Every version at every QoS, both ways, and all twelve events of it."""

    async def act(scene: Scene, version: str, qos: int) -> dict[str, list[str]]:
        number = VERSIONS[version]
        sub, pub, topic = f"sub_{version}_{qos}", f"pub_{version}_{qos}", f"t/{version}/{qos}"
        clients = peer(scene)
        async with clients.subscriber(
            *("-V", version, "-i", sub, "-q", str(qos), "-t", topic, "-C", "2"), *("-F", "%t %q %r %p")
        ) as running:
            await scene.seen("session_subscribed", clientid=sub)
            for payload in ("Hello World!", "Grüße"):
                await clients.pub(
                    *("-V", version, "-i", pub, "-q", str(qos), "-t", topic, "-m", payload, "-u", "u"),
                    *("-P", "p"),
                )
            assert await lines(running) == [f"{topic} {qos} 0 Hello World!", f"{topic} {qos} 0 Grüße"]
        u = {"username": "u"}
        return {
            sub: [
                *arrival(sub, number),
                *subscribed(sub, topic, qos),
                *delivered(sub, pub, topic, "Hello World!", qos, sender_name="u"),
                *delivered(sub, pub, topic, "Grüße", qos, sender_name="u"),
                *departure(sub),
            ],
            pub: [
                *arrival(pub, number, 60, "u"),
                publish(pub, topic, "Hello World!", qos, **u),
                *departure(pub, **u),
                *arrival(pub, number, 60, "u"),
                publish(pub, topic, "Grüße", qos, **u),
                *departure(pub, **u),
            ],
        }

    async with Scene(tmp_path, *ALL_EVENTS) as scene:
        parts = await asyncio.gather(*(act(scene, version, qos) for version in VERSIONS for qos in (0, 1, 2)))
        stories = {name: story for part in parts for name, story in part.items()}
        for name, story in stories.items():
            if name.startswith("sub") and not name.endswith("0"):
                # mosquitto_sub leaves as soon as it has sent its second PUBACK, or its second PUBREC.
                assert story[-3].startswith('{"action":"message_acked"')
        await scene.expect(stories)


async def test_retained_and_will(tmp_path: Path, peer: Callable[[Scene], Mosquitto]) -> None:
    """-r, -n, --retained-only, and the will of a client that is killed."""

    async def act(scene: Scene, version: str) -> dict[str, list[str]]:
        number = VERSIONS[version]
        pub, sub, victim = f"pub_{version}", f"sub_{version}", f"victim_{version}"
        clients = peer(scene)
        kept, will = f"kept/{version}", f"will/{version}"
        who = ("-V", version)
        await clients.pub(*who, "-i", pub, "-q", "1", "-r", "-t", kept, "-m", "retained")
        retained = (*who, "-i", sub, "-t", kept, "--retained-only", "-W", "1", "-F", "%r %p")
        assert await clients.sub(*retained, "-C", "1") == ["1 retained"]
        await clients.pub(*who, "-i", pub, "-r", "-n", "-t", kept)  # an empty payload deletes it
        async with clients.subscriber(
            *(*who, "-i", victim, "-t", "nothing", "-k", "30"),
            *("--will-topic", will, "--will-payload", "died", "--will-qos", "2", "--will-retain"),
        ) as process:
            await scene.seen("client_connack", clientid=victim)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await scene.seen("client_disconnected", clientid=victim)
        after = await clients.sub(
            *who, "-i", sub, "-q", "2", "-t", will, "-t", kept, "-C", "1", "-F", "%r %p"
        )
        assert after == ["1 died"]
        return {
            pub: [
                connack(pub, number),
                publish(pub, kept, "retained", 1, True),
                disconnected(pub),
                connack(pub, number),
                publish(pub, kept, "", 0, True),
                disconnected(pub),
            ],
            sub: [connack(sub, number), disconnected(sub)] * 2,
            victim: [
                connack(victim, number, 30),
                publish(victim, will, "died", 2, True),
                disconnected(victim, "tcp_closed"),
            ],
        }

    async with Scene(tmp_path, *TUTORIAL) as scene:
        parts = await asyncio.gather(*(act(scene, version) for version in VERSIONS))
        await scene.expect({name: story for part in parts for name, story in part.items()})


async def test_persistent_session(tmp_path: Path, peer: Callable[[Scene], Mosquitto]) -> None:
    """-c and -i (and -x with MQTT 5): what was published meanwhile is there at the return."""

    async def act(scene: Scene, version: str) -> dict[str, list[str]]:
        number = VERSIONS[version]
        sub, pub = f"sub_{version}", f"pub_{version}"
        clients = peer(scene)
        topic = f"q/{version}"
        who = ["-V", version, "-c", "-i", sub, "-q", "1", "-t", topic]
        if number == 5:
            who += ["-x", "3600"]
        assert await clients.sub(*who, "-E") == []
        await scene.seen("client_disconnected", clientid=sub)
        text = "".join(f"line {n}\n" for n in range(20))
        await clients.pub(*("-V", version, "-i", pub, "-q", "2", "-t", topic, "-l"), stdin=text.encode())
        await scene.seen("client_disconnected", clientid=pub)
        # The one that follows is there so that its client does not leave before it has read its SUBACK: it
        # would close with unread data, and such an end is a TCP reset.
        async with clients.subscriber(*who, "-C", "21") as process:
            await scene.seen("session_subscribed", 2, clientid=sub)
            await clients.pub("-V", version, "-i", pub, "-q", "1", "-t", topic, "-m", "last")
            assert await lines(process) == [*text.splitlines(), "last"]
        return {
            sub: [
                connack(sub, number),
                subscribed(sub, topic, 1)[1],
                disconnected(sub),
                connack(sub, number),
                subscribed(sub, topic, 1)[1],
                disconnected(sub),
            ],
            pub: [
                connack(pub, number),
                *(publish(pub, topic, f"line {n}", 2) for n in range(20)),
                disconnected(pub),
                terminated(pub),
                connack(pub, number),
                publish(pub, topic, "last", 1),
                disconnected(pub),
                terminated(pub),
            ],
        }

    async with Scene(tmp_path, *TUTORIAL, "on_session_subscribed", "on_session_terminated") as scene:
        parts = await asyncio.gather(*(act(scene, version) for version in VERSIONS))
        await scene.expect({name: story for part in parts for name, story in part.items()})


async def test_publish_properties(tmp_path: Path, peer: Callable[[Scene], Mosquitto]) -> None:
    """-D publish …: carried to a subscriber, absent from the body, and the expiry is kept."""
    properties = [
        *("-D", "publish", "content-type", "text/plain"),
        *("-D", "publish", "response-topic", "answer/here"),
        *("-D", "publish", "correlation-data", "c-1"),
        *("-D", "publish", "payload-format-indicator", "1"),
        *("-D", "publish", "message-expiry-interval", "60"),
        *("-D", "publish", "user-property", "site", "Köln"),
    ]
    async with Scene(tmp_path, "on_message_publish") as scene:
        clients = peer(scene)
        common = ("-V", "mqttv5", "-i", "pub", "-q", "1", "-r")
        await clients.pub(*common, "-t", "p/full", "-m", "x", *properties)
        await clients.pub(
            *common, "-t", "p/short", "-m", "y", "-D", "publish", "message-expiry-interval", "1"
        )
        (line,) = await clients.sub(
            "-V", "mqttv5", "-t", "p/full", "-C", "1", "-F", "%A|%C|%D|%E|%F|%P|%R|%p"
        )
        alias, content, correlation, expiry, indicator, user, response, payload = line.split("|")
        assert (alias, content, correlation, indicator) == ("", "text/plain", "c-1", "1")
        assert (user, response, payload) == ("site:Köln", "answer/here", "x")
        assert 50 <= int(expiry) <= 60
        await asyncio.sleep(1.1)  # the one thing a test of expiry has to wait for
        kept = await clients.sub("-V", "mqttv5", "-t", "p/#", "--retained-only", "-C", "1", "-F", "%t")
        assert kept == ["p/full"]
        async with clients.subscriber("-V", "mqttv5", "-t", "p/short", "-W", "1") as process:
            output, _ = await asyncio.wait_for(process.communicate(), 10)
            assert output in {b"", b"Timed out\n"}
        await scene.expect(
            {
                "pub": [
                    publish("pub", "p/full", "x", 1, True),
                    publish("pub", "p/short", "y", 1, True),
                ]
            }
        )


async def test_shared_subscriptions(tmp_path: Path, peer: Callable[[Scene], Mosquitto]) -> None:
    """$share/…: each message goes to one member, and each member gets its part."""
    count = 30
    async with Scene(tmp_path, "on_message_delivered", "on_session_subscribed") as scene:
        clients = peer(scene)
        who = ("-V", "mqttv5", "-q", "1", "-t", "$share/group/work/#", "-C", str(count // 3))
        async with (
            clients.subscriber(*who, "-i", "m1") as m1,
            clients.subscriber(*who, "-i", "m2") as m2,
            clients.subscriber(*who, "-i", "m3") as m3,
        ):
            await scene.seen("session_subscribed", 3)
            await clients.pub(
                *("-V", "mqttv311", "-q", "1", "-i", "pub", "-t", "work/x", "-l"),
                stdin="".join(f"{n}\n" for n in range(count)).encode(),
            )
            got = [await lines(member) for member in (m1, m2, m3)]
        assert [len(part) for part in got] == [count // 3] * 3
        assert sorted(int(n) for part in got for n in part) == list(range(count))
        assert all(part == sorted(part, key=int) for part in got)
        await scene.expect(
            {
                name: [
                    subscribed(name, "$share/group/work/#", 1)[1],
                    *(delivered(name, "pub", "work/x", n, 1)[0] for n in part),
                ]
                for name, part in zip(("m1", "m2", "m3"), got, strict=True)
            }
        )


async def test_refused(tmp_path: Path, peer: Callable[[Scene], Mosquitto]) -> None:
    """A wrong password, in the words of mosquitto_pub and of the event."""
    auth = 'auth { allow_anonymous = false, password { "u": "right" } }'
    async with Scene(tmp_path, *TUTORIAL, blocks=[auth]) as scene:
        clients = peer(scene)
        words = {
            "mqttv311": (4, "bad user name or password", "malformed_username_or_password"),
            "mqttv5": (5, "Bad user", "bad_username_or_password"),
        }
        stories = {}
        for version, (number, said, reason) in words.items():
            code, output = await run(
                *clients.pub_command,
                "-V",
                version,
                "-i",
                version,
                "-u",
                "u",
                "-P",
                "no",
                "-t",
                "t",
                "-m",
                "m",
            )
            assert code != 0
            assert said.lower() in output.lower()
            stories[version] = [connack(version, number, username="u", reason=reason)]
        await clients.pub("-V", "mqttv5", "-i", "ok", "-u", "u", "-P", "right", "-t", "t", "-m", "m")
        stories["ok"] = [
            connack("ok", username="u"),
            publish("ok", "t", "m", username="u"),
            disconnected("ok", username="u"),
        ]
        await scene.expect(stories)


# -- mosquitto as a bridge -----------------------------------------------------------------------------------

BRIDGE = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_type all
log_dest stderr
connection hookmq
address 127.0.0.1:{hookmq}
bridge_protocol_version {version}
remote_clientid edge
remote_username edge
remote_password secret
topic plant/# out 2
topic cmd/# in 1
topic # in 0 here/ there/
try_private true
notifications true
notification_topic bridge/edge
cleansession true
restart_timeout 1
keepalive_interval 60
"""


@asynccontextmanager
async def mosquitto_broker(program: str, folder: Path, text: str) -> AsyncIterator[Callable[[], str]]:
    """mosquitto on a configuration; gives its log."""
    conf, log = folder / "mosquitto.conf", folder / "mosquitto.log"
    conf.write_text(text)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(program, "-c", str(conf), stdout=out, stderr=out)
    try:
        await until(lambda: "running" in log.read_text() or process.returncode is not None, "mosquitto runs")
        assert process.returncode is None, log.read_text()
        yield log.read_text
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize(("name", "version"), [("mqttv31", 3), ("mqttv311", 4), ("mqttv50", 5)])
async def test_bridge(
    tmp_path: Path,
    command: Callable[[str], str],
    free_port: Callable[[], int],
    name: str,
    version: int,
) -> None:
    """A mosquitto that bridges to HookMQ: what its clients publish becomes POSTs, and commands go back."""
    program = command("mosquitto")
    port = free_port()
    async with Scene(tmp_path, *TUTORIAL, "on_session_subscribed") as scene:
        text = BRIDGE.format(port=port, hookmq=scene.port, version=name)
        async with mosquitto_broker(program, tmp_path, text) as log:
            try:
                await scene.seen("session_subscribed", 2, clientid="edge")
                local, remote = Mosquitto(port, command), Mosquitto(scene.port, command)
                async with local.subscriber(
                    "-i", "ear", "-t", "cmd/#", "-t", "here/#", "-q", "1", "-C", "2"
                ) as ear:
                    await until(lambda: "Sending SUBACK to ear" in log(), "the subscription")
                    for qos in (0, 1, 2):
                        await local.pub(
                            "-i", "sensor", "-q", str(qos), "-t", f"plant/{qos}", "-m", json.dumps({"n": qos})
                        )
                    await scene.seen("message_publish", 4, from_client_id="edge")
                    await remote.pub("-i", "office", "-q", "1", "-t", "cmd/start", "-m", "go")
                    await remote.pub("-i", "office", "-q", "0", "-t", "there/x", "-m", "mapped")
                    assert sorted(await lines(ear)) == ["go", "mapped"]
            except BaseException as error:
                error.add_note(f"--- mosquitto said ---\n{log()}")
                raise
        await scene.seen("client_disconnected", clientid="edge")
        stories = scene.stories()
        assert await scene.hookmq.stop() == 0
        edge = stories.pop("edge")
        u = {"username": "edge"}
        assert edge[0] == connack("edge", version, username="edge")
        topics = [
            (body["topic"], body["payload"], body["qos"], body["retain"])
            for body in map(json.loads, edge)
            if body["action"] == "message_publish"
        ]
        # The notification says 1 when the bridge is up.
        assert topics[0] == ("bridge/edge", "1", 1, True)
        assert [publish("edge", t, p, q, r, **u) for t, p, q, r in topics[1:4]] == [
            publish("edge", f"plant/{qos}", json.dumps({"n": qos}), qos, **u) for qos in (0, 1, 2)
        ]
        assert edge[-1] == disconnected("edge", username="edge") or "tcp_closed" in edge[-1]
        assert stories == {
            "office": [
                connack("office", 4),
                publish("office", "cmd/start", "go", 1),
                disconnected("office"),
                connack("office", 4),
                publish("office", "there/x", "mapped"),
                disconnected("office"),
            ]
        }
        scene.check_requests()
