"""`hookmq events | status | endpoints | log | dead | replay | send-test | enable | disable | reload |
backup | restore`.

What they need is imported when they run, so that `hookmq --help` answers at once.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bridge.commands.api_key import api_key
from bridge.commands.passwd import passwd

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
Endpoint = Annotated[
    str | None, typer.Option("--endpoint", "-e", metavar="NAME", help="One endpoint; otherwise all.")
]
TheEndpoint = Annotated[
    str | None,
    typer.Option("--endpoint", "-e", metavar="NAME", help="The endpoint; needed where there are several."),
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="webhook-ids of dead letters.")]
All = Annotated[bool, typer.Option("--all", help="All of them, or all of the endpoint.")]

dead = typer.Typer(
    help="Dead letters: events that had their last attempt.", rich_markup_mode=None, no_args_is_help=False
)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(short_help="Show the types of business events.")(events)
    app.command(short_help="Show what the running HookMQ does.")(status)
    app.command(short_help="Show the endpoints and what they get.")(endpoints)
    app.command(short_help="Show attempts: what was sent and what was answered.")(log)
    app.command(short_help="Send settled events once more.")(replay)
    app.command("send-test", short_help="Send a made-up event to an endpoint.")(send_test)
    app.command(short_help="Switch an endpoint on again.")(enable)
    app.command(short_help="Switch an endpoint off; its events wait.")(disable)
    app.command(short_help="Have the configuration read again.")(reload)
    app.command(short_help="Add, change or delete a user in a file of passwords.")(passwd)
    app.command(short_help="Copy the store while HookMQ runs.")(backup)
    app.command(short_help="Put a copy in the store's place.")(restore)
    app.add_typer(dead, name="dead")
    app.add_typer(api_key, name="api-key")


def _when(text: str | None) -> int | None:
    from datetime import datetime

    from bridge.commands.times import moment

    if text is None:
        return None
    try:
        return moment(text, datetime.now().astimezone())
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _run(conf: Path | None, store: Path | None, work: Callable[[Path], None]) -> int:
    from bridge.commands.link import Failed, fail, store_path

    try:
        work(store_path(conf, store))
    except Failed as error:
        return fail(error)
    return 0


def events(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One type, with its schema and an example.")
    ] = None,
    conf: Annotated[
        Path | None,
        typer.Option("--conf", "-c", metavar="FILE", help="A configuration, for the types of its own file."),
    ] = None,
    json: Json = False,
) -> int:
    """Show the catalogue of business events: MachShop's, Eryxon's, and those of events.catalogue."""
    from bridge.commands.link import Failed, fail

    try:
        from bridge.commands import events as shown

        if name is None:
            shown.list_types(conf, json=json)
        else:
            shown.show_type(conf, name, json=json)
    except Failed as error:
        return fail(error)
    return 0


def status(conf: Conf = None, store: Store = None, json: Json = False) -> int:
    """Show what the running HookMQ does: clients, messages, and every endpoint's backlog and rates."""
    from bridge.commands import show

    return _run(conf, store, lambda path: show.status(path, json=json))


def endpoints(conf: Conf = None, store: Store = None, json: Json = False) -> int:
    """Show the endpoints: where they are, and which events they get."""
    from bridge.commands import show

    return _run(conf, store, lambda path: show.endpoints(path, json=json))


