"""The one list that every reader of a configuration writes its messages to."""

from __future__ import annotations

from bridge.config.node import Node, Place, found
from bridge.config.report import Message


class Findings:
    """All errors and warnings, in the order of their discovery, none twice."""

    def __init__(self, *, strict: bool = False) -> None:
        """`strict`: a key that nobody reads is an error."""
        self.messages: list[Message] = []
        self.strict = strict

    def error(self, place: Place, key: str, text: str) -> None:
        self._add(Message("error", place.file, place.line, key, text))

    def warning(self, place: Place, key: str, text: str) -> None:
        self._add(Message("warning", place.file, place.line, key, text))

    def wrong(self, node: Node, possible: str, *, secret: bool = False) -> None:
        """A value that cannot be: what was found and what is possible."""
        if not node.broken:
            shown = "a secret (not shown)" if secret else found(node)
            self.error(node.place, node.key, f"found {shown}, expected {possible}")

    def warn(self, node: Node, text: str) -> None:
        self.warning(node.place, node.key, text)

    def _add(self, message: Message) -> None:
        if message not in self.messages:
            self.messages.append(message)
