"""What is wrong with an endpoint's settings, where only delivery can tell."""

from __future__ import annotations

from bridge.config.settings import title


class Refused(Exception):
    """What was asked for cannot be done; the text is one plain sentence for the person who asked."""


class EndpointError(Exception):
    """An endpoint cannot work as configured. `key` is the setting in its block; the text is one line."""

    def __init__(self, endpoint: str, key: str, cause: str) -> None:
        text = f"{title(endpoint)}: {key}: {cause}"
        super().__init__("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))
        self.key = key
        self.cause = cause
