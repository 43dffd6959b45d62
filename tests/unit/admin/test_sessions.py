"""When a session ends, and how many there are, with a clock of the test's own."""

from __future__ import annotations

from bridge.admin.scopes import ALL, Principal
from bridge.admin.sessions import IDLE_S, LONGEST_S, MAX_OF_ONE, MAX_SESSIONS, Sessions


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_that_nobody_uses_ends() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    token, session = sessions.begin(Principal("admin", ALL))
    clock.now += IDLE_S - 1
    assert sessions.find(token) is session
    clock.now += IDLE_S - 1  # since it was used last
    sessions.use(session)  # as by one who watches
    clock.now += IDLE_S - 1
    assert session.principal.valid()
    clock.now += 2
    assert not session.principal.valid()
    assert sessions.find(token) is None
    assert len(sessions) == 0
    sessions.use(session)  # which does not bring it back
    assert sessions.find(token) is None


def test_none_lasts_for_ever() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    token, _ = sessions.begin(Principal("admin", ALL))
    for _ in range(int(LONGEST_S / IDLE_S * 2)):
        assert sessions.find(token) is not None
        clock.now += IDLE_S / 2
    clock.now += 1
    assert sessions.find(token) is None


def test_it_is_no_longer_good_than_what_it_was_begun_with() -> None:
    good = [True]
    sessions = Sessions(Clock())
    token, session = sessions.begin(Principal("key", frozenset({"publish"}), lambda: good[0]))
    assert sessions.find(token) is session
    good[0] = False
    assert not session.principal.valid()
    assert sessions.find(token) is None


def test_they_are_bounded_and_the_oldest_ends_first() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    tokens = []
    for number in range(MAX_SESSIONS + 10):
        clock.now += 1
        tokens.append(sessions.begin(Principal(f"key{number}", ALL))[0])
    assert len(sessions) == MAX_SESSIONS
    assert sessions.find(tokens[9]) is None
    assert sessions.find(tokens[10]) is not None
    own = [sessions.begin(Principal("admin", ALL))[0] for _ in range(MAX_OF_ONE + 1)]
    assert sessions.find(own[0]) is None
    assert sessions.find(own[1]) is not None


def test_what_memory_has_is_no_cookie() -> None:
    sessions = Sessions(Clock())
    token, session = sessions.begin(Principal("admin", ALL))
    assert token.encode() not in repr(vars(sessions)).encode()
    assert session.digest.hex() != token
    assert len(token) == 43  # 256 bits
    for other in ("", token[:-1], token + "x", "x" * 10_000, "\ud800"):
        assert sessions.find(other) is None
    assert sessions.find(token) is session
    assert session.csrf != token
