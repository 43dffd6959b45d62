"""Password hashes: checked in a few threads, never in the loop, and what was found good is remembered.

One check takes tens of milliseconds of a core. So the addresses take turns for the threads: first those that
have not failed lately, and while there are more of them than can be served soon the latest comes first, since
the others give up. Who has waited longer than any client does is told that we are busy. The same question
asked by many at once is answered once, and a password that was right before is known by its digest:
keyed with a random key of this process, over the user, the stored hash and the password. Nothing of it is a
password, and a changed hash is another question.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import argon2
import bcrypt

from bridge.broker.addresses import network_of

BCRYPT_BYTES = 72
"""What bcrypt looks at of a password; the hashes of other programs were made of so much."""
REMEMBERED = 65_536
"""Passwords that are known to be right."""
REMEMBERED_S = 7 * 86400.0
"""How long after its last use a password is known to be right: devices stay connected for days."""
MAX_WAITING = 20_000
"""Questions that wait for a thread."""
MAX_WAIT_S = 20.0
"""How long a question waits for a thread."""
SOON = 20
"""Questions for each thread that are answered soon enough for their order to be kept: about a second's."""


class Busy(Exception):
    """Too many passwords wait to be checked."""


def is_hash(text: str) -> bool:
    """Whether a stored secret is a hash and no password: it says so by its beginning."""
    return text.startswith(("$argon2id$", "$argon2i$", "$argon2d$", "$2a$", "$2b$", "$2y$"))


def verify(stored: str, password: bytes) -> bool:
    """Whether the password fits the hash. Slow: tens of milliseconds, without the interpreter's lock."""
    try:
        if stored.startswith("$2"):
            return bcrypt.checkpw(password[:BCRYPT_BYTES], stored.encode())
        return argon2.PasswordHasher().verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, ValueError):
        return False


class Remembered:
    """Which passwords are known to be right. Bounded in number and time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def digest(self, user: str, stored: bytes, password: bytes) -> bytes:
        """What stands for this user with this password against this stored secret."""
        name = user.encode("utf-8", "surrogatepass")
        parts = (name, stored, password)
        message = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
        return hmac.digest(self._key, message, "sha256")

    def has(self, digest: bytes) -> bool:
        """Whether it was right before; then it is for longer."""
        until = self._until.get(digest)
        if until is None:
            return False
        now = self._clock()
        if until < now:
            del self._until[digest]
            return False
        self.add(digest)
        return True

    def add(self, digest: bytes) -> None:
        """It is right."""
        self._until[digest] = self._clock() + REMEMBERED_S
        self._until.move_to_end(digest)
        if len(self._until) > REMEMBERED:
            self._until.popitem(last=False)


class _Question(NamedTuple):
    digest: bytes
    stored: str
    password: bytes


class HashPool:
    """The threads, and the questions that wait for them, by address."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        remembered: Remembered,
        check: Callable[[str, bytes], bool] = verify,
        *,
        threads: int | None = None,
        failing: Callable[[str], bool] = lambda address: False,
    ) -> None:
        """`failing` tells whether an address has failed lately."""
        self._loop = loop
        self._remembered = remembered
        self._check = check
        self._threads = threads or min(4, max(1, (os.cpu_count() or 2) - 1))
        self._failing = failing
        self._executor: ThreadPoolExecutor | None = None
        self._queues: OrderedDict[str, deque[_Question]] = OrderedDict()
        self._behind: OrderedDict[str, deque[_Question]] = OrderedDict()  # of addresses that have failed
        self._asked: dict[bytes, asyncio.Future[bool]] = {}  # by digest
        self._until: deque[tuple[float, bytes]] = deque()  # loop time up to which a question waits
        self._running: set[bytes] = set()
        self.checks = 0  # hashes computed since the start

    def ask(self, address: str, digest: bytes, stored: str, password: bytes) -> asyncio.Future[bool]:
        """Whether the password fits, which is remembered then. Raises Busy, at once or as the answer.

        `digest` tells this question from all others.
        """
        found = self._asked.get(digest)
        if found is not None:
            return found
        if self._remembered.has(digest):  # the same question was answered while this one was on its way
            known: asyncio.Future[bool] = self._loop.create_future()
            known.set_result(True)
            return known
        if len(self._asked) >= MAX_WAITING:
            raise Busy
        future = self._asked[digest] = self._loop.create_future()
        key = network_of(address)
        queues = self._behind if self._failing(address) else self._queues
        queues.setdefault(key, deque()).append(_Question(digest, stored, password))
        self._until.append((self._loop.time() + MAX_WAIT_S, digest))
        self._next()
        return future

    def _next(self) -> None:
        self._give_up()
        while len(self._running) < self._threads:
            question = self._pick()
            if question is None:
                return
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._threads, "hookmq-password")
            digest = question.digest
            self._running.add(digest)
            self.checks += 1
            running = self._loop.run_in_executor(
                self._executor, self._check, question.stored, question.password
            )
            running.add_done_callback(lambda done, digest=digest: self._done(digest, done))  # type: ignore[misc]

    def _pick(self) -> _Question | None:
        """The next question that still waits for its answer."""
        while True:
            queues = self._queues
            latest = False
            if queues:
                latest = len(queues) > SOON * self._threads
                key = next(reversed(queues) if latest else iter(queues))
                if self._failing(key):  # since it asked
                    earlier = queues.pop(key)
                    earlier.extend(self._behind.get(key, ()))
                    self._behind[key] = earlier
                    continue
            elif self._behind:
                queues = self._behind
                key = next(iter(queues))
            else:
                return None
            queue = queues[key]
            question = queue.popleft()
            if not queue:
                del queues[key]
            else:
                queues.move_to_end(key, last=not latest)  # behind the others
            if question.digest in self._asked and question.digest not in self._running:
                return question

    def _give_up(self) -> None:
        """Answer those that have waited too long."""
        until, now = self._until, self._loop.time()
        while until and until[0][0] < now:
            digest = until.popleft()[1]
            future = self._asked.get(digest)
            if future is None or digest in self._running:
                continue
            del self._asked[digest]
            if not future.done():
                future.set_exception(Busy())
                future.exception()  # whether anybody waits for it or not

    def _done(self, digest: bytes, done: asyncio.Future[bool]) -> None:
        self._running.discard(digest)
        fits = not done.cancelled() and done.exception() is None and done.result()
        if fits:
            self._remembered.add(digest)  # now: whoever asks next finds it
        future = self._asked.pop(digest)
        if not future.done():
            future.set_result(fits)
        self._next()

    def close(self) -> None:
        """Let go of the threads; what waits is not answered."""
        self._queues.clear()
        self._behind.clear()
        for future in self._asked.values():
            future.cancel()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
