"""The command. `python -m scripts.mes --help`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from datetime import UTC, datetime

from scripts.mes.sending import Sender, SendError
from scripts.mes.shop import run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.mes", description="A simulated MES that tells HookMQ what happens in a shop."
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=60.0, metavar="S", help="how long the shop runs (60)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another day (1)")
    parser.add_argument("--api", default="http://127.0.0.1:8081", metavar="URL", help="HookMQ's HTTP API")
    parser.add_argument("--host", default="127.0.0.1", help="its broker (127.0.0.1)")
    parser.add_argument("--port", type=int, default=1883, help="and that one's port (1883)")
    parser.add_argument(
        "--topic",
        default="machines/acme/chicago/fabrication",
        help="the topic below which the cells of the plant are (machines/acme/chicago/fabrication)",
    )
    parser.add_argument("--quiet", action="store_true", help="no line for each event")
    found = parser.parse_args()
    # Not an option: whoever lists the processes could read it.
    found.key = os.environ.get("MES_KEY", "")
    if not found.key:
        parser.error("MES_KEY is not set: make a key with `hookmq api-key create --scope events:write`")
    return found


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text}: expected 0.1 to 86400 seconds")
    return value


async def _main(given: argparse.Namespace) -> None:
    start = datetime.now(UTC)
    loop = asyncio.get_running_loop()
    opened = loop.time()
    counts: Counter[str] = Counter()
    async with Sender(given.api, given.key, given.host, given.port, given.topic) as sender:
        for one in run(given.seconds, given.seed, start):
            await asyncio.sleep(max(opened + one.at - loop.time(), 0))
            way = await sender.send(one)
            counts[one.type] += 1
            if not given.quiet:
                print(f"{one.timestamp}  {way}  {one.type:<28}  {one.id}", flush=True)
    for kind, count in sorted(counts.items()):
        print(f"  {kind:<28}  {count}")
    print(f"{counts.total()} events: {sender.by_rest} by REST, {sender.by_mqtt} by MQTT", flush=True)


def main() -> int:
    """Run the shop; the exit code."""
    given = _arguments()
    try:
        asyncio.run(_main(given))
    except SendError as error:
        print(f"scripts.mes: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
