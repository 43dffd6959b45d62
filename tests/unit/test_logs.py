"""Logs: what a line looks like, where it goes, and that it never grows without bound."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from bridge import logs
from bridge.config.settings import Log, Rotation

log = logging.getLogger("bridge.test")


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    for handler in handlers:  # pytest's own: `configure` would close them
        logger.removeHandler(handler)
    yield
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(level)


def to_file(folder: Path, **keys: object) -> Path:
    """Log there; the file."""
    logs.configure(Log.model_validate({"to": ("file",), "dir": folder / "a" / "b", **keys}))
    return folder / "a" / "b" / "hookmq.log"


def test_text_is_one_line(tmp_path: Path) -> None:
    path = to_file(tmp_path)
    log.warning("client %s", "a\nforged\x1b[2J\u2028")
    (line,) = path.read_text().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING client a\\nforged\\x1b\[2J\\u2028", line
    )


def test_json(tmp_path: Path) -> None:
    path = to_file(tmp_path, formatter="json")
    log.warning("client %s", 'a\n"é\u2028')
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("a fault")
    log.debug("not at this level")
    first, second = path.read_bytes().splitlines()
    line = json.loads(first)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {"level": "warn", "msg": 'client a\n"é\u2028', "logger": "bridge.test"}
    fault = json.loads(second)
    assert (fault["level"], fault["msg"]) == ("error", "a fault")
    assert fault["exception"].endswith("ValueError: x")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rotation(tmp_path: Path, count: int) -> None:
    path = to_file(tmp_path, rotation=Rotation(size=1024, count=count))
    for number in range(200):
        log.info("line %d %s", number, "x" * 50)
    names = {found.name for found in path.parent.iterdir()}
    assert names == {"hookmq.log", *(f"hookmq.log.{n + 1}" for n in range(count))}
    assert all(found.stat().st_size <= 1024 for found in path.parent.iterdir())
    assert "line 199" in path.read_text()


def test_a_log_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a minute, and no traceback: nothing else fails for it."""
    path = to_file(tmp_path)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.FileHandler)
    handler.stream.close()
    handler.stream = open("/dev/full", "a")  # noqa: SIM115
    for _ in range(3):
        log.error("lost")
    said = capsys.readouterr().err
    assert said == "hookmq: the log cannot be written: [Errno 28] No space left on device\n"
    with pytest.raises(OSError, match="28"):
        handler.stream.close()
    handler.stream = path.open("a")
    with pytest.raises(logs.LogError, match=r"^log\.dir, log\.file: cannot write .*: Not a directory$"):
        to_file(path)


def test_syslog(tmp_path: Path) -> None:
    """A datagram with facility, level and name; time and level are not told twice."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(5)
        handler = logs._SyslogHandler(
            address=str(tmp_path / "log"), facility=logging.handlers.SysLogHandler.LOG_DAEMON
        )
        handler.ident = f"hookmq[{os.getpid()}]: "
        handler.setFormatter(logs._formatter("syslog", "text"))
        logger = logging.getLogger()
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        log.warning("a\nb")
        assert server.recv(1024) == f"<28>hookmq[{os.getpid()}]: a\\nb\0".encode()  # daemon.warning


def test_the_journal_has_the_level_of_each_line() -> None:
    """sd-daemon(3)."""
    form = logs._JournalFormatter("%(message)s")
    record = logging.LogRecord("n", logging.WARNING, "", 0, "a\nb", (), None)
    assert form.format(record) == "<4>a\\nb"
    try:
        raise ValueError("x")
    except ValueError as error:
        fault = logging.LogRecord(
            "n", logging.ERROR, "", 0, "f", (), (type(error), error, error.__traceback__)
        )
    lines = form.format(fault).splitlines()
    assert lines[0] == "<3>f"
    assert lines[-1] == "<3>ValueError: x"
    assert all(line.startswith("<3>") for line in lines)
