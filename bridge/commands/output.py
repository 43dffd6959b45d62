"""Tables, blocks of text, JSON and progress bars. Nothing that came from outside reaches the terminal raw."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from bridge.terminal import escape

WIDE = 1000
"""Columns of what is no terminal: nothing is cut for a file or a pipe."""


def print_json(value: Any) -> None:
    """For scripts: one JSON value."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


class Column:
    """A column of a table: its heading, whether numbers stand in it, whether it may be cut to fit."""

    def __init__(self, name: str, *, right: bool = False, cut: bool = False) -> None:
        self.name = name
        self.right = right
        self.cut = cut


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """A table on standard output, as wide as it needs to be."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis" if column.cut else "fold",
        )
    for row in rows:
        table.add_row(*(Text(escape(str(cell))) for cell in row))
    console = _console()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _console() -> Console:
    tty = sys.stdout.isatty()
    color = tty and not os.environ.get("NO_COLOR")
    return Console(
        width=None if tty else WIDE,
        force_terminal=tty,
        no_color=not color,
        highlight=False,
        emoji=False,
        markup=False,
    )


def block(text: str, indent: str = "    ") -> str:
    """Text of several lines, each escaped and indented."""
    return "\n".join(f"{indent}{escape(line)}" for line in text.split("\n"))


@contextlib.contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what takes the `progress` of a reply; a bar on standard error where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda progress: None
        return
    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")), highlight=False)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn() if what == "purge" else TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None, note="")

        def show(progress: dict[str, Any]) -> None:
            note = f"{progress.get('taken', progress.get('done', 0)):,} events"
            if what in ("backup", "restore"):
                note = f"{progress.get('done', 0) * 4 // 1024:,} MB"
            if progress.get("waiting"):
                note += ", waiting for the endpoint"
            bar.update(
                task, completed=progress.get("done", 0), total=progress.get("total") or None, note=note
            )

        yield show
