"""`hookmq demo`: events within seconds, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("ended_by", ["seconds", "ctrl-c"])
def test_demo(ended_by: str, tmp_path: Path) -> None:
    arguments = ["--seconds", "3"] if ended_by == "seconds" else []
    folder = tmp_path / "tmp"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "HOOKMQ_WEBHOOK__URL": "http://192.0.2.1/"}
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
        with process:
            try:
                assert process.stdout is not None
                said = ""
                if ended_by == "ctrl-c":
                    while not all(
                        f'"from_client_id":"{client}"' in said for client in ("press-1", "robot-2")
                    ):
                        line = process.stdout.readline()
                        assert line, f"it ended: {(tmp_path / 'errors').read_text()}"
                        said += line
                    process.send_signal(signal.SIGINT)
                said += process.stdout.read()
                process.wait(20)
            finally:
                process.kill()
        errors.seek(0)
        assert (process.returncode, errors.read()) == (0, "")
    bodies = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    for client in ("press-1", "robot-2"):
        # Messages may overtake lifecycle events on another connection; those of one client keep their order.
        actions = [body["action"] for body in bodies if body.get("clientid") == client]
        assert actions == ["client_connack", "client_disconnected"]
        assert any(body.get("from_client_id") == client for body in bodies)
    published = sum(body["action"] == "message_publish" for body in bodies)
    match = re.search(r"The devices sent (\d+) messages; (\d+) requests", said)
    assert match, said
    assert (int(match[1]), int(match[2])) == (published, len(bodies))
    assert list(folder.iterdir()) == []
    port = re.search(r"mqtt://127\.0\.0\.1:(\d+)", said)
    assert port
    listening = Path("/proc/net/tcp")
    if listening.exists():
        assert not re.search(
            rf"^ *\d+: \w+:{int(port[1]):04X} \w+:0000 0A", listening.read_text(), re.MULTILINE
        )
