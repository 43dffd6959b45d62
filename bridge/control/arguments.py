"""The arguments of the commands, as they come over the socket."""

from __future__ import annotations

import re
from typing import Any, TypeVar, get_args

import msgspec

from bridge.control.server import Refused
from bridge.delivery.retry import ErrorKind
from bridge.events.event import BY_HOOK_NAME, EventType
from bridge.events.names import find, matching
from bridge.journal.attempt_store import Filter

MAX_LIMIT = 10_000
_ID = re.compile(r"(?:msg_([0-9a-f]{12})_)?([0-9a-f]{16})")
_KINDS: tuple[str, ...] = get_args(ErrorKind)

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


def event_type(text: str) -> EventType:
    """`on_message_publish`, `message_publish`, `message.publish` or `$events/…`. Raises Refused."""
    found = find(text)
    if found is None:
        raise Refused(f"no event is called {text!r}; there are {', '.join(BY_HOOK_NAME)}")
    return found


def type_pattern(text: str) -> str:
    """The name of a type, a hook's event or a business event's, or a pattern of names. Raises Refused."""
    if not re.fullmatch(r"[A-Za-z0-9_.*?!\[\]$/-]{1,128}", text.strip()):
        raise Refused(
            f"{text[:200]!r} is no type of event, expected one such as work_order.* or client.connack"
        )
    if text.strip().lower().startswith("on_") and not matching(text):
        event_type(text)  # nobody means a business event by it
    return text


def sequence(text: str, store_id: str) -> int:
    """The sequence of a webhook-id. Raises Refused."""
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise Refused(f"{text!r} is no id of an event, expected a webhook-id: msg_{store_id}_ and 16 digits")
    if match[1] is not None and match[1] != store_id:
        raise Refused(f"{text} is an event of another store, not of {store_id}")
    seq = int(match[2], 16)
    if seq >= 1 << 63:
        raise Refused(f"{text} is the id of a test request, which is no event")
    return seq


def log_filter(args: LogArgs, store_id: str) -> Filter:
    """Which attempts `log` asks for. Raises Refused."""
    ok: bool | None = None
    kind: str | None = None
    status: tuple[int, int] | None = None
    if args.status is not None:
        text = args.status.strip().lower()
        if text in ("ok", "success"):
            ok = True
        elif text in ("failed", "failure", "error"):
            ok = False
        elif text in _KINDS:
            kind = text
        elif re.fullmatch(r"[1-5]xx", text):
            status = (int(text[0]) * 100, int(text[0]) * 100 + 99)
        elif re.fullmatch(r"\d{3}", text):
            status = (int(text), int(text))
        else:
            raise Refused(
                f"no status is called {args.status!r}; there are 503, 5xx, ok, failed, {', '.join(_KINDS)}"
            )
    event, wanted = args.event, args.id
    if event is not None and wanted is None and _ID.fullmatch(event.strip()):
        event, wanted = None, event
    return Filter(
        endpoint=args.endpoint,
        type=None if event is None else type_pattern(event),
        seq=None if wanted is None else sequence(wanted, store_id),
        ok=ok,
        kind=kind,
        status=status,
        since=args.since,
        until=args.until,
    )
