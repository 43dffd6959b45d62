"""Who may connect: the configured user names and passwords (`auth.password`, `auth.allow_anonymous`)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from bridge.broker.client import Client
from bridge.broker.hooks import ACCEPT, Hooks
from bridge.mqtt.packets import Connect
from bridge.mqtt.reasons import ReasonCode


class PasswordAuth(Hooks):
    """Checks CONNECT's user name and password.

    As in NanoMQ: without any configured user and with `allow_anonymous` everybody is let in; a client that
    gives no user name is let in by `allow_anonymous` alone; one that gives a user name must be known.
    """

    def __init__(self, users: Mapping[str, bytes], *, allow_anonymous: bool) -> None:
        self._users = dict(users)
        self._allow_anonymous = allow_anonymous

    def on_connect(self, client: Client, connect: Connect) -> int:
        if not connect.username:
            return ACCEPT if self._allow_anonymous else ReasonCode.NOT_AUTHORIZED
        if not self._users and self._allow_anonymous:
            return ACCEPT
        client.anonymous = False
        expected = self._users.get(connect.username)
        given = connect.password or b""
        # An unknown user costs the same comparison as a known one.
        same = hmac.compare_digest(given, expected if expected is not None else b"\x00" + given)
        return ACCEPT if expected is not None and same else ReasonCode.BAD_USER_NAME_OR_PASSWORD
