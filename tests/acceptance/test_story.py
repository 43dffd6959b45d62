"""docs/story.md: its commands and its configuration, run as they stand there, but for a shorter time."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.events import catalogue
from scripts.mes.shop import CELLS, run
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "story.md").read_text()
(CONF,) = re.findall(r"```hocon\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
STAYS = ("hookmq start", "hookmq listen", "mosquitto_sub")
SECONDS = 3
PORTS = ("1883", "8081", "9001", "9002")


class Scene:
    """A folder with its own ports, and the terminals of the page."""

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self.folder = folder
        self.ports = ports
        self.exports: list[str] = []
        tools = folder / "bin"
        tools.mkdir()
        for name, arguments in (("hookmq", "-m bridge"), ("python", "")):
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
            tool.chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HOOKMQ_")}
        path = os.pathsep.join([str(tools), clean["PATH"]])
        self.env = clean | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def here(self, text: str) -> str:
        """Of the page, with the ports of this run and its time."""
        for given, ours in self.ports.items():
            text = re.sub(rf"\b{given}\b", ours, text)
        broker, api = self.ports["1883"], self.ports["8081"]
        where = f"--api http://127.0.0.1:{api} --port {broker}"
        return text.replace("scripts.mes --seconds 60", f"scripts.mes --seconds {SECONDS} {where}")

    @contextmanager
    def stays(self, name: str, command: str) -> Iterator[Path]:
        """A terminal in which something keeps running; its output."""
        output = self.folder / f"{name}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["sh", "-c", f"{self._exported()}exec {command}"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield output
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ends(self, command: str) -> str:
        """A command that ends well; what it printed."""
        done = subprocess.run(
            ["sh", "-c", self._exported() + command],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def _exported(self) -> str:
        return "".join(line + "\n" for line in self.exports)


def until(condition: Callable[[], object], what: str, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.02)


def told(output: str) -> Counter[str]:
    """The events that the MES has printed, by type."""
    return Counter(re.findall(r"(?m)^20\S+Z  (?:REST|MQTT)  (\S+)", output))


@pytest.mark.timeout(120)
def test_the_page(tmp_path: Path, command: Callable[[str], str], free_port: Callable[[], int]) -> None:
    command("mosquitto_sub")
    ports: dict[str, str] = {}
    while len(set(ports.values())) < len(PORTS):
        ports = {name: str(free_port()) for name in PORTS}
    scene = Scene(tmp_path, ports)
    (tmp_path / "shop.conf").write_text(scene.here(CONF))
    outputs: dict[str, Path] = {}
    printed: dict[str, str] = {}
    with ExitStack() as terminals:
        for block in COMMANDS:
            for line in block.strip().splitlines():
                if line.startswith("export "):
                    # A value is made once, and not by each command after it.
                    scene.ends(scene.here(f"{line}\nenv > {shlex.quote(str(tmp_path / 'env'))}"))
                    for name in re.findall(r"(\w+)=", line.partition("$(")[0]):
                        (value,) = re.findall(rf"(?m)^{name}=(.*)$", (tmp_path / "env").read_text())
                        scene.exports.append(f"export {name}={shlex.quote(value)}")
                elif line.startswith(STAYS):
                    name = f"{len(outputs)} {' '.join(line.split()[:2])}"
                    outputs[name] = terminals.enter_context(scene.stays(name, scene.here(line)))
                    ready = {"hookmq start": "ready", "hookmq listen": "http://"}.get(name[2:])
                    until(lambda: not ready or ready in outputs[name].read_text(), f"{line} is ready")  # noqa: B023
                else:
                    printed[line] = scene.ends(scene.here(line))
                    if "scripts.mes" in line:
                        _all_have_come(outputs, told(printed[line]))
    _what_was_printed(printed)
    log = outputs["0 hookmq start"].read_text()
    assert "WARNING" not in log, log
    assert "ERROR" not in log, log


def _all_have_come(outputs: dict[str, Path], sent: Counter[str]) -> None:
    assert sent.keys() >= {"work_order.completed", "operation.completed", "quality.inspection_complete"}
    for name, wanted, member in (
        ("1 hookmq listen", ("work_order.", "inventory."), "type"),
        ("2 hookmq listen", ("quality.", "operation.completed"), "event"),
    ):
        expected = Counter({kind: count for kind, count in sent.items() if kind.startswith(wanted)})
        text = outputs[name].read_text

        def came(member: str = member, text: Callable[[], str] = text) -> Counter[str]:
            return Counter(re.findall(rf'"{member}":"([a-z_.]+)","timestamp"', text()))

        until(lambda came=came, expected=expected: came() == expected, f"{name} has them all")
        assert len(re.findall("signature ok", text())) == expected.total()
    until(
        lambda: len(outputs["3 mosquitto_sub -h"].read_text().splitlines()) == sent.total(), "the namespace"
    )
    lines = [line.split(" ", 1) for line in outputs["3 mosquitto_sub -h"].read_text().splitlines()]
    for topic, payload in lines:
        kind = json.loads(payload)["event"]
        cell = topic.split("/")[3]
        assert topic == f"acme/chicago/fabrication/{cell}/{kind.replace('.', '/', 1)}"
        assert (cell in CELLS) == kind.startswith("operation.")
    assert Counter(json.loads(payload)["event"] for _, payload in lines) == sent


def _what_was_printed(printed: dict[str, str]) -> None:
    (mes,) = [text for line, text in printed.items() if "scripts.mes" in line]
    sent = told(mes)
    by_mqtt = sum(count for kind, count in sent.items() if kind.startswith("operation."))
    summary = f"{sent.total()} events: {sent.total() - by_mqtt} by REST, {by_mqtt} by MQTT"
    assert mes.splitlines()[-1] == summary
    shown = {
        line.partition(" --conf")[0]: text for line, text in printed.items() if line.startswith("hookmq")
    }
    assert f"{by_mqtt} messages became business events" in shown["hookmq status"]
    orders = sum(count for kind, count in sent.items() if kind.startswith("work_order."))
    rows = shown['hookmq log --event "work_order.*"'].splitlines()[2:]
    # To the ERP and to the namespace, each at its first attempt.
    assert len(rows) == 2 * orders
    assert "x-eryxon-signature: sha256=" in shown["hookmq log --endpoint quality --limit 5 --full"].lower()
    uns = shown["hookmq log --endpoint mqtt_publishers.uns --event operation.completed"]
    assert len(uns.splitlines()) == 2 + sent["operation.completed"]


# -- the shop ------------------------------------------------------------------------------------------------

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(10))
def test_the_shop(seed: int) -> None:
    """Same seed, same day; each event is right by the catalogue, and each work order goes to its end."""
    happened = run(60, seed, START)
    assert happened == run(60, seed, START)
    assert happened != run(60, seed + 1, START)
    known = catalogue.load()
    for one in happened:
        assert known.check(one.type, one.data) == []
        assert (one.cell in CELLS) == one.type.startswith("operation.")
    assert [one.at for one in happened] == sorted(one.at for one in happened)
    assert happened[-1].at == pytest.approx(60)
    assert len({one.id for one in happened}) == len(happened) > 100
    counts = Counter(one.type for one in happened)
    assert counts["work_order.created"] == counts["work_order.completed"] == 15
    assert counts["operation.started"] == counts["operation.completed"]
    steps: dict[str, list[str]] = {}
    for one in happened:
        (inner,) = [part for name, part in one.data.items() if name != "changes"]
        order = inner.get("workOrderId", inner["id"])
        steps.setdefault(order, []).append(one.type)
    for types in steps.values():
        assert types[0] == "work_order.created"
        assert types[-1] == "work_order.completed"


def test_every_type_of_machshop_happens() -> None:
    names = {one.type for seed in range(10) for one in run(60, seed, START)}
    known = catalogue.load()
    assert names == {name for name in known if "MachShop" in known[name].sources}


def test_it_needs_a_key(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.mes"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "MES_KEY"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "MES_KEY is not set" in done.stderr) == (2, True)
