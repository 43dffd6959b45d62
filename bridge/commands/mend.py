"""What changes something: `replay`, `send-test`, `enable`, `disable`, `reload`, `dead replay`, `purge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.commands.link import ask
from bridge.commands.output import block, print_json, progress_bar
from bridge.commands.times import clock, took
from bridge.terminal import escape


def _sent(found: dict[str, Any]) -> str:
    notes = [f"{found['taken']:,} events are sent once more"]
    if found["under_way"]:
        notes.append(f"{found['under_way']:,} are being sent anyway")
    if found["gone"]:
        notes.append(f"{found['gone']:,} are no longer there")
    return ", ".join(notes)


def replay(store: Path, *, json: bool, **args: Any) -> None:
    """Events of a time once more. Raises Failed."""
    with progress_bar("replay", quiet=json) as told:
        found: dict[str, Any] = ask(store, "replay", told, **args).result
    if json:
        print_json(found)
        return
    print(f"{found['endpoint']}: {_sent(found)}")
    if found["kept_since"]:
        print(f"settled events are kept since about {clock(found['kept_since'])} (sqlite.retention)")


def dead_replay(store: Path, *, json: bool, **args: Any) -> None:
    """Dead letters once more. Raises Failed."""
    with progress_bar("dead letters", quiet=json) as told:
        found: dict[str, Any] = ask(store, "dead.replay", told, **args).result
    print_json(found) if json else print(_sent(found))


def dead_purge(store: Path, *, json: bool, **args: Any) -> None:
    """Delete dead letters. Raises Failed."""
    with progress_bar("purge", quiet=json) as told:
        found: dict[str, Any] = ask(store, "dead.purge", told, **args).result
    print_json(found) if json else print(f"{found['purged']:,} dead letters deleted")


def switch(store: Path, *, json: bool, on: bool, endpoint: str | None) -> None:
    """Switch an endpoint on or off. Raises Failed."""
    found: dict[str, Any] = ask(store, "enable" if on else "disable", endpoint=endpoint).result
    if json:
        print_json(found)
    else:
        was = "" if found["changed"] else "was already "
        print(f"{escape(found['endpoint'])}: {was}{'on' if on else 'off'}")


def reload(store: Path, *, json: bool) -> bool:
    """Have the configuration read again; whether it was taken up. Raises Failed."""
    found: dict[str, Any] = ask(store, "reload").result
    if json:
        print_json(found)
        return bool(found["applied"])
    for line in (*found["errors"], *found["warnings"], *found["changes"]):
        print(escape(line))
    if not found["applied"]:
        print("nothing was changed")
    return bool(found["applied"])


def send_test(store: Path, *, json: bool, endpoint: str | None, event: str) -> bool:
    """A test request; whether the endpoint took it. Raises Failed."""
    found: dict[str, Any] = ask(store, "send-test", endpoint=endpoint, event=event).result
    if json:
        print_json(found)
        return bool(found["ok"])
    print(f"to {found['endpoint']} at {found['address'] or 'no connection'}:")
    print(block(found["request"]))
    print()
    print(block(found["body"]))
    print()
    if found["response"]:
        print(f"answered after {took(found['took_ms'])}:")
        print(block(found["response"]))
        if found["response_body"]:
            print()
            print(block(found["response_body"]))
    if not found["ok"]:
        print(f"failed after {took(found['took_ms'])}: {block(found['error'], '')}")
    return bool(found["ok"])
