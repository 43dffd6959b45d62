"""Sends damaged sessions to a listener: `python -m tests.long.fuzzer KIND PORT SEED`.

KIND is tcp, ssl, ws or wss. Sessions are made beforehand and sent several times, each time in other pieces,
over blocking sockets, so that the broker and not the fuzzer has the work. Goes on until its standard input
ends, then prints what it did as JSON.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator

from tests.integration.websocket_client import BINARY, frame, request
from tests.long.mutations import Maker

THREADS = 8
POOL = 50
"""Sessions that are made beforehand, for each thread."""
TIMES = 20
"""How often each is sent, on average, until another takes its place."""
PATIENCE_S = 5.0
"""How long the broker may leave a session unread; it may well leave it so for ever."""
_RESET = struct.pack("ii", 1, 0)


class Fuzzer:
    """One session after another. `stalled` are those that the broker read no further."""

    def __init__(self, kind: str, port: int, seed: str) -> None:
        self.kind = kind
        self.port = port
        self.stopped = False
        self.random = random.Random(seed)
        self.maker = Maker(seed)
        self.connections = self.stalled = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def run(self) -> None:
        """One connection after another, until it is stopped."""
        rng = self.random
        pool = [self.maker.session() for _ in range(POOL)]
        while not self.stopped:
            at = rng.randrange(POOL)
            if rng.random() < 1 / TIMES:
                pool[at] = self.maker.session()
            try:
                self._one(pool[at])
            except TimeoutError:
                self.stalled += 1
            except OSError:  # the broker has had enough of it
                pass

    def _one(self, data: bytes) -> None:
        rng = self.random
        with self._opened() as sock:
            self.connections += 1
            for piece in self._pieces(self._framed(data)):
                sock.sendall(piece)
            kind = rng.random()
            if kind < 0.6:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                deadline = time.monotonic() + rng.choice((0.01, 0.2))
                sock.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    while sock.recv(65536) and time.monotonic() < deadline:
                        pass
            elif kind < 0.8:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _opened(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.kind in ("ssl", "wss") and self.random.random() > 0.02:
            try:
                return self._context.wrap_socket(sock)
            except BaseException:
                sock.close()
                raise
        return sock

    def _framed(self, data: bytes) -> bytes:
        """As it is, or as WebSocket frames behind a request for an upgrade; a few of either are damaged."""
        if self.kind not in ("ws", "wss"):
            return data
        rng = self.random
        head = request()
        if rng.random() < 0.03:
            head = self.maker.random.choice(
                (
                    self._flipped(head),
                    head[: rng.randrange(len(head))],
                    b"x" * 20_000,
                    head[:-2] + b"X: y\r\n" * 5000,
                )
            )
        parts = [head]
        size = rng.choice((50, 500, 5000, 100_000)) if rng.random() < 0.95 else 3
        fragments = rng.random() < 0.2
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        for number, piece in enumerate(pieces):
            if fragments:
                opcode = BINARY if number == 0 else 0
                parts.append(frame(piece, opcode, fin=number == len(pieces) - 1))
            else:
                parts.append(frame(piece))
            if rng.random() < 0.01:
                parts.append(self._odd_frame(piece))
        return b"".join(parts)

    def _odd_frame(self, payload: bytes) -> bytes:
        rng = self.random
        kind = rng.randrange(8)
        if kind == 0:  # it looks compressed (RFC 7692)
            return frame(payload, rsv=4)
        if kind == 1:
            return frame(payload[:125], 9)
        if kind == 2:
            return frame(b"", rng.choice((0, BINARY, 9, 10)))
        if kind == 3:
            return frame(payload, rng.randrange(16), fin=rng.random() < 0.5)
        if kind == 4:
            return frame(payload, key=None)
        if kind == 5:
            return b"\x82\xff" + rng.randbytes(12)
        return self._flipped(frame(payload)) if kind == 6 else frame(payload[:125], 8)

    def _flipped(self, data: bytes) -> bytes:
        out = bytearray(data)
        out[self.random.randrange(len(out))] ^= 1 << self.random.randrange(8)
        return bytes(out)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        rng = self.random
        kind = rng.random()
        if kind < 0.7:
            yield data
            return
        if kind < 0.73:  # byte by byte, for a while
            for at in range(min(len(data), 300)):
                yield data[at : at + 1]
            data = data[300:]
        while data:
            length = rng.choice((1, 7, 100, 5000, len(data)))
            yield data[:length]
            data = data[length:]


def main(kind: str, port: int, seed: str) -> None:
    """Fuzz until standard input ends, and print the sums."""
    fuzzers = [Fuzzer(kind, port, f"{seed}-{kind}-{number}") for number in range(THREADS)]
    threads = [threading.Thread(target=fuzzer.run) for fuzzer in fuzzers]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    for fuzzer in fuzzers:
        fuzzer.stopped = True
    for thread in threads:
        thread.join()
    names = ("connections", "stalled")
    print(json.dumps({name: sum(getattr(fuzzer, name) for fuzzer in fuzzers) for name in names}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