def log(
    endpoint: Endpoint = None,
    event: Annotated[
        str | None, typer.Option(metavar="TYPE", help="A type of event: on_message_publish, or an id.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="503, 5xx, ok, failed, timeout, connect, tls, dns, …")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 30m, 2h, 14:30.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The attempts of one event.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10000)] = 50,
    full: Annotated[bool, typer.Option("--full", help="With headers and how the response began.")] = False,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Show the latest attempts: all failures that are kept, and the last successes."""
    from bridge.commands import show

    since_ms, until_ms = _when(since), _when(until)
    return _run(
        conf,
        store,
        lambda path: show.log(
            path,
            json=json,
            endpoint=endpoint,
            event=event,
            status=status,
            since=since_ms,
            until=until_ms,
            id=id,
            limit=limit,
            full=full or json,
        ),
    )


def replay(
    since: Annotated[str, typer.Option(metavar="TIME", help="From then on: 2h, 2026-03-01T14:30.")],
    endpoint: TheEndpoint = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then. Default: now")] = None,
    filter: Annotated[
        str | None, typer.Option("--filter", metavar="TOPIC", help="Only topics that match this filter.")
    ] = None,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Send the events of a time once more to one endpoint, with their ids, dead letters included.

    Fresh events go on beside it. How far back one can go: sqlite.retention in the configuration.
    """
    from bridge.commands import mend

    since_ms, until_ms = _when(since), _when(until)
    return _run(
        conf,
        store,
        lambda path: mend.replay(
            path, json=json, endpoint=endpoint, since=since_ms, until=until_ms, filter=filter
        ),
    )


def send_test(
    endpoint: TheEndpoint = None,
    event: Annotated[str, typer.Option(metavar="TYPE", help="Its type.")] = "on_message_publish",
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Send a made-up event to an endpoint and show request and response. Exit code 0 if it was accepted."""
    from bridge.commands import mend
    from bridge.commands.link import Failed, fail, store_path

    try:
        ok = mend.send_test(store_path(conf, store), json=json, endpoint=endpoint, event=event)
    except Failed as error:
        return fail(error)
    return 0 if ok else 1


def enable(endpoint: TheEndpoint = None, conf: Conf = None, store: Store = None, json: Json = False) -> int:
    """Switch an endpoint on that was switched off, by hand or because it failed; what waits is sent."""
    from bridge.commands import mend

    return _run(conf, store, lambda path: mend.switch(path, json=json, on=True, endpoint=endpoint))


def disable(endpoint: TheEndpoint = None, conf: Conf = None, store: Store = None, json: Json = False) -> int:
    """Switch an endpoint off, also over a restart. Its events are kept within its backlog's bounds."""
    from bridge.commands import mend

    return _run(conf, store, lambda path: mend.switch(path, json=json, on=False, endpoint=endpoint))


def reload(conf: Conf = None, store: Store = None, json: Json = False) -> int:
    """Have the running HookMQ read its configuration again and take up the changes.

    No client and no event is dropped. A configuration with an error changes nothing, and this ends with 1.
    """
    from bridge.commands import mend

    taken = False

    def work(path: Path) -> None:
        nonlocal taken
        taken = mend.reload(path, json=json)

    return _run(conf, store, work) or (0 if taken else 1)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy to make.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Copy the store to FILE, complete and checked, whether HookMQ runs on it or not.

    All that was acknowledged before is in the copy.
    """
    from bridge.commands import backup as work

    return _run(conf, store, lambda path: work.backup(path, file, force=force, json=json))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What hookmq backup has made.")],
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Put FILE in the place of the store, on which no HookMQ may run. The old store is kept beside it.

    What FILE has still to deliver is delivered again after the next start, with the same webhook-ids.
    """
    from bridge.commands import backup as work

    return _run(conf, store, lambda path: work.restore(path, file, json=json))


@dead.callback(invoke_without_command=True)
def _dead(
    context: typer.Context,
    endpoint: Endpoint = None,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int | None:
    if context.invoked_subcommand is not None:
        return None
    return dead_list(endpoint, False, 50, conf, store, json)


@dead.command("list", short_help="Count them by endpoint, event and error.")
def dead_list(
    endpoint: Endpoint = None,
    each: Annotated[bool, typer.Option("--each", help="One line for each, the oldest first.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10000)] = 50,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Count the dead letters by endpoint, event and error, or list each."""
    from bridge.commands import show

    if each:
        return _run(conf, store, lambda path: show.dead_each(path, json=json, endpoint=endpoint, limit=limit))
    return _run(conf, store, lambda path: show.dead_groups(path, json=json, endpoint=endpoint))


@dead.command("show", short_help="Show one: payload, last error, attempts.")
def dead_show(
    id: Annotated[str, typer.Argument(metavar="ID", help="Its webhook-id.")],
    endpoint: Endpoint = None,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Show one dead letter: what it is, its last error, and the attempts that the log still has."""
    from bridge.commands import show

    return _run(conf, store, lambda path: show.dead_show(path, json=json, id=id, endpoint=endpoint))


@dead.command("replay", short_help="Send them once more.")
def dead_replay(
    ids: Ids = None,
    all: All = False,
    endpoint: Endpoint = None,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Send dead letters once more, with their ids; they get a new schedule."""
    from bridge.commands import mend

    chosen = _chosen(ids, all)
    return _run(conf, store, lambda path: mend.dead_replay(path, json=json, ids=chosen, endpoint=endpoint))


@dead.command("purge", short_help="Delete them.")
def dead_purge(
    ids: Ids = None,
    all: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    endpoint: Endpoint = None,
    conf: Conf = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Delete dead letters for good."""
    from bridge.commands import mend

    chosen = _chosen(ids, all)
    what = "all dead letters" if chosen is None else f"{len(chosen)} dead letters"
    if endpoint is not None:
        what += f" of {endpoint}"
    if not yes and not typer.confirm(f"Delete {what}?", err=True):
        return 1
    return _run(conf, store, lambda path: mend.dead_purge(path, json=json, ids=chosen, endpoint=endpoint))


def _chosen(ids: list[str] | None, all: bool) -> list[str] | None:
    """The ids; None for all of them."""
    if bool(ids) == all:
        raise typer.BadParameter("name dead letters by their webhook-ids, or say --all.")
    return ids or None
