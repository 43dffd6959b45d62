"""What a peer can do wrong on the wire."""

from __future__ import annotations


class ProtocolError(Exception):
    """A malformed packet or a broken rule of the protocol (section 4.13).

    `reason_code` is the MQTT 5 reason code to end the connection with (0x81 malformed packet,
    0x82 protocol error, 0x95 packet too large, …); the text says what was found and what was expected.
    """

    def __init__(self, reason_code: int, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code
