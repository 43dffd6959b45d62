"""A HookMQ with several endpoints: `python -m tests.long.several FILE`, which has the settings as JSON.

A process of its own, as `hookmq start` is, until a nanomq.conf can have several webhooks.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bridge.app import run
from bridge.config.settings import Settings

if __name__ == "__main__":
    sys.exit(run(Settings.model_validate_json(Path(sys.argv[1]).read_bytes())))
