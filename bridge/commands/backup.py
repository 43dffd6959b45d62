"""`hookmq backup` and `hookmq restore`: the store's file copied, and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.commands.link import Failed
from bridge.commands.output import print_json, progress_bar
from bridge.commands.times import size
from bridge.journal.backup import Copied, Told
from bridge.journal.backup import backup as copy_out
from bridge.journal.backup import restore as copy_in
from bridge.journal.store import StoreError
from bridge.terminal import escape


def _told(show: Any) -> Told:
    return lambda done, total: show({"done": done, "total": total})


def _result(copied: Copied, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"path": str(path), "bytes": copied.size, "store": copied.store_id}
    if copied.aside is not None:
        found["before"] = str(copied.aside)
    return found


def backup(store: Path, target: Path, *, force: bool, json: bool) -> None:
    """Copy the store. Raises Failed."""
    try:
        with progress_bar("backup", quiet=json) as show:
            copied = copy_out(store, target, replace=force, told=_told(show))
    except StoreError as error:
        raise Failed(str(error)) from None
    if json:
        print_json(_result(copied, target))
    else:
        print(f"{escape(str(target))}: {size(copied.size)}, complete and checked")


def restore(store: Path, copy: Path, *, json: bool) -> None:
    """Put a copy in the store's place. Raises Failed."""
    try:
        with progress_bar("restore", quiet=json) as show:
            copied = copy_in(copy, store, told=_told(show))
    except StoreError as error:
        raise Failed(str(error)) from None
    if json:
        print_json(_result(copied, store))
        return
    print(f"{escape(str(store))}: restored, {size(copied.size)}")
    if copied.aside is not None:
        print(f"the store that was there is {escape(str(copied.aside))}")
