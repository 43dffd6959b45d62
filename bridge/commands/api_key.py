"""`hookmq api-key create | list | revoke`: their options, and what they print."""

# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

api_key = typer.Typer(
    help="API keys: Bearer tokens for the HTTP API.", rich_markup_mode=None, no_args_is_help=True
)

Conf = Annotated[
    Path | None,
    typer.Option("--conf", "-c", metavar="FILE", help="The configuration that HookMQ runs with."),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="PATH", help="Its store, a folder or a file, in place of --conf. Default: ./data"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def _run(conf: Path | None, store: Path | None, work: Callable[[Path], None]) -> int:
    from bridge.commands.link import Failed, fail, store_path

    try:
        work(store_path(conf, store))
    except Failed as error:
        return fail(error)
    return 0


def _until(text: str | None) -> int | None:
    """`30d` from now, or a time, as Unix ms."""
    from datetime import datetime

    from bridge.commands.times import later

    if text is None:
        return None
    try:
        return later(text, datetime.now().astimezone())
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--expires") from None


@api_key.command("create", short_help="Make a key and show it, once.")
def create(
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="Whose it is; no two are alike.")],
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            "-s",
            metavar="SCOPE",
            help="What it allows (repeatable): events:write publish endpoints:read endpoints:write admin.",
        ),
    ],
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Its end: 90d, 2027-01-01. Default: none")
    ] = None,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Make a key and show it, once: the store has its hash alone."""
    from bridge.commands.link import ask
    from bridge.commands.output import print_json

    until = _until(expires)

    def work(path: Path) -> None:
        found = ask(path, "api-key.create", name=name, scopes=scope, expires=until).result
        print_json(found) if json else print(found["key"])

    return _run(conf, store, work)


@api_key.command("list", short_help="Show the keys' names, scopes and ends.")
def list_keys(conf: Conf = None, store: Store = None, json: Json = False) -> int:
    """Show the keys' names, scopes and ends; never the keys."""
    from bridge.commands.link import ask
    from bridge.commands.output import Column, print_json, print_table
    from bridge.commands.times import clock

    def work(path: Path) -> None:
        found = ask(path, "api-key.list").result
        if json:
            print_json(found)
        elif not found:
            print("no API keys; hookmq api-key create makes one")
        else:
            print_table(
                [Column("name"), Column("scopes"), Column("created"), Column("expires")],
                [
                    (
                        row["name"],
                        ", ".join(row["scopes"]),
                        clock(row["created"]),
                        ("never" if row["expires"] is None else clock(row["expires"]))
                        + (" (has expired)" if row["expired"] else ""),
                    )
                    for row in found
                ],
            )

    return _run(conf, store, work)


@api_key.command("revoke", short_help="Make a key good for nothing.")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")],
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Make a key good for nothing, at once and for ever."""
    from bridge.commands.link import ask
    from bridge.commands.output import print_json
    from bridge.terminal import escape

    def work(path: Path) -> None:
        found = ask(path, "api-key.revoke", name=name).result
        print_json(found) if json else print(f"{escape(found['name'])}: revoked")

    return _run(conf, store, work)
