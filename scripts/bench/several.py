"""A HookMQ with several endpoints of the same events: `python -m scripts.bench.several FOLDER URL [URL …]`.

A process of its own, as `hookmq start` is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bridge.app import run
from bridge.config.settings import Endpoint, Listener, Log, Rule, Settings, StoreSettings
from bridge.events.event import EventType


def settings(folder: Path, urls: list[str]) -> Settings:
    """What runs: an endpoint for each address, as the other parts of the bench have theirs."""
    rules = (Rule(event=EventType.MESSAGE_PUBLISH, topic="bench/#"),)
    return Settings(
        webhooks=tuple(
            Endpoint(name=f"endpoint{number}", url=url, events=rules) for number, url in enumerate(urls)
        ),
        listeners=(Listener(kind="tcp", host="127.0.0.1", port=0),),
        store=StoreSettings(mounted_file_path=folder),
        log=Log(to=("file",), dir=folder, level="warn"),
    )


if __name__ == "__main__":
    sys.exit(run(settings(Path(sys.argv[1]), sys.argv[2:])))
