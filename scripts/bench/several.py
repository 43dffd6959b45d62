"""A HookMQ with several endpoints, a process of its own as `hookmq start` is.

python -m scripts.bench.several FOLDER URL [URL …]    the same events to every address
python -m scripts.bench.several FOLDER URL NUMBER     NUMBER webhooks of that address, each with a topic
"""

from __future__ import annotations

import sys
from pathlib import Path

from bridge.app import run
from bridge.config.settings import Endpoint, Listener, Log, Rule, Settings, StoreSettings
from bridge.events.event import EventType


def settings(folder: Path, webhooks: list[tuple[str, str]]) -> Settings:
    """What runs: an endpoint for each address and topic filter."""
    return Settings(
        webhooks=tuple(
            Endpoint(
                name=f"endpoint{number}",
                url=url,
                events=(Rule(event=EventType.MESSAGE_PUBLISH, topic=topic),),
            )
            for number, (url, topic) in enumerate(webhooks)
        ),
        listeners=(Listener(kind="tcp", host="127.0.0.1", port=0),),
        store=StoreSettings(mounted_file_path=folder),
        log=Log(to=("file",), dir=folder, level="warn"),
    )


def wanted(arguments: list[str]) -> list[tuple[str, str]]:
    """Addresses and topic filters; the publishers' topics are `bench/<number>/telemetry`."""
    url, *rest = arguments
    if rest and rest[0].isdecimal():
        return [(url, f"bench/{number}/#") for number in range(int(rest[0]))]
    return [(address, "bench/#") for address in arguments]


if __name__ == "__main__":
    sys.exit(run(settings(Path(sys.argv[1]), wanted(sys.argv[2:]))))
