"""What one client may do: its token's rules, those of the file, the HTTP server's word, `no_match`.

The first that decides wins. Where there are both rules in the file and an HTTP server to ask, a rule that
denies is enough, and what no rule denies the server decides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from bridge.broker.auth_acl import PUBLISH, Acl, ClientRule, PublishIndex, first
from bridge.broker.auth_topics import Topics
from bridge.broker.hooks import NO_ACL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.broker.client import Client
    from bridge.config.settings import AclCache

CACHED_TOPIC = 1024
"""Characters of the longest topic whose decision is remembered."""


class Decision(NamedTuple):
    """Whether something is allowed, and who says so (EMQX's names of `authz_source`)."""

    allowed: bool
    source: str


UNRULED = Decision(True, NO_ACL)
"""No access rules hold for the client."""
_FILE = (Decision(False, "file"), Decision(True, "file"))
_TOKEN = (Decision(False, "client_info"), Decision(True, "client_info"))
_HTTP = (Decision(False, "http"), Decision(True, "http"))
_NO_MATCH = (Decision(False, "no_match"), Decision(True, "no_match"))

if TYPE_CHECKING:
    Ask = Callable[[Client, str, str], Awaitable[bool]]


class Policy(NamedTuple):
    """What holds for all clients. `ask` is the HTTP server's ACL request: client, action, topic → allowed."""

    acl: Acl
    no_match: bool
    cache: AclCache
    ask: Ask | None
    ruled: bool  # whether a client without rules of its own is to be looked at, at all


class Access:
    """The decisions about one client. `known` are those to publish, by topic, that hold as long as it."""

    __slots__ = ("_answers", "_asked", "_client", "_policy", "_rules", "_varies", "known", "own")

    def __init__(self, policy: Policy, client: Client, own: tuple[ClientRule, ...] | None = None) -> None:
        """`own` are the rules of the client's token; None: it has none."""
        self._policy = policy
        self._client = client
        self.own = own
        # Made when they are needed.
        self._rules: tuple[tuple[ClientRule, ...], PublishIndex] | None = None
        self._varies = any(rule.qos is not None or rule.retain is not None for rule in own or ())
        self.known: dict[str, Decision] = {}
        self._asked: dict[tuple[str, str], tuple[Decision, float]] = {}  # the server's, and until when
        self._answers: dict[tuple[str, str], Decision] = {}  # to the question that is open

    def decide(self, action: str, topic: str, qos: int = 0, retain: bool = False) -> Decision | None:
        """The decision; None: the server is to be asked first (`ask`). A `topic` to subscribe is a filter."""
        decision = self._decided(action, topic, qos, retain)
        if decision is None:
            return self._answer(action, topic)
        if action == PUBLISH and not self._varies and len(topic) <= CACHED_TOPIC:
            if len(self.known) >= self._policy.cache.max_size:
                self.known.clear()
            if self._policy.cache.enable:
                self.known[topic] = decision
        return decision

    def _decided(self, action: str, topic: str, qos: int, retain: bool) -> Decision | None:
        client = self._client
        policy = self._policy
        if self.own is not None:
            verdict = first(self.own, action, topic, qos, retain)
            if verdict is not None:
                return _TOKEN[verdict]
        if self._rules is None:
            self._rules = policy.acl.rules_for(client)
        rules, index = self._rules
        verdict = index.first(topic) if action == PUBLISH else first(rules, action, topic)
        if verdict is False or (verdict is True and policy.ask is None):
            return _FILE[verdict]
        if policy.ask is None:
            return _NO_MATCH[policy.no_match] if policy.ruled else UNRULED
        return None

    # -- the server's word -------------------------------------------------------------------------------

    def _answer(self, action: str, topic: str) -> Decision | None:
        key = (action, topic)
        answer = self._answers.get(key)
        if answer is not None:
            return answer
        found = self._asked.get(key)
        if found is not None:
            if found[1] > time.monotonic():
                return found[0]
            del self._asked[key]
        return None

    async def ask(self, action: str, topics: list[str]) -> None:
        """Ask the server about all of them; what it does not answer is denied. Then `decide` knows."""
        policy = self._policy
        assert policy.ask is not None  # noqa: S101
        until = time.monotonic() + policy.cache.ttl
        for topic in topics:
            decision = _HTTP[await policy.ask(self._client, action, topic)]
            self._answers[action, topic] = decision
            if policy.cache.enable and policy.cache.ttl and len(topic) <= CACHED_TOPIC:
                if len(self._asked) >= policy.cache.max_size:
                    self._asked.clear()
                self._asked[action, topic] = (decision, until)

    def answered(self) -> None:
        """The question is settled; from now on only what is cached is known."""
        self._answers.clear()

    def expire(self) -> None:
        """The client's token has expired: nothing is allowed any more."""
        self.own = (ClientRule("pubsub", Topics(False, True)),)
        self._varies = False
        self.known.clear()
