"""What a broker refuses, and by which packet."""

from __future__ import annotations

from bridge.delivery.retry import ErrorKind, Outcome

# MQTT 5 section 2.4: server busy, message rate too high, quota exceeded, connection rate exceeded.
BUSY = frozenset({0x89, 0x96, 0x97, 0x9F})
"""Reason codes that ask for less at a time."""


class Refused(Exception):
    """A packet's reason code of 0x80 or above (or a CONNACK's return code before MQTT 5), and its name."""

    def __init__(self, packet: str, code: int, name: str) -> None:
        self.code = code
        super().__init__(f"{packet} 0x{code:02x} {name}")

    @property
    def outcome(self) -> Outcome:
        """As the end of an attempt."""
        kind: ErrorKind = "busy" if self.code in BUSY else "refused"
        return Outcome(error=kind, text=str(self))
