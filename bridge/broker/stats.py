"""What the broker counts, and its counts under the names of EMQX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.broker.server import Broker


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
    most_clients: int = 0  # connected at the same time
    most_sessions: int = 0  # at the same time, those that are away included
    received_qos1: int = 0  # of `received`
    received_qos2: int = 0
    unsubscribed: int = 0  # messages accepted that nobody had subscribed to
    # By reason, each of a bounded number of names.
    rejected_by: dict[str, int] = field(default_factory=dict)  # `rejected`
    dropped_by: dict[str, int] = field(default_factory=dict)  # deliveries given up, by a bound or otherwise
    refused_by: dict[str, int] = field(default_factory=dict)  # connections turned away, and CONNECTs refused
    auth_failures: dict[str, int] = field(default_factory=dict)  # of those: for what the client has shown

    def reject(self, reason: str) -> None:
        """A message is refused."""
        self.rejected += 1
        _count(self.rejected_by, reason)

    def drop(self, reason: str, count: int = 1) -> None:
        """Subscribers do not get a message."""
        _count(self.dropped_by, reason, count)

    def refuse(self, reason: str) -> None:
        """A connection, or a CONNECT, is refused."""
        _count(self.refused_by, reason)

    def auth_failed(self, reason: str) -> None:
        """It was refused for what the client has shown, or not shown."""
        _count(self.auth_failures, reason)


def _count(counts: dict[str, int], reason: str, more: int = 1) -> None:
    counts[reason] = counts.get(reason, 0) + more


def counts(broker: Broker) -> dict[str, int]:
    """How many there are now (`.count`), and were at most at the same time since the start (`.max`)."""
    stats = broker.stats
    subscriptions = broker.subscriptions
    clients = len(broker.sessions) - len(broker.away)
    return {
        "connections.count": clients,
        "connections.max": stats.most_clients,
        "sessions.count": len(broker.sessions),
        "sessions.max": stats.most_sessions,
        "subscriptions.count": subscriptions.count,
        "subscriptions.max": subscriptions.most,
        "subscriptions.shared.count": subscriptions.shared,
        "retained.count": len(broker.retained),
    }


def totals(stats: Stats) -> dict[str, int]:
    """What has happened since the start."""
    return {
        "client.connected": stats.sessions_opened,
        "messages.received": stats.received,
        "messages.sent": stats.sent,
        "delivery.dropped": stats.dropped,
        "packets.publish.error": stats.rejected,
        "packets.connack.error": stats.refused,
    }
