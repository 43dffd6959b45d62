"""A broker with an `auth` block: what `App` does with it."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.broker.auth_setup import AuthSetup
from bridge.config.settings import AclRule, Auth, Mqtt
from tests.integration.broker.running import EVERY_EVENT, Running, Start


class Protected:
    """The broker, and what decides in it. `reload` takes up another `auth` block."""

    def __init__(self, running: Running, setup: AuthSetup, auth: Auth, mqtt: Mqtt) -> None:
        self.running = running
        self.setup = setup
        self.mqtt = mqtt
        self.reload(auth)

    def reload(self, auth: Auth) -> None:
        self.auth = auth
        self.authentication = self.setup.build(auth, self.mqtt)
        feed, recorder, *_ = self.running.listening
        self.running.broker.set_hooks([feed, recorder, self.authentication])
        self.setup.apply(self.authentication, auth, self.running.broker)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.running, name)


async def protect(start: Start, *, rules: Any = EVERY_EVENT, **auth: Any) -> Protected:
    """A running broker with this `auth` block; `mqtt` are settings of the other one."""
    mqtt = auth.pop("mqtt", {})
    listeners = auth.pop("listeners", ())
    running = await start(rules=rules, listeners=listeners, **mqtt)
    setup = AuthSetup(asyncio.get_running_loop())
    protected = Protected(running, setup, Auth(**auth), running.broker.settings)
    running.closing.append(setup.close)
    return protected


def rule(permit: str = "allow", action: str = "pubsub", *topics: str, **who: Any) -> AclRule:
    return AclRule(permit=permit, action=action, topics=topics, **who)  # type: ignore[arg-type]
