"""What NanoMQ's and EMQX's own files hold and HookMQ has no use for, and what comes nearest."""

from __future__ import annotations

from collections.abc import Mapping

_TTL = (
    "it has no effect: an event is kept until it is delivered, or as long as backlog.max_age and"
    " retry.schedule say"
)
WEBHOOK_KEYS: Mapping[str, str] = {
    "name": "it has no effect: a webhook is named by its block: webhooks.<name> { … }",
    "connect_timeout": "it has no effect: cancel_timeout is the limit of an attempt, connecting included",
    "request_ttl": _TTL,
    "max_retries": "it has no effect: retry.schedule says when and how often, such as"
    " retry.exponential.max_attempts = 4 for three retries",
    "retry_interval": "it has no effect: retry.schedule says when a failed attempt is made again",
    "enable_pipelining": "it has no effect: pool_size is the number of requests at a time",
    "pipelining": "it has no effect: pool_size is the number of requests at a time",
    "pool_type": "it has no effect: a request takes any free connection; ordering keeps an order",
    "local_topic": "it has no effect, expected topics = [ … ]",
    **{
        f"resource_opts.{name}": text
        for name, text in {
            "request_ttl": _TTL,
            "worker_pool_size": "it has no effect: pool_size is the number of connections",
            "query_mode": "it has no effect: requests never block the broker; max_in_flight limits them",
            "health_check_interval": "it has no effect: breaker.probe_interval is what comes nearest",
            "start_timeout": "it has no effect: HookMQ starts also while the receiver is down",
            "auto_restart_interval": "it has no effect: breaker.probe_interval is what comes nearest",
            "start_after_created": "it has no effect: enable switches a webhook on and off",
            "batch_size": "it has no effect, expected batch.max_events",
            "batch_time": "it has no effect, expected batch.max_wait",
            "max_queue_bytes": "it has no effect, expected backlog.max_bytes",
        }.items()
    },
}
"""Keys of EMQX's webhooks."""

NODE_KEYS = frozenset(
    {
        "cookie", "data_dir", "role", "process_limit", "max_ports", "dist_buffer_size", "max_ets_tables",
        "cluster_call", "global_gc_interval", "crash_dump_file", "crash_dump_seconds", "crash_dump_bytes",
        "dist_net_ticktime", "backtrace_depth", "broker_pool_size", "generic_pool_size",
        "channel_cleanup_batch_size", "default_bootstrap_batch_size", "applications", "etc_dir",
        "db_backend", "async_threads",
    }
)  # fmt: skip
"""Keys of EMQX's block `node`."""

NO_EFFECT: Mapping[str, str] = {
    "system": "accepted, and has no effect here: HookMQ runs one event loop and has no threads to count",
    "preset": "accepted, and has no effect here: HookMQ has no preset sessions; a client makes its own",
    "rules": "accepted, and has no effect here: HookMQ has no rule engine; a webhook with topics, a condition"
    " (where) and a template (body) does its work",
    "exchange_client": "accepted, and has no effect here: HookMQ has no message exchange",
    "exchange": "accepted, and has no effect here: HookMQ has no message exchange",
    "parquet": "accepted, and has no effect here: HookMQ writes no Parquet files",
    "blf": "accepted, and has no effect here: HookMQ writes no BLF files",
    "plugin": "accepted, and has no effect here: HookMQ loads no NanoMQ plugins",
    "plugins": "accepted, and has no effect here: HookMQ loads no NanoMQ plugins",
    "gateway": "accepted, and has no effect here: HookMQ has no protocol gateways",
    "cluster": "accepted, and has no effect here: HookMQ runs as one process",
}
"""Blocks of NanoMQ that HookMQ reads over."""
