"""`hookmq listen`: what it answers, what it prints, and what it does not let a sender do."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from bridge.listen import MAX_BODY_BYTES, MAX_HEAD_BYTES

TOO_LONG = f"Content-Length: {MAX_BODY_BYTES + 1}\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Running:
    """A `hookmq listen` with its port; `said()` is what it printed."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, port: int) -> None:
        self.process = process
        self.port = port
        self._output = output

    def said(self) -> str:
        return self._output.read_text()

    def wait_for(self, reached: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + 20
        while not reached(said := self.said()):
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        return said

    def send(self, data: bytes, *, end: bytes = b"") -> bytes:
        """The answer up to `end`, or to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
            connection.sendall(data)
            answer = b""
            while not (end and answer.endswith(end)):
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
            return answer


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[subprocess.Popen[bytes]] = []
    files: list[IO[bytes]] = []

    def start(*arguments: str) -> Running:
        output = tmp_path / f"output-{len(started)}"
        files.append(output.open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "listen", "--port", "0", *arguments],
            stdout=files[-1],
            stderr=subprocess.PIPE,
        )
        started.append(process)
        running = Running(process, output, 0)
        said = running.wait_for(lambda text: text.endswith("\n"))
        match = re.search(r":(\d+)/", said)
        assert match, said
        running.port = int(match[1])
        return running

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for file in files:
        file.close()


def post(body: bytes, *headers: str, target: str = "/") -> bytes:
    head = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def test_a_request_is_answered_and_printed(listen: Callable[..., Running]) -> None:
    running = listen()
    body = b'{"ts":1706703724960,"payload":"caf\xc3\xa9"}'
    answer = running.send(
        post(body, "content-type: application/json", "webhook-id: msg_1", "X-Other: y", target="/in?a=b"),
        end=OK,
    )
    assert answer == OK
    said = running.wait_for(lambda text: body.decode() in text)
    block = said.split("\n", 1)[1]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d POST /in\?a=b  200  (<1|\d+) ms\n"
        r"  content-type: application/json\n  webhook-id: msg_1\n" + re.escape(body.decode()) + "\n",
        block,
    )
    running.process.send_signal(signal.SIGINT)
    _, errors = running.process.communicate(timeout=20)
    assert (running.process.returncode, errors) == (0, b"")


def test_keep_alive_pipelining_and_chunks(listen: Callable[..., Running]) -> None:
    running = listen("--count", "3")
    chunked = (
        b"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert running.send(post(b"one") + chunked + post(b"three"), end=OK * 3) == OK * 3
    assert running.process.wait(20) == 0  # --count
    said = running.said()
    assert said.index("\none\n") < said.index("\nabcde\n") < said.index("\nthree\n")


def test_a_request_in_single_bytes(listen: Callable[..., Running]) -> None:
    running = listen()
    with socket.create_connection(("127.0.0.1", running.port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"slowly", "webhook-id: msg_2", target="/drop/by/drop"):
            connection.sendall(bytes([byte]))
        assert connection.recv(1000) == OK
    said = running.wait_for(lambda text: "slowly" in text)
    assert "POST /drop/by/drop  200" in said


def test_status_and_delay(listen: Callable[..., Running]) -> None:
    running = listen("--status", "503", "--delay", "300ms")
    began = time.monotonic()
    late = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    assert running.send(post(b"a") + post(b"b"), end=late * 2) == late * 2
    assert time.monotonic() - began >= 0.3
    said = running.wait_for(lambda text: "\nb\n" in text)
    assert re.search(r"503  3\d\d ms", said)
    assert said.index("\na\n") < said.index("\nb\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (post(b"fine") + b"\x00\x01\x02\r\n\r\n", 400),
        (f"POST / HTTP/1.1\r\n{TOO_LONG}\r\n".encode(), 413),
        (f"POST / HTTP/1.1\r\nExpect: 100-continue\r\n{TOO_LONG}\r\n".encode(), 413),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{MAX_BODY_BYTES + 1:x}\r\n".encode()
            + bytes(MAX_BODY_BYTES + 1),
            413,
        ),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 400_000), 431),
    ],
)
def test_what_is_refused(listen: Callable[..., Running], request_bytes: bytes, status: int) -> None:
    running = listen()
    answer = running.send(request_bytes)
    assert f"HTTP/1.1 {status} ".encode() in answer
    assert answer.endswith(b"Connection: close\r\n\r\n")
    running.wait_for(lambda text: f"  {status}  " in text)
    # Others are served as before.
    assert running.send(post(b"after"), end=OK) == OK


def test_expect_continue(listen: Callable[..., Running]) -> None:
    running = listen()
    with socket.create_connection(("127.0.0.1", running.port), 20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert connection.recv(1000) == OK


@pytest.mark.parametrize("version", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nConnection: close\r\n"])
def test_the_connection_ends_where_the_sender_wants_it(
    listen: Callable[..., Running], version: bytes
) -> None:
    answer = listen().send(b"POST / " + version + b"Content-Length: 1\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in answer


def test_no_escape_sequence_reaches_the_terminal(listen: Callable[..., Running]) -> None:
    running = listen()
    evil = b"\x1b]0;owned\x07\x1b[2J\r\n12:00:00 POST /forged  200  1 ms\x9b31m\xff"
    running.send(post(evil, "webhook-id: a\x1b[31mb"), end=OK)
    running.send(post(b'{"a":"\xc2\x9b31m"}'), end=OK)
    said = running.wait_for(lambda text: "u009b" in text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
    assert "\n12:00:00 POST /forged" not in said


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "listen", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"hookmq: Port {port} on 127.0.0.1 is taken: stop the program that uses it, or choose "
        "another with --port (0 for any free one).\n"
    )


def test_a_reader_that_goes_away() -> None:
    """`hookmq listen | head -1` ends quietly at the first request that finds nobody reading."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "listen", "--port", "0"], stdout=writing, stderr=subprocess.PIPE
    ) as process:
        try:
            os.close(writing)
            with os.fdopen(reading, "rb") as output:
                match = re.search(rb":(\d+)/", output.readline())
            assert match
            Running(process, Path(), int(match[1])).send(post(b"x"), end=OK)
            _, errors = process.communicate(timeout=20)
            assert (process.returncode, errors) == (0, b"")
        finally:
            process.kill()


