"""The numbers of the process as a whole, read from counters that are there: nothing is counted here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bridge import __version__
from bridge.admin.metrics.endpoints import Rows
from bridge.admin.routes import Plant
from bridge.events.event import EventType
from bridge.journal.store import StoreError
from bridge.telemetry.histogram import Histogram

Value = tuple[tuple[str, ...], "float | Histogram"]
"""The values of the labels, and the value."""
Values = Mapping[str, "list[Value]"]
"""By family."""
STATES = ("on", "slow", "full", "asking", "failing", "leaving", "off", "inactive")
# Reasons that are shown from the start, so that the first of them is a rise and not a series that begins.
UNPROVED = ("bad_username_or_password", "not_authorized", "connection_rate_exceeded")
REFUSED = (*UNPROVED, "server_busy", "quota_exceeded", "connect_timeout", "handshake")
REJECTED = ("not_authorized", "quota_exceeded")
DROPPED = ("queue_full", "expired", "session_terminated", "too_large")
KINDS = {int(kind): kind.dotted for kind in EventType}


def one(value: float | Histogram) -> list[Value]:
    """Of a family without labels."""
    return [((), value)]


def by(counts: Mapping[str, float], always: Iterable[str] = ()) -> list[Value]:
    """Of a family with one label; `always`: values of it that are shown from the start."""
    return [((name,), value) for name, value in {**dict.fromkeys(always, 0), **counts}.items()]


def read(plant: Plant, queued: int, rows: Rows) -> Values:
    """All of them; `queued` are the messages that wait for clients, `rows` has the endpoints' numbers."""
    return {
        **_process(plant),
        **_events(plant),
        **_broker(plant, queued),
        **_store(plant),
        **_endpoints(plant, rows),
        **_rest(plant),
    }


def queued(plant: Plant) -> Iterable[int]:
    """What waits for each session: tens of thousands may be there, so that the caller pauses between."""
    for session in list(plant.broker.sessions.values()):
        yield len(session.queue)


def _process(plant: Plant) -> Values:
    return {
        "hookmq_build_info": [((__version__, plant.system.node), 1)],
        "hookmq_uptime_seconds": one(plant.system.uptime),
        "hookmq_ready": one(int(not plant.not_ready())),
        "hookmq_loop_longest_turn_seconds": one(plant.journal.turns.value),
    }


def _events(plant: Plant) -> Values:
    journal = plant.journal
    timings = plant.webhooks.timings
    stored = {KINDS.get(kind, "other"): count for kind, count in journal.stored_events.items()}
    return {
        "hookmq_events_total": by(stored, KINDS.values()),
        "hookmq_events_acknowledged_total": one(journal.acknowledged),
        "hookmq_events_lifted_total": by(_lifted(plant), ("event", "repeated", "refused")),
        "hookmq_delivery_seconds": one(timings.way),
        "hookmq_attempt_seconds": [(("success",), timings.succeeded), (("failure",), timings.failed)],
    }


def _lifted(plant: Plant) -> dict[str, float]:
    if plant.lifter is None:
        return {}
    counts = plant.lifter.counts
    return {"event": counts["events"], "repeated": counts["repeated"], "refused": counts["refused"]}


def _broker(plant: Plant, queued: int) -> Values:
    broker = plant.broker
    stats = broker.stats
    qos = {
        "0": stats.received - stats.received_qos1 - stats.received_qos2,
        "1": stats.received_qos1,
        "2": stats.received_qos2,
    }
    return {
        "hookmq_mqtt_clients": one(len(broker.sessions) - len(broker.away)),
        "hookmq_mqtt_sessions": one(len(broker.sessions)),
        "hookmq_mqtt_connections": one(len(broker.connections)),
        "hookmq_mqtt_subscriptions": one(broker.subscriptions.count),
        "hookmq_mqtt_shared_subscriptions": one(broker.subscriptions.shared),
        "hookmq_mqtt_retained_messages": one(len(broker.retained)),
        "hookmq_mqtt_retained_bytes": one(broker.retained.bytes),
        "hookmq_mqtt_retained_refused_total": one(broker.retained.refused),
        "hookmq_mqtt_queued_messages": one(queued),
        "hookmq_mqtt_connections_accepted_total": one(stats.connections),
        "hookmq_mqtt_connections_refused_total": by(stats.refused_by, REFUSED),
        "hookmq_mqtt_auth_failures_total": by(stats.auth_failures, UNPROVED),
        "hookmq_mqtt_protocol_errors_total": one(stats.protocol_errors),
        "hookmq_mqtt_messages_received_total": by(qos),
        "hookmq_mqtt_messages_rejected_total": by(stats.rejected_by, REJECTED),
        "hookmq_mqtt_messages_unsubscribed_total": one(stats.unsubscribed),
        "hookmq_mqtt_messages_sent_total": one(stats.sent),
        "hookmq_mqtt_messages_dropped_total": by(stats.dropped_by, DROPPED),
        "hookmq_mqtt_publishers_paced_total": one(stats.paced),
    }


def _store(plant: Plant) -> Values:
    journal = plant.journal
    store = journal.store
    room = store.room()
    try:
        size = one(store.size())
    except StoreError:  # its files are gone: all the rest is worth the more
        size = []
    return {
        "hookmq_store_bytes": size,
        "hookmq_store_free_bytes": [] if room is None else one(room.free),
        "hookmq_store_disk_bytes": [] if room is None else one(room.total),
        "hookmq_store_stalled": one(int(journal.stalled)),
        "hookmq_store_stalls_total": one(journal.stalls),
        "hookmq_commit_seconds": one(journal.commit_times),
        "hookmq_sync_seconds": one(store.sync_times),
        "hookmq_ack_seconds": one(journal.ack_times),
        "hookmq_checkpoint_longest_seconds": one(plant.longest_checkpoint),
    }


def _endpoints(plant: Plant, rows: Rows) -> Values:
    parked = plant.webhooks.parked
    given_up = plant.webhooks.dead_bounds.given_up
    return {
        "hookmq_endpoints": by({**rows.states, "inactive": len(parked)}, STATES),
        "hookmq_publishers": one(rows.publishers),
        "hookmq_publishers_connected": one(rows.publishers_connected),
        "hookmq_dead_letters_given_up_total": one(
            rows.given_up + sum([given_up(each.id) for each in parked])
        ),
    }


def _rest(plant: Plant) -> Values:
    answered = plant.admin.answered if plant.admin is not None else {}
    return {
        "hookmq_attempt_log_lost_total": one(0 if plant.attempts is None else plant.attempts.lost),
        "hookmq_http_requests_total": by({str(status): count for status, count in sorted(answered.items())}),
        "hookmq_trace_spans_total": by(plant.spans, ("exported", "failed", "dropped")),
        "hookmq_trace_queue_spans": one(plant.spans_waiting),
    }
