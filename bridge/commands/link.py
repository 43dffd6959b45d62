"""Finds the running process for a command, gives it the command, and says plainly what goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.control.client import Client, CommandError, NotRunning
from bridge.control.protocol import ControlError
from bridge.terminal import escape

Told = Callable[[dict[str, Any]], None]


class Failed(Exception):
    """The command cannot be done; the text is one plain sentence."""


def store_path(conf: Path | None, store: Path | None) -> Path:
    """The store's file: named, or of a configuration, or `./data/hookmq.db`. Raises Failed."""
    if store is not None and conf is not None:
        raise Failed("give --conf or --store, not both")
    if conf is None:
        path = store if store is not None else Path("data")
        path = path if path.suffix == ".db" else path / "hookmq.db"
    else:
        from bridge.config.load import load  # noqa: PLC0415  needs a third of a second

        try:
            report = load(conf, os.environ)
        except OSError as error:
            raise Failed(f"{conf}: cannot be read: {error.strerror or error}") from None
        if report.settings is None:
            found = "\n".join(escape(str(error)) for error in report.errors) or f"{conf}: has errors"
            raise Failed(f"{found} (or name the store with --store)")
        path = report.settings.store_path
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise Failed(f"{path}: {error}") from None


class Answer:
    """A whole answer: the rows, and the result."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.result: Any = None


def ask(store: Path, command: str, told: Told | None = None, **args: Any) -> Answer:
    """Give a command and collect its answer; `told` gets the progress. Raises Failed."""
    answer = Answer()
    try:
        with Client(store) as client:
            for line in client.call(command, **args):
                if "rows" in line:
                    answer.rows += line["rows"]
                elif "progress" in line and told is not None:
                    told(line["progress"])
                elif "result" in line:
                    answer.result = line["result"]
    except NotRunning as error:
        raise Failed(f"{error} (hookmq start runs one; --conf or --store says which)") from None
    except (ControlError, CommandError) as error:
        raise Failed(str(error)) from None
    return answer


def fail(error: Failed) -> int:
    """Print why; the exit code."""
    print(f"hookmq: {escape(str(error))}", file=sys.stderr)
    return 1