@contextmanager
def senders(port: int, count: int) -> Iterator[list[socket.socket]]:
    connections = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def test_thousands_of_requests_keep_their_order(listen: Callable[..., Running]) -> None:
    running = listen("--quiet-headers")
    rounds, depth = 20, 50
    with senders(running.port, 4) as connections:
        for turn in range(rounds):
            for name, connection in enumerate(connections):
                connection.sendall(b"".join(post(b"%d-%d" % (name, turn * depth + n)) for n in range(depth)))
            for connection in connections:
                wanted = len(OK) * depth
                while wanted:
                    wanted -= len(connection.recv(wanted))
    total = rounds * depth
    said = running.wait_for(lambda text: text.count("\n") >= 1 + 2 * 4 * total)
    for name in range(4):
        numbers = [int(number) for number in re.findall(rf"^{name}-(\d+)$", said, re.MULTILINE)]
        assert numbers == list(range(total))


# -- --verify (what it says of each signature: tests/unit/test_verify.py) -----------------------------------

MES = hmac.new(b"s3cret", b"{}", hashlib.sha256).hexdigest()


def test_verify_prints_a_line_and_the_exit_code_tells(listen: Callable[..., Running]) -> None:
    good = listen("--verify", "other", "--verify", "s3cret", "--count", "1")
    good.send(post(b"{}", f"X-Mes-Signature: {MES}"), end=OK)
    assert good.process.wait(20) == 0
    assert good.said().endswith("\n{}\n  signature ok: x-mes-signature (hex, secret 2 of 2)\n")
    bad = listen("--verify", "s3cret", "--count", "4")
    bad.send(post(b"{}", f"X-Mes-Signature: {MES}"), end=OK)
    bad.send(post(b"{} ", f"X-Mes-Signature: {MES}"), end=OK)
    bad.send(post(b"{}"), end=OK)
    refused = bad.send(f"POST / HTTP/1.1\r\n{TOO_LONG}\r\n".encode())
    assert b" 413 " in refused
    assert bad.process.wait(20) == 1
    said = bad.said()
    assert said.count("  signature ") == 3  # and no word on a request that was refused
    assert "it fits the body without the white space around it: the body was changed" in said
    assert (
        "\n{}\n  signature missing: no webhook-signature, x-mes-signature or x-eryxon-signature header\n"
        in said
    )


def test_verify_from_the_environment(listen: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKMQ_VERIFY", "other s3cret")
    running = listen("--count", "1")
    running.send(post(b"{}", f"X-Mes-Signature: {MES}"), end=OK)
    assert running.process.wait(20) == 0
    assert "signature ok: x-mes-signature (hex, secret 2 of 2)" in running.said()


def test_no_escape_sequence_of_a_signature_reaches_the_terminal(listen: Callable[..., Running]) -> None:
    running = listen("--verify", "s3cret", "--quiet-headers", "--verify-header", "X-Own")
    running.send(post(b"{}", "webhook-signature: v1,\u009b", f"X-Own: \u009b31m{MES}"), end=OK)
    said = running.wait_for(lambda text: "signature ok" in text)
    assert "signature ok: x-own (\\u00c2\\u009b31mhex)" in said.replace("Â", "\\u00c2")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--verify", "whsec_hunter2"], "secret 1: what follows whsec_ is not base64."),
        (["--verify", "s", "--verify-template", "{id}"], "has no {body}"),
        (["--verify-header", "X-Own"], "it checks nothing without --verify SECRET."),
    ],
)
def test_verify_that_cannot_work(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "listen", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "hunter2" not in done.stderr
    assert done.stderr.count("\n") == 1
