"""`status`, `endpoints`, `log`, and dead letters: what is going on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.commands.link import ask
from bridge.commands.output import Column, block, print_json, print_table, progress_bar
from bridge.commands.times import clock, clock_ms, size, span, took
from bridge.terminal import escape

_COUNTERS = ("matched", "delivered", "failed", "retried", "dead", "queued", "in_flight")


def status(store: Path, *, json: bool) -> None:
    """What the process does. Raises Failed."""
    found: dict[str, Any] = ask(store, "status").result
    if json:
        print_json(found)
        return
    kept, messages = found["store"], found["messages"]
    print(f"HookMQ {found['version']}, up {span(found['uptime_s'])}, process {found['pid']}")
    stalled = ", REFUSES TO WRITE: publishers wait" if kept["stalled"] else ""
    since = f", replay reaches back to {clock(kept['replay_since'])}" if kept["replay_since"] else ""
    print(f"  store      {escape(kept['path'])}, {size(kept['bytes'])}{since}{stalled}")
    print(f"  listeners  {', '.join(found['listeners'])}")
    print(f"  clients    {found['clients']:,} connected, {found['sessions']:,} sessions")
    print(
        f"  messages   {messages['received']:,} received, {messages['rejected']:,} refused, "
        f"{messages['sent']:,} sent to subscribers, {messages['dropped']:,} dropped"
    )
    for name, counts in found["sources"].items():
        shown = ", ".join(f"{count:,} {word}" for word, count in counts.items())
        print(f"  {name:<10} {shown}")
    if found["lifted"]:
        lifted = found["lifted"]
        print(
            f"  lifted     {lifted['events']:,} messages became business events, {lifted['repeated']:,} had "
            f"come before, of {lifted['refused']:,} no event could be made"
        )
    if found["attempts_lost"]:
        print(f"  log        {found['attempts_lost']:,} attempts are missing in the attempt log")
    if found["endpoints"]:
        print()
        print_table(
            [
                Column("endpoint"),
                Column("state"),
                Column("queued", right=True),
                Column("size", right=True),
                Column("oldest", right=True),
                Column("in flight", right=True),
                Column("retrying", right=True),
                Column("dead", right=True),
                Column("matched", right=True),
                Column("delivered", right=True),
                Column("/s", right=True),
                Column("failed", right=True),
                Column("/s", right=True),
                Column("retried", right=True),
            ],
            [
                (
                    e["name"],
                    e["state"],
                    f"{e['queued']:,}",
                    size(e["backlog_bytes"]),
                    "" if e["oldest_ms"] is None else span(e["oldest_ms"] / 1000),
                    f"{e['in_flight']:,}",
                    f"{e['retrying']:,}",
                    f"{e['dead']:,}",
                    f"{e['matched']:,}",
                    f"{e['delivered']:,}",
                    f"{e['delivered_per_s']:,.1f}",
                    f"{e['failed']:,}",
                    f"{e['failed_per_s']:,.1f}",
                    f"{e['retried']:,}",
                )
                for e in found["endpoints"]
            ],
        )
        for e in found["endpoints"]:
            if e["shown_failed"]:
                print(
                    f"  {escape(e['name'])}: {e['shown_failed']:,} events count as failed, "
                    "while they are still tried (retry.schedule = mes)"
                )
            _given_up(e)
            _connection(e)
            if e["reason"]:
                print(f"  {_why(e)}")
    for parked in found["not_served"]:
        if parked["backlog_events"] or parked["retrying"] or parked["dead"]:
            oldest = "" if parked["oldest_ms"] is None else f" (for {span(parked['oldest_ms'] / 1000)})"
            print(
                f"  not served {escape(parked['name'])}: {parked['backlog_events']:,} events wait{oldest}, "
                f"{parked['retrying']:,} to be retried, {parked['dead']:,} dead"
            )
        _given_up(parked)


def _given_up(endpoint: dict[str, Any]) -> None:
    if endpoint["dead_given_up"]:
        print(
            f"  {escape(endpoint['name'])}: {endpoint['dead_given_up']:,} dead letters were given up since "
            f"the start (webhook.dead); {endpoint['dead']:,} are kept, {size(endpoint['dead_bytes'])}"
        )


def _connection(endpoint: dict[str, Any]) -> None:
    """Whether a publisher is connected with its broker, and what happened last."""
    found = endpoint.get("connection")
    if found is None:
        return
    text = f"{'connected' if found['connected'] else 'not connected'} since {clock(found['since'])}"
    if not found["connected"]:
        last = found["last_connected"]
        text += ", never before" if last is None else f", the last connection was made {clock(last)}"
    if found["last_error"]:
        text += f"; last error {clock(found['last_error_at'])}: {escape(found['last_error'])}"
    elif not found["connected"]:
        text += "; it connects for its first event"
    print(f"  {escape(endpoint['name'])}: {text}")


def endpoints(store: Path, *, json: bool) -> None:
    """The endpoints. Raises Failed."""
    found: list[dict[str, Any]] = ask(store, "endpoints").result
    if json:
        print_json(found)
        return
    rows = [
        (
            e["name"],
            e["state"],
            f"{e['method']} {e['format']}" if "method" in e else "",
            e.get("url", ""),
            *(f"{e['counters'][name]:,}" if "counters" in e else "" for name in _COUNTERS),
            e.get("sent", ""),
        )
        for e in found
    ]
    print_table(
        [
            *(Column("endpoint"), Column("state"), Column("sends"), Column("url")),
            *(Column(name.replace("_", " "), right=True) for name in _COUNTERS),
            Column("events", cut=True),
        ],
        rows,
    )
    for e in found:
        _connection(e)
        if e.get("reason"):
            print(f"  {_why(e)}")
        if e.get("note"):
            print(f"  {escape(e['name'])}: {escape(e['note'])}")


def _why(endpoint: dict[str, Any]) -> str:
    """Why an endpoint is sent nothing."""
    name, reason = escape(endpoint["name"]), escape(endpoint["reason"])
    if endpoint["state"] == "asking":
        return f"{name} has not allowed events (abuse_protection), they wait: {reason}"
    # Where its settings do not work there is nothing to be switched on.
    return f"{name} is off: {reason}" + (" (hookmq enable)" if "url" in endpoint else "")


def log(store: Path, *, json: bool, full: bool, **args: Any) -> None:
    """Attempts, the latest first. Raises Failed."""
    rows = ask(store, "log", full=full, **args).rows
    if json:
        print_json(rows)
    elif full:
        print("\n\n".join(_attempt(row) for row in rows) or "no attempts")
    else:
        _attempts(rows)


def _attempts(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("no attempts")
        return
    print_table(
        [
            Column("time"),
            Column("endpoint"),
            Column("event"),
            Column("topic", cut=True),
            Column("attempt", right=True),
            Column("result"),
            Column("took", right=True),
            Column("id"),
            Column("error", cut=True),
        ],
        [
            (
                clock_ms(row["at"]),
                row["endpoint"],
                row["event"] + (f" and {row['events'] - 1} more" if row["events"] > 1 else ""),
                row["topic"],
                row["attempt"],
                _result(row),
                took(row["took_ms"]),
                row["id"],
                row["error"],
            )
            for row in rows
        ],
    )


def _result(row: dict[str, Any]) -> str:
    # A broker's acknowledgement is no status.
    return str((row["status"] or "ok") if row["kind"] is None else row["kind"])


def _attempt(row: dict[str, Any]) -> str:
    lines = [
        f"{clock_ms(row['at'])}  {escape(row['endpoint'])}  {row['event']}  attempt {row['attempt']}  "
        f"{_result(row)}  {took(row['took_ms'])}  {row['address'] or 'no connection'}",
        f"  id       {row['id']}",
    ]
    if row["topic"]:
        lines.append(f"  topic    {escape(row['topic'])}")
    if row["clientid"]:
        lines.append(f"  client   {escape(row['clientid'])}")
    if row["error"]:
        lines.append(f"  error    {escape(row['error'])}")
    for name in ("request", "response", "body"):
        if row[name]:
            lines += [f"  {name}", block(row[name])]
    return "\n".join(lines)


# --- dead letters -------------------------------------------------------------------------------------------


def dead_groups(store: Path, *, json: bool, endpoint: str | None) -> None:
    """Dead letters, counted. Raises Failed."""
    with progress_bar("dead letters", quiet=json) as told:
        found: list[dict[str, Any]] = ask(store, "dead", told, endpoint=endpoint).result
    if json:
        print_json(found)
    elif not found:
        print("no dead letters")
    else:
        print_table(
            [
                Column("endpoint"),
                Column("event"),
                Column("last error", cut=True),
                Column("count", right=True),
                Column("first"),
                Column("last"),
                Column("for example"),
            ],
            [
                (
                    group["endpoint"],
                    group["event"],
                    group["error"],
                    f"{group['count']:,}",
                    clock(group["first"]),
                    clock(group["last"]),
                    group["example"],
                )
                for group in found
            ],
        )


def dead_each(store: Path, *, json: bool, endpoint: str | None, limit: int) -> None:
    """Dead letters, the oldest first. Raises Failed."""
    answer = ask(store, "dead.list", endpoint=endpoint, limit=limit)
    if json:
        print_json(answer.rows)
        return
    if not answer.rows:
        print("no dead letters")
        return
    print_table(
        [
            Column("dead since"),
            Column("endpoint"),
            Column("event"),
            Column("topic", cut=True),
            Column("client", cut=True),
            Column("attempts", right=True),
            Column("id"),
            Column("last error", cut=True),
        ],
        [
            (
                clock(row["dead_at"]),
                row["endpoint"],
                row["event"],
                row["topic"],
                row["clientid"],
                row["attempts_made"],
                row["id"],
                row["error"],
            )
            for row in answer.rows
        ],
    )
    left = answer.result["total"] - len(answer.rows)
    if left > 0:
        print(f"and {left:,} more (--limit)")


def dead_show(store: Path, *, json: bool, id: str, endpoint: str | None) -> None:
    """One dead letter. Raises Failed."""
    found: dict[str, Any] = ask(store, "dead.show", ids=[id], endpoint=endpoint).result
    if json:
        print_json(found)
        return
    print(f"{found['id']}  {found['event']}  for {escape(found['endpoint'])}")
    print(f"  dead since {clock(found['dead_at'])}, after {found['attempts_made']} attempts")
    print(f"  last error {escape(found['error'])}")
    if "at" not in found:
        print("  the store has lost the event")
    else:
        print(f"  happened   {clock_ms(found['at'])}")
        print(f"  client     {escape(found['clientid'])} {found['peername']}")
        if found["topic"]:
            print(f"  topic      {escape(found['topic'])}  QoS {found['qos']}")
        encoding = f", shown as {found['payload_encoding']}" if "payload_encoding" in found else ""
        print(f"  payload    {found['payload_bytes']:,} bytes{encoding}")
        if found["payload"]:
            print(block(found["payload"]))
        if "body" in found:
            print("  body")
            print(block(found["body"]))
    for row in found.get("attempts", ()):
        print()
        print(_attempt(row))
