"""The arguments of the commands, as they come over the socket."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from bridge.delivery import lookup
from bridge.delivery.errors import Refused
from bridge.journal.attempt_store import Filter

MAX_LIMIT = 10_000

Args = TypeVar("Args", bound="NoArgs")


class NoArgs(msgspec.Struct, forbid_unknown_fields=True):
    """For a command without any."""


class LogArgs(NoArgs):
    """`log`. Times are Unix ms. `event` is a type, a pattern of types, or the id of an event."""

    endpoint: str | None = None
    event: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None
    id: str | None = None
    limit: int = 50
    full: bool = False


class DeadArgs(NoArgs):
    """The commands on dead letters: of one endpoint or all, these ids or all."""

    endpoint: str | None = None
    ids: list[str] | None = None
    limit: int = 50


class ReplayArgs(NoArgs):
    """`replay`. Times are Unix ms, `until` exclusive."""

    since: int
    endpoint: str | None = None
    until: int | None = None
    filter: str | None = None


class SendTestArgs(NoArgs):
    """`send-test`."""

    endpoint: str | None = None
    event: str = "on_message_publish"


class EndpointArgs(NoArgs):
    """A command on one endpoint."""

    endpoint: str | None = None


def read(kind: type[Args], args: dict[str, Any]) -> Args:
    """The arguments of a command. Raises Refused."""
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"not an argument of this command: {error}") from None


def log_filter(args: LogArgs, store_id: str) -> Filter:
    """Which attempts `log` asks for. Raises Refused."""
    return lookup.attempts(
        store_id,
        endpoint=args.endpoint,
        event=args.event,
        status=args.status,
        since=args.since,
        until=args.until,
        id=args.id,
    )
