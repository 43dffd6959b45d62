"""The command line as a user meets it: what it prints, and its exit codes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONF = """\
webhook {{
  url = "http://127.0.0.1:9/"
  headers.authorization = "Bearer s3cret-token"
  events = [ {{ event = on_message_publish }} ]
}}
listeners.tcp {{ bind = "127.0.0.1:{port}" }}
sqlite {{ mounted_file_path = "{folder}" }}
"""


def hookmq(*arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture
def conf(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str = CONF, port: int = 0) -> Path:
        path = tmp_path / "nanomq.conf"
        path.write_text(text.format(port=port, folder=tmp_path / "data") if "{port}" in text else text)
        return path

    return write


@pytest.mark.parametrize("arguments", [("version",), ("--version",)])
def test_version(arguments: tuple[str, ...]) -> None:
    done = hookmq(*arguments)
    assert re.fullmatch(r"hookmq \d+\.\d+\.\d+\n", done.stdout)
    assert done.returncode == 0


def test_help_names_every_command() -> None:
    done = hookmq("--help")
    for command in ("start", "check", "listen", "demo", "version"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
    assert hookmq().stdout == done.stdout


def test_help_loads_nothing_heavy() -> None:
    """This is what keeps `hookmq --help` and completion fast (0.2 s where loading all takes 0.6 s)."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, bridge.cli; print(*{name.split('.')[0] for name in sys.modules})",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {
        "rich",
        "pydantic",
        "pyhocon",
        "uvloop",
        "asyncio",
        "httptools",
        "msgspec",
        "gmpy2",
        "sqlite3",
        "ssl",
    }
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("strat",), "strat"),
        (("start",), "--conf"),
        (("start", "--conf"), "--conf"),
        (("check", "--conf", "x", "y"), "y"),
        (("listen", "--prot", "1"), "--prot"),
        (("listen", "--port", "http"), "--port"),
        (("listen", "--port", "70000"), "70000"),
        (("listen", "--status", "99"), "99"),
        (("listen", "--delay", "soon"), "soon"),
        (("demo", "--seconds", "-1"), "-1"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    done = hookmq(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_of_a_good_file(conf: Callable[..., Path]) -> None:
    path = conf()
    done = hookmq("check", "--conf", str(path))
    assert (done.returncode, done.stderr) == (0, f"{path}: 0 errors, 0 warnings\n")
    assert "http://127.0.0.1:9/" in done.stdout
    assert "s3cret-token" not in done.stdout


def test_check_of_a_bad_file(conf: Callable[..., Path]) -> None:
    path = conf(
        'webhook {\n  url = "ftp://x"\n  pool_size = many\n'
        "  events = [{event = on_message_publish}]\n}\nnonsense = 1\n"
    )
    done = hookmq("check", "--conf", str(path))
    assert done.returncode == 1
    assert f"{path}:2: error: webhook.url: " in done.stderr
    assert f"{path}:3: error: webhook.pool_size: " in done.stderr
    assert f"{path}:6: warning: nonsense: " in done.stderr
    assert f"{path}: 2 errors, 1 warning\n" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_message_cannot_reach_the_terminal_raw(conf: Callable[..., Path]) -> None:
    path = conf('webhook { url = "http://x/", events = [ { event = "\x1b[31mred" } ] }\n')
    done = hookmq("check", "--conf", str(path))
    assert done.returncode == 1
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("command", ["start", "check"])
@pytest.mark.parametrize("kind", ["missing", "folder", "bytes"])
def test_a_file_that_cannot_be_read(command: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "nanomq.conf"
    if kind == "folder":
        path.mkdir()
    elif kind == "bytes":
        path.write_bytes(b"\xff\xfe\x00{")
    done = hookmq(command, "--conf", str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(str(path))
    assert "Traceback" not in done.stderr


def test_start_tells_all_errors(conf: Callable[..., Path]) -> None:
    path = conf('webhook {\n  url = "ftp://x"\n  pool_size = many\n}\n')
    done = hookmq("start", "--conf", str(path))
    assert done.returncode == 1
    assert f"{path}:2: error: " in done.stderr
    assert f"{path}:3: error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_start_on_a_port_that_is_taken(conf: Callable[..., Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = hookmq("start", "--conf", str(conf(port=port)))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("hookmq: ")
    assert str(port) in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_and_stop(conf: Callable[..., Path], number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "start", "--conf", str(conf())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        while "store" not in said:
            line = process.stdout.readline()
            assert line, f"it ended: {process.communicate()[1]}"
            said += line
        assert "mqtt://127.0.0.1:" in said
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.wait()
