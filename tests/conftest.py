"""Fixtures of general use, and the rule about what a machine may lack.

A test whose peer is missing is skipped with one line that says so. Under HOOKMQ_CI=1 (set by .ci/run) every
skip is a failure: CI has all peers, so CI skips nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
IN_CI = os.environ.get("HOOKMQ_CI") == "1"
# A `hookmq` that compiles all its sources takes twice as long to start, and the tests start hundreds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Debian keeps servers such as mosquitto where a plain user's PATH does not look.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    return _forbid_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    return _forbid_skip(report)


def _forbid_skip(report: Any) -> Any:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"HOOKMQ_CI=1: nothing may be skipped, but: {reason}"
    return report


@pytest.fixture(scope="session")
def command() -> Callable[[str], str]:
    """`command("mosquitto_pub")`: the path of a program, or the test is skipped."""

    def find(name: str) -> str:
        path = shutil.which(name, path=SEARCH_PATH)
        if path is None:
            pytest.skip(f"{name} is not installed here")
        return path

    return find


@pytest.fixture(scope="session")
def peer_js(command: Callable[[str], str]) -> list[str]:
    """The command that runs tests/acceptance/peer.js (append its JSON argument), or the test is skipped."""
    node = command("node")
    folder = ROOT / "tests" / "acceptance"
    for library in ("mqtt", "mqtt4"):
        if not (folder / "node_modules" / library).is_dir():
            pytest.skip("MQTT.js is not installed here (`make peers`)")
    return [node, str(folder / "peer.js")]


@pytest.fixture
def free_port() -> Callable[[], int]:
    """`free_port()`: a TCP port of 127.0.0.1 that nobody has now, for programs that cannot take port 0."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find
