"""Who may connect: the authenticators in their order, before any session is touched.

1. A verified client certificate, where `mqtt.peer_cert_as_username` makes it the user: that is proof enough.
2. `auth.password`: a user that is known there is decided there.
3. `auth.jwt`: a password that is a token is decided there.
4. `auth.http_auth`: the server decides on all that is left.

Where nothing is configured that could decide, and for a client without a user name, `allow_anonymous` does;
but a server that is configured is asked about every client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal

from bridge.broker.auth_access import Access, Policy
from bridge.broker.auth_acl import PUBLISH
from bridge.broker.auth_hashes import HashPool, Remembered
from bridge.broker.auth_passwords import Passwords
from bridge.broker.auth_throttle import Throttle
from bridge.broker.client import Client
from bridge.broker.hooks import ACCEPT, Hooks
from bridge.mqtt.packets import Connect
from bridge.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from bridge.broker.auth_http import HttpAuth
    from bridge.broker.auth_jwt import Tokens

log = logging.getLogger(__name__)

_FAILURES = (ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED)


class Memory:
    """What outlives a reload: the threads for hashes, which passwords were right, who failed how often."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.remembered = Remembered(loop.time)
        self.throttle = Throttle(loop.time)
        self.pool = HashPool(loop, self.remembered, failing=self.throttle.failing)
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
        """Do it beside the loop's other work."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Nobody is waiting any more."""
        for task in self._tasks:
            task.cancel()
        self.pool.close()


class Authentication(Hooks):
    """Asks the authenticators one after the other, and gives an accepted client its access rules.

    A verdict that takes time (a hash, the server, an address that has to wait) comes as a task.
    """

    def __init__(
        self,
        *,
        allow_anonymous: bool,
        users: Mapping[str, bytes],
        policy: Policy | None = None,
        tokens: Tokens | None = None,
        http: HttpAuth | None = None,
        memory: Memory | None = None,
        certificates: Literal["disabled", "cn", "dn"] = "disabled",
    ) -> None:
        """`memory` is needed where anything may take time: hashes, a server, failures that slow down."""
        self._allow_anonymous = allow_anonymous
        self._memory = memory
        self._passwords = None
        if users:
            remembered = memory.remembered if memory is not None else Remembered(lambda: 0.0)
            self._passwords = Passwords(users, memory.pool if memory is not None else None, remembered)
        self._tokens = tokens
        self._http = http
        self._asks = http is not None and http.authenticates
        self._certificates = certificates
        self._policy = policy

    def on_connect(self, client: Client, connect: Connect) -> int | Awaitable[int]:
        memory = self._memory
        if memory is None:
            verdict = self._verdict(client, connect)
            return self._admitted(client, connect, verdict) if isinstance(verdict, int) else verdict
        if memory.throttle.slows(client.peerhost) and not self._known(client, connect):
            wait = memory.throttle.wait(client.peerhost)
            if wait is None:
                client.anonymous = not client.username
                return ReasonCode.CONNECTION_RATE_EXCEEDED
            if wait:
                return memory.run(self._later(client, connect, wait))
        verdict = self._verdict(client, connect)
        if not isinstance(verdict, int):
            return memory.run(self._settle(client, connect, verdict))
        return self._admitted(client, connect, verdict)

    def _known(self, client: Client, connect: Connect) -> bool:
        return self._passwords is not None and self._passwords.known(client, connect)

    async def _later(self, client: Client, connect: Connect, wait: float) -> int:
        await asyncio.sleep(wait)
        return await self._settle(client, connect, self._verdict(client, connect))

    async def _settle(self, client: Client, connect: Connect, verdict: int | Awaitable[int]) -> int:
        code = verdict if isinstance(verdict, int) else await verdict
        admitted = self._admitted(client, connect, code)
        return admitted if isinstance(admitted, int) else await admitted

    # -- the authenticators ------------------------------------------------------------------------------

    def _verdict(self, client: Client, connect: Connect) -> int | Awaitable[int]:
        if self._certified(client):
            client.anonymous = False
            return self._server(client, connect) if self._asks else ACCEPT
        if not client.username and connect.password is None:
            if not self._allow_anonymous:
                return ReasonCode.NOT_AUTHORIZED
            return self._server(client, connect) if self._asks else ACCEPT
        if self._passwords is None and self._tokens is None and not self._asks and self._allow_anonymous:
            return ACCEPT
        client.anonymous = not client.username
        others = self._tokens is not None or self._asks
        if self._passwords is not None and client.username:
            verdict = self._passwords.check(client, connect, last=not others)
            if verdict is not None:
                return verdict
        if self._tokens is not None:
            code = self._tokens.check(client, connect)
            if code is not None:
                client.anonymous = False
                return code
        if self._asks:
            return self._server(client, connect)
        if not client.username:
            return ACCEPT if self._allow_anonymous else ReasonCode.NOT_AUTHORIZED
        if self._passwords is not None:
            return self._passwords.refuse(client, connect)
        return ReasonCode.BAD_USER_NAME_OR_PASSWORD

    def _certified(self, client: Client) -> bool:
        certificate = client.certificate
        if certificate is None or self._certificates == "disabled":
            return False
        return bool(certificate.cn if self._certificates == "cn" else certificate.dn)

    def _server(self, client: Client, connect: Connect) -> Awaitable[int]:
        assert self._http is not None  # noqa: S101
        return self._http.authenticate(client, connect)

    # -- access ------------------------------------------------------------------------------------------

    def _admitted(self, client: Client, connect: Connect, code: int) -> int | Awaitable[int]:
        """What follows the verdict: failures are counted, an accepted client gets its rules, its will is
        looked at.
        """
        if code:
            if self._memory is not None and code in _FAILURES and not client.anonymous:
                self._memory.throttle.failed(client.peerhost)
            return code
        if self._http is not None and self._http.knows_superusers:
            return self._superuser(client, connect)
        return self._will(client, connect)

    async def _superuser(self, client: Client, connect: Connect) -> int:
        assert self._http is not None  # noqa: S101
        if not client.superuser and await self._http.is_superuser(client, connect):
            client.superuser = True
        code = self._will(client, connect)
        return code if isinstance(code, int) else await code

    def _will(self, client: Client, connect: Connect) -> int | Awaitable[int]:
        self.rule(client)
        will = connect.will
        access = client.access
        if will is None or access is None:
            return ACCEPT
        decision = access.decide(PUBLISH, will.topic, will.qos, will.retain)
        if decision is None:
            return self._ask_will(access, will.topic)
        return ACCEPT if decision.allowed else ReasonCode.NOT_AUTHORIZED

    async def _ask_will(self, access: Access, topic: str) -> int:
        await access.ask(PUBLISH, [topic])
        decision = access.decide(PUBLISH, topic)
        access.answered()
        return ACCEPT if decision is not None and decision.allowed else ReasonCode.NOT_AUTHORIZED

    def rule(self, client: Client) -> None:
        """Give the client the rules that hold for it now; those of its token it keeps."""
        own = client.access.own if client.access is not None else None
        policy = self._policy
        if client.superuser or policy is None or not (policy.ruled or own is not None):
            client.access = None
        else:
            client.access = Access(policy, client, own)
