"""What people ask for by name or number: events, types, statuses, the ids of events."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from bridge.delivery.errors import Refused
from bridge.delivery.retry import ErrorKind
from bridge.delivery.sample import business_event
from bridge.events.event import BY_HOOK_NAME, Event, EventType
from bridge.events.names import find, matching
from bridge.journal.attempt_store import Filter

MAX_NAME = 128
_ID = re.compile(r"(?:msg_([0-9a-f]{12})_)?([0-9a-f]{16})")
_TYPE = re.compile(r"[A-Za-z0-9_.*?!\[\]$/-]{1,128}")
_KINDS: tuple[str, ...] = get_args(ErrorKind)


def event_type(text: str) -> EventType:
    """`on_message_publish`, `message_publish`, `message.publish` or `$events/…`. Raises Refused."""
    found = find(text)
    if found is None:
        raise Refused(f"no event is called {text[:MAX_NAME]!r}; there are {', '.join(BY_HOOK_NAME)}")
    return found


def type_pattern(text: str) -> str:
    """The name of a type, a hook's or one of business events, or a pattern of names. Raises Refused."""
    if not _TYPE.fullmatch(text.strip()):
        raise Refused(
            f"{text[:MAX_NAME]!r} is no type of event, expected one such as work_order.* or client.connack"
        )
    if text.strip().lower().startswith("on_") and not matching(text):
        event_type(text)  # nobody means a business event by it
    return text


def fits(name: str, pattern: str) -> bool:
    """Whether a type of business events is one of a pattern's."""
    return fnmatchcase(name, pattern)


def identifier(seq: int, store_id: str) -> str:
    """The webhook-id of an event."""
    return f"msg_{store_id}_{seq:016x}"


def is_identifier(text: str) -> bool:
    """Whether it looks like a webhook-id."""
    return _ID.fullmatch(text.strip()) is not None


def sequence(text: str, store_id: str) -> int:
    """The sequence of a webhook-id. Raises Refused."""
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise Refused(
            f"{text[:MAX_NAME]!r} is no id of an event, expected a webhook-id: msg_{store_id}_ and 16 digits"
        )
    if match[1] is not None and match[1] != store_id:
        raise Refused(f"{text} is an event of another store, not of {store_id}")
    seq = int(match[2], 16)
    if seq >= 1 << 63:
        raise Refused(f"{text} is the id of a test request, which is no event")
    return seq


def attempts(
    store_id: str,
    *,
    endpoint: str | None = None,
    event: str | None = None,
    status: str | None = None,
    since: int | None = None,
    until: int | None = None,
    id: str | None = None,
    client: str | None = None,
    topic: str | None = None,
    latest: bool = False,
) -> Filter:
    """Which attempts are asked for. `event` is a type, a pattern of types, or the id of an event; `status` a
    status, `5xx`, `ok`, `failed` or a kind of error; `topic` a topic filter that the caller has looked at.
    Times are Unix ms. Raises Refused."""
    ok: bool | None = None
    kind: str | None = None
    codes: tuple[int, int] | None = None
    if status is not None:
        text = status.strip().lower()
        if text in ("ok", "success"):
            ok = True
        elif text in ("failed", "failure", "error"):
            ok = False
        elif text in _KINDS:
            kind = text
        elif re.fullmatch(r"[1-5]xx", text):
            codes = (int(text[0]) * 100, int(text[0]) * 100 + 99)
        elif re.fullmatch(r"[0-9]{3}", text):
            codes = (int(text), int(text))
        else:
            raise Refused(
                f"no status is called {status[:MAX_NAME]!r}; there are 503, 5xx, ok, failed,"
                f" {', '.join(_KINDS)}"
            )
    if event is not None and id is None and is_identifier(event):
        event, id = None, event
    return Filter(
        endpoint=endpoint,
        type=None if event is None else type_pattern(event),
        seq=None if id is None else sequence(id, store_id),
        ok=ok,
        kind=kind,
        status=codes,
        since=since,
        until=until,
        client=client,
        topic=topic,
        latest=latest,
    )


def sample(text: str, types: Path | None, lane: int, now_ms: int) -> EventType | Event:
    """What a test request is about: a hook's event, or the example of a type of the catalogue. `types` is the
    file with types of one's own. Raises Refused."""
    from bridge.events import catalogue  # noqa: PLC0415  its library takes a while to load
    from bridge.events.js_json import dumps  # noqa: PLC0415

    if find(text) is None and "." in text:
        try:
            known = catalogue.load(types)
        except catalogue.CatalogueError as error:
            raise Refused(str(error)) from None
        found = known.get(text)
        if found is not None:
            return business_event(found.name, dumps(found.example), lane, now_ms)
        raise Refused(f"no event is called {text[:MAX_NAME]!r}, and no type of business events")
    return event_type(text)
