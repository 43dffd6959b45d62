"""What the broker counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Stats:
    """Counters since the start."""

    connections: int = 0  # network connections accepted
    turned_away: int = 0  # refused or closed at once, a limit of connections was reached
    handshake_errors: int = 0  # of TLS and WebSocket
    paced: int = 0  # times that a client had to wait since it published faster than it may
    connect_timeouts: int = 0
    refused: int = 0  # CONNECTs refused
    sessions_opened: int = 0
    received: int = 0  # messages accepted
    rejected: int = 0  # messages refused
    sent: int = 0  # messages sent to subscribers
    dropped: int = 0  # messages that a bound gave up
    protocol_errors: int = 0
