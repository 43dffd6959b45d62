"""Every metric: its name, kind, labels, and what it means. docs/metrics.md has this table, and a test that.

Names are Prometheus's: base units at the end (`_seconds`, `_bytes`), `_total` for counters. No label is a
client id, a topic or a URL: each has few values, and endpoints are bounded in number (`MAX_ENDPOINTS`).
Counters count from the process's start.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

MAX_ENDPOINTS = 1000
"""Endpoints that have series of their own: the first ones, those of the file before those of the API."""
OTHER = "other"
"""The name under which all further ones are added up."""

Kind = Literal["counter", "gauge", "histogram", "summary", "info"]


class Family(NamedTuple):
    """One metric. `name` is that of its samples; a histogram's or a summary's have `_bucket`, `_sum` or
    `_count` behind it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """The name as OpenMetrics has it: without the suffix that its kind makes."""
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        return self.name.removesuffix(suffix)

    @property
    def unit(self) -> str:
        """seconds, bytes or empty."""
        return next((unit for unit in ("seconds", "bytes") if self.base.endswith(f"_{unit}")), "")


_ENDPOINT = ("endpoint",)

GLOBAL: tuple[Family, ...] = (
    # -- the process -------------------------------------------------------------------------------------
    Family(
        "hookmq_build_info", "info", "The version that runs, and this HookMQ's name.", ("version", "node")
    ),
    Family("hookmq_uptime_seconds", "gauge", "Since the start."),
    Family(
        "hookmq_ready",
        "gauge",
        "1 while /readyz answers with 200: the store is open and takes events, the listeners are bound.",
    ),
    Family(
        "hookmq_loop_longest_turn_seconds",
        "gauge",
        "The longest time of about the last minute in which nothing else was served.",
    ),
    # -- events ------------------------------------------------------------------------------------------
    Family(
        "hookmq_events_total",
        "counter",
        "Events that an endpoint wanted, stored; `domain` are business events.",
        ("event",),
    ),
    Family(
        "hookmq_events_acknowledged_total",
        "counter",
        "Events that are on disk and were acknowledged (PUBACK, PUBREC, CONNACK, 202), or stood in one commit"
        " with such.",
    ),
    Family(
        "hookmq_events_lifted_total",
        "counter",
        "MQTT messages looked at by `events.lift`, by what came of them: event, repeated, refused.",
        ("result",),
    ),
    Family(
        "hookmq_delivery_seconds",
        "histogram",
        "From an event's arrival to its success, retries included; of each endpoint one in each commit.",
    ),
    Family(
        "hookmq_attempt_seconds",
        "histogram",
        "One attempt, from its beginning to the whole response: every failure, and of each endpoint's"
        " successes one in each commit.",
        ("result",),
    ),
    # -- MQTT --------------------------------------------------------------------------------------------
    Family("hookmq_mqtt_clients", "gauge", "Clients that are connected."),
    Family("hookmq_mqtt_sessions", "gauge", "Sessions, those whose client is away included."),
    Family("hookmq_mqtt_connections", "gauge", "Network connections that are open, before CONNECT too."),
    Family("hookmq_mqtt_subscriptions", "gauge", "Subscriptions of all sessions."),
    Family("hookmq_mqtt_shared_subscriptions", "gauge", "Those of them that are shared."),
    Family("hookmq_mqtt_retained_messages", "gauge", "Retained messages."),
    Family("hookmq_mqtt_retained_bytes", "gauge", "Their size, as `mqtt.max_retained_bytes` counts it."),
    Family("hookmq_mqtt_retained_refused_total", "counter", "Messages not retained: the bound is reached."),
    Family("hookmq_mqtt_queued_messages", "gauge", "Messages that wait for a slow or absent client."),
    Family("hookmq_mqtt_connections_accepted_total", "counter", "Network connections that were accepted."),
    Family(
        "hookmq_mqtt_connections_refused_total",
        "counter",
        "Connections turned away by a limit, and CONNECTs that were refused.",
        ("reason",),
    ),
    Family(
        "hookmq_mqtt_auth_failures_total",
        "counter",
        "CONNECTs refused for what the client has shown, or not shown; also in connections_refused.",
        ("reason",),
    ),
    Family("hookmq_mqtt_protocol_errors_total", "counter", "Connections ended because a rule was broken."),
    Family("hookmq_mqtt_messages_received_total", "counter", "Messages accepted from publishers.", ("qos",)),
    Family(
        "hookmq_mqtt_messages_rejected_total",
        "counter",
        "Messages refused: access rules (not_authorized), a full endpoint (quota_exceeded), and others.",
        ("reason",),
    ),
    Family("hookmq_mqtt_messages_unsubscribed_total", "counter", "Messages that nobody had subscribed to."),
    Family("hookmq_mqtt_messages_sent_total", "counter", "Messages sent to subscribers."),
    Family(
        "hookmq_mqtt_messages_dropped_total",
        "counter",
        "Messages that a subscriber does not get.",
        ("reason",),
    ),
    Family(
        "hookmq_mqtt_publishers_paced_total", "counter", "Times that a client had to wait: max_publish_rate."
    ),
    # -- the store ---------------------------------------------------------------------------------------
    Family("hookmq_store_bytes", "gauge", "The store's files."),
    Family("hookmq_store_free_bytes", "gauge", "What the store can still take, on its disk or in its file."),
    Family("hookmq_store_disk_bytes", "gauge", "The disk that the store is on."),
    Family("hookmq_store_stalled", "gauge", "1 while the store refuses to write, and publishers wait."),
    Family("hookmq_store_stalls_total", "counter", "Times that this began."),
    Family("hookmq_commit_seconds", "histogram", "Commits: one a turn, with all that it brought."),
    Family("hookmq_sync_seconds", "histogram", "Syncs of the store's log to the disk."),
    Family(
        "hookmq_ack_seconds",
        "histogram",
        "From the first message of a turn until its acknowledgements are written: one for each such turn.",
    ),
    Family(
        "hookmq_checkpoint_longest_seconds",
        "gauge",
        "The longest that the loop stood still for a checkpoint.",
    ),
    # -- endpoints, all of them --------------------------------------------------------------------------
    Family(
        "hookmq_endpoints",
        "gauge",
        "Endpoints by state: on, slow, full, asking, failing (its breaker is open), leaving, off, inactive"
        " (not served).",
        ("state",),
    ),
    Family("hookmq_publishers", "gauge", "MQTT publishers that are served."),
    Family("hookmq_publishers_connected", "gauge", "Those of them that have a connection to their broker."),
    Family("hookmq_dead_letters_given_up_total", "counter", "Dead letters deleted: `dead` is their bound."),
    Family("hookmq_attempt_log_lost_total", "counter", "Rows that the attempt log could not take."),
    # -- HTTP API, traces --------------------------------------------------------------------------------
    Family("hookmq_http_requests_total", "counter", "Requests to the HTTP API, by status.", ("status",)),
    Family(
        "hookmq_trace_spans_total",
        "counter",
        "Spans, by what became of them: exported, failed (the endpoint did not take them), dropped (the queue"
        " was full).",
        ("result",),
    ),
    Family("hookmq_trace_queue_spans", "gauge", "Spans that wait for the endpoint."),
)
"""Those of the process as a whole."""

ENDPOINT: tuple[Family, ...] = (
    Family("hookmq_endpoint_matched_total", "counter", "Events that its rules wanted.", _ENDPOINT),
    Family("hookmq_endpoint_delivered_total", "counter", "Events that it has taken.", _ENDPOINT),
    Family("hookmq_endpoint_dead_total", "counter", "Events that became dead letters.", _ENDPOINT),
    Family("hookmq_endpoint_expired_total", "counter", "Events given up: the backlog's bound.", _ENDPOINT),
    Family(
        "hookmq_endpoint_attempts_total",
        "counter",
        "Attempts by how they ended: success, the class of a status (4xx, 5xx, …) or the kind of an error"
        " (timeout, connect, tls, dns, reset, …).",
        ("endpoint", "result"),
    ),
    Family("hookmq_endpoint_retries_total", "counter", "Attempts that were not the first.", _ENDPOINT),
    Family(
        "hookmq_endpoint_attempt_seconds",
        "summary",
        "Successful attempts: sum and number of those that were timed, one in each commit.",
        _ENDPOINT,
    ),
    Family("hookmq_endpoint_backlog_events", "gauge", "Events that wait for their first attempt.", _ENDPOINT),
    Family(
        "hookmq_endpoint_backlog_bytes", "gauge", "Their size, as `backlog.max_bytes` counts it.", _ENDPOINT
    ),
    Family("hookmq_endpoint_backlog_bound_bytes", "gauge", "`backlog.max_bytes`.", _ENDPOINT),
    Family("hookmq_endpoint_retrying_events", "gauge", "Events between two attempts, or parked.", _ENDPOINT),
    Family("hookmq_endpoint_in_flight_requests", "gauge", "Requests without an answer yet.", _ENDPOINT),
    Family("hookmq_endpoint_dead_letters", "gauge", "Dead letters that are kept.", _ENDPOINT),
    Family(
        "hookmq_endpoint_oldest_waiting_seconds",
        "gauge",
        "Age of the oldest event in flight or waiting for its first attempt; 0: none.",
        _ENDPOINT,
    ),
    Family(
        "hookmq_endpoint_failing_seconds",
        "gauge",
        "For how long every attempt has failed; 0: it works.",
        _ENDPOINT,
    ),
    Family(
        "hookmq_endpoint_breaker_open", "gauge", "1 while it is taken for dead, and only probed.", _ENDPOINT
    ),
    Family(
        "hookmq_endpoint_off",
        "gauge",
        "1 while it is switched off: by hand, by 410, disable_after.",
        _ENDPOINT,
    ),
    Family(
        "hookmq_endpoint_full", "gauge", "1 while new publishes are refused (on_full = refuse).", _ENDPOINT
    ),
    Family(
        "hookmq_endpoint_connections",
        "gauge",
        "Connections, or messages in flight of a publisher.",
        _ENDPOINT,
    ),
    Family("hookmq_endpoint_connections_opened_total", "counter", "Connections that were made.", _ENDPOINT),
)
"""Those of each endpoint that is served; of `other` the sum, and the greatest number of seconds."""

FAMILIES = (*GLOBAL, *ENDPOINT)
