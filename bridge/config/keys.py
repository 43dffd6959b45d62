"""Every key that HookMQ honours, its place in the settings and how it is written; and those it only knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel

from bridge.config.body_kinds import (
    CONDITION,
    ENCODING,
    FIELDS,
    LEVEL_VALUE,
    LOCAL_TOPIC,
    LONG_TEXT,
    METHOD,
    MQTT_TEXT,
    NODE_NAME,
    NOTE,
    PAYLOAD,
    PROTO_VER,
    TYPE_PREFIX,
    TYPES,
    URI_REFERENCE,
)
from bridge.config.foreign import NO_EFFECT, WEBHOOK_KEYS
from bridge.config.kinds import (
    ADDRESS,
    ENDPOINT_URL,
    HEADER_NAME,
    NETWORKS,
    ORIGINS,
    PREFIX,
    SCHEDULE,
    SOURCE,
    STATUSES,
    TEMPLATE,
    URL_PATH,
)
from bridge.config.lift_kinds import MEMBER, PATTERN, TYPE
from bridge.config.settings import (
    AclCache,
    AttemptLog,
    Auth,
    BacklogBound,
    BatchPolicy,
    BreakerPolicy,
    BridgeSubscription,
    CloudEvents,
    Credentials,
    DeadBound,
    DomainEvents,
    Egress,
    Endpoint,
    ExHook,
    HttpAuth,
    HttpAuthRequest,
    HttpServer,
    JwtAuth,
    Lift,
    Listener,
    Log,
    Mqtt,
    MqttBridge,
    MqttPublisher,
    NodeSettings,
    Prometheus,
    RateLimit,
    Receiver,
    RetryPolicy,
    Rotation,
    Signature,
    StoreSettings,
    SysEvents,
    SysTopics,
    Tls,
    Tracing,
)
from bridge.config.units import (
    BOOL,
    BYTE_RATE,
    FILE_NAME,
    FLOAT,
    FLOAT_OR_OFF,
    INT,
    INT_OR_OFF,
    MILLIS,
    PATH,
    RATE,
    SECONDS,
    SECONDS_OR_OFF,
    SECRET,
    SIZE,
    TEXT,
    VERIFY,
    WHOLE_SECONDS,
    WHOLE_SECONDS_OR_OFF,
    Kind,
    Range,
    one_of,
    some_of,
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a block: its dotted name in the file, and the field of the model that it sets."""

    name: str
    kind: Kind
    model: type[BaseModel]
    field: str

    @property
    def bounds(self) -> Range:
        """The range that the model gives the field."""
        low: Any = None
        high: Any = None
        open_low = False
        for rule in self.model.model_fields[self.field].metadata:
            if isinstance(rule, Ge):
                low = rule.ge
            elif isinstance(rule, Gt):
                low, open_low = rule.gt, True
            elif isinstance(rule, Le):
                high = rule.le
        return Range(low, high, open_low)

    @property
    def default(self) -> Any:
        """The field's default; None also where the field has none."""
        field = self.model.model_fields[self.field]
        return None if field.is_required() else field.get_default()


@dataclass(frozen=True, slots=True)
class Block:
    """A block of keys.

    `also` has second spellings of honoured keys, as good as the first; `renamed` older or foreign ones, which
    get a warning; `idle` NanoMQ's keys that have no effect here, with the sentence that says why; `open` are
    members that another reader takes.
    """

    name: str
    keys: tuple[Key, ...]
    also: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    renamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    idle: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    open: frozenset[str] = frozenset()


def _keys(model: type[BaseModel], kinds: Mapping[str, Kind], **names: str) -> tuple[Key, ...]:
    return tuple(Key(names.get(f, f), kind, model, f) for f, kind in kinds.items())


ON_FULL = one_of("expire", "refuse")
LEVEL = one_of(
    "trace", "debug", "info", "warn", "error", "fatal", also={"warning": "warn", "critical": "fatal"}
)
FORMAT = one_of("nanomq", "emqx", "cloudevents", "template", "mes", "eryxon")

_TLS_RENAMED = {
    "key": "keyfile",
    "cert": "certfile",
    "cacert": "cacertfile",
    "keypass": "key_password",
    "password": "key_password",
    "verify": "verify_peer",
}

SCHEME = one_of("standard", "mes", "eryxon", "hmac")
BATCH_ENABLE = Key("batch.enable", BOOL, Endpoint, "batch")
"""Whether there is a BatchPolicy at all."""
EXPONENTIAL = ("base", "factor", "max_attempts", "max_age")
"""The keys of `retry.exponential`."""

PAYLOAD_KEY = Key("payload", PAYLOAD, Receiver, "encoding")
"""Another spelling of `body.encoding`, with words of its own."""

RECEIVER_KEYS = (
    Key("enable", BOOL, Receiver, "enable"),
    Key("note", NOTE, Receiver, "note"),
    Key("format", FORMAT, Receiver, "format"),
    PAYLOAD_KEY,
    Key("include", FIELDS, Receiver, "include"),
    Key("exclude", FIELDS, Receiver, "exclude"),
    Key("types", TYPES, Receiver, "types"),
    Key("where", CONDITION, Receiver, "where"),
    Key("body.encoding", ENCODING, Receiver, "encoding"),
    Key("body.base62_limit", SIZE, Receiver, "base62_limit"),
    Key("body.template", LONG_TEXT, Receiver, "template"),
    Key("body.type", one_of("json", "text", "form"), Receiver, "template_type"),
    Key("cloudevents.mode", one_of("structured", "binary"), CloudEvents, "mode"),
    Key("cloudevents.source", URI_REFERENCE, CloudEvents, "source"),
    Key("cloudevents.type_prefix", TYPE_PREFIX, CloudEvents, "type_prefix"),
    Key("cancel_timeout", MILLIS, Receiver, "cancel_timeout"),
    Key("backlog.max_bytes", SIZE, BacklogBound, "max_bytes"),
    Key("backlog.max_age", SECONDS, BacklogBound, "max_age"),
    Key("backlog.on_full", ON_FULL, BacklogBound, "on_full"),
    Key("retry.schedule", SCHEDULE, RetryPolicy, "schedule"),
    Key("retry.exponential.base", SECONDS, RetryPolicy, "base"),
    Key("retry.exponential.factor", FLOAT, RetryPolicy, "factor"),
    Key("retry.exponential.max_attempts", INT, RetryPolicy, "max_attempts"),
    Key("retry.exponential.max_age", SECONDS_OR_OFF, RetryPolicy, "max_age"),
    Key("retry.jitter", FLOAT, RetryPolicy, "jitter"),
    Key("retry.max_retry_after", SECONDS, RetryPolicy, "max_retry_after"),
    Key("dead.max_bytes", SIZE, DeadBound, "max_bytes"),
    Key("dead.max_age", SECONDS, DeadBound, "max_age"),
    Key("breaker.failures", INT, BreakerPolicy, "failures"),
    Key("breaker.probe_interval", SECONDS, BreakerPolicy, "probe_interval"),
    Key("breaker.disable_after", SECONDS_OR_OFF, BreakerPolicy, "disable_after"),
    Key("ordering", one_of("none", "client", "topic", "endpoint"), Receiver, "ordering"),
    Key("max_parked", INT, Receiver, "max_parked"),
    Key("rate_limit.per_second", FLOAT_OR_OFF, RateLimit, "per_second"),
    Key("rate_limit.burst", INT, RateLimit, "burst"),
    Key("attempts.successes", INT, AttemptLog, "successes"),
    Key("attempts.max_age", SECONDS, AttemptLog, "max_age"),
    Key("attempts.max_rows", INT, AttemptLog, "max_rows"),
)
"""What webhooks and publishers of MQTT messages have in common."""

_ALSO = {
    **{f"retry.{name}": f"retry.exponential.{name}" for name in EXPONENTIAL},
    "disable_after": "breaker.disable_after",
    "description": "note",
}

WEBHOOK = Block(
    "webhook",
    (
        Key("url", TEXT, Endpoint, "url"),
        Key("method", METHOD, Endpoint, "method"),
        *RECEIVER_KEYS,
        Key("abuse_protection", BOOL, Endpoint, "abuse_protection"),
        Key("pool_size", INT, Endpoint, "pool_size"),
        Key("success", STATUSES, Endpoint, "success"),
        Key("max_in_flight", INT, Endpoint, "max_in_flight"),
        BATCH_ENABLE,
        Key("batch.max_events", INT, BatchPolicy, "max_events"),
        Key("batch.max_wait", SECONDS, BatchPolicy, "max_wait"),
        Key("batch.format", one_of("array", "cloudevents-batch"), BatchPolicy, "format"),
        Key("secret", SOURCE, Endpoint, "secrets"),
        Key("proxy", TEXT, Endpoint, "proxy"),
    ),
    also={
        **_ALSO,
        "request_timeout": "cancel_timeout",
        "resource_opts.max_buffer_bytes": "backlog.max_bytes",
        "resource_opts.inflight_window": "max_in_flight",
    },
    renamed={
        "body.encoding_of_payload_field": "body.encoding",
        "encode_payload": "body.encoding",
        "encoding": "body.encoding",
        "api.url": "url",
    },
    idle=WEBHOOK_KEYS,
    open=frozenset(
        {
            "headers",
            "events",
            "triggers",
            "topics",
            "rules",
            "rule",
            "ssl",
            "tls",
            "signature",
            "secrets",
            "credentials",
        }
    ),
)

SIGNATURE = Block(
    "webhook.signature",
    _keys(
        Signature,
        {
            "scheme": SCHEME,
            "header": HEADER_NAME,
            "prefix": PREFIX,
            "encoding": one_of("hex", "base64"),
            "template": TEMPLATE,
        },
    ),
)

CREDENTIALS = Block(
    "webhook.credentials",
    _keys(
        Credentials,
        {
            "kind": one_of("basic", "bearer", "oauth2"),
            "username": TEXT,
            "password": SOURCE,
            "token": SOURCE,
            "token_url": TEXT,
            "client_id": TEXT,
            "client_secret": SOURCE,
            "scope": TEXT,
        },
    ),
)

WEBHOOK_TLS = Block(
    "webhook.ssl",
    _keys(
        Tls,
        {
            "enable": BOOL,
            "cacertfile": PATH,
            "certfile": PATH,
            "keyfile": PATH,
            "key_password": SECRET,
            "verify_peer": VERIFY,
        },
    ),
    renamed=_TLS_RENAMED,
    idle={
        "server_name_indication": "it has no effect: the certificate's name is checked against the url's host"
        " (verify_peer = false checks nothing at all)"
    },
)

MQTT_PUBLISHER = Block(
    "mqtt_publishers.<name>",
    (
        *[key for key in RECEIVER_KEYS if key.name not in ("format", "types", "retry.max_retry_after")],
        Key("format", FORMAT, MqttPublisher, "format"),
        *_keys(
            MqttPublisher,
            {
                "server": TEXT,
                "topic_pattern": TEXT,
                "enterprise": LEVEL_VALUE,
                "site": LEVEL_VALUE,
                "area": LEVEL_VALUE,
                "cell": LEVEL_VALUE,
                "line": LEVEL_VALUE,
                "tenant_id": LEVEL_VALUE,
                "qos": INT,
                "retain": BOOL,
                "proto_ver": PROTO_VER,
                "clientid": MQTT_TEXT,
                "username": MQTT_TEXT,
                "password": SOURCE,
                "keepalive": WHOLE_SECONDS,
                "max_in_flight": INT,
            },
        ),
    ),
    also={**_ALSO, "active": "enable", "pool_size": "max_in_flight"},
    open=frozenset({"events", "ssl", "tls"}),
)

_RESEND = (
    "it has no effect: MQTT 5 forbids sending a message again on a live connection [MQTT-4.4.0-1];"
    " HookMQ sends it again when the client comes back"
)

MQTT = Block(
    "mqtt",
    _keys(
        Mqtt,
        {
            "max_packet_size": SIZE,
            "max_mqueue_len": INT,
            "max_mqueue_bytes": SIZE,
            "max_mqueue_total_bytes": SIZE,
            "max_inflight_window": INT,
            "max_awaiting_rel": INT,
            "max_topic_alias": INT,
            "max_topic_levels": INT,
            "max_client_id": INT,
            "max_subscriptions": INT,
            "max_subscriptions_total_bytes": SIZE,
            "keepalive_multiplier": FLOAT,
            "max_keepalive": WHOLE_SECONDS_OR_OFF,
            "connect_timeout": SECONDS,
            "session_expiry_interval": WHOLE_SECONDS,
            "property_size": SIZE,
            "max_qos_allowed": INT,
            "retain_available": BOOL,
            "strict_mode": BOOL,
            "max_connections": INT,
            "max_connections_per_address": INT_OR_OFF,
            "max_publish_rate": RATE,
            "max_publish_bytes": BYTE_RATE,
            "on_publish_rate": one_of("wait", "disconnect"),
            "max_sessions": INT,
            "max_retained": INT,
            "max_retained_bytes": SIZE,
            "max_lag": SECONDS_OR_OFF,
            "turn_bytes": SIZE,
            "peer_cert_as_username": one_of("disabled", "cn", "dn"),
        },
    ),
    renamed={
        "msq_len": "max_mqueue_len",
        "max_clientid_len": "max_client_id",
        "idle_timeout": "connect_timeout",
    },
    idle={
        "retry_interval": _RESEND,
        "qos_duration": _RESEND,
        "await_rel_timeout": "it has no effect, as in NanoMQ: an open QoS 2 message ends with its session",
        "client_max_packet_size": "it has no effect: a client itself says the largest packet that it takes",
    },
)

LISTENER_KEYS = _keys(
    Listener,
    {
        "backlog": INT,
        "max_connections": INT,
        "max_conn_rate": RATE,
        "messages_rate": RATE,
        "bytes_rate": BYTE_RATE,
    },
)
WEBSOCKET_KEYS = (
    Key("websocket.mqtt_path", URL_PATH, Listener, "path"),
    Key("websocket.check_origins", ORIGINS, Listener, "check_origins"),
    Key("websocket.fail_if_no_subprotocol", BOOL, Listener, "fail_if_no_subprotocol"),
)
LISTENER_TLS_KEYS = _keys(
    Listener,
    {
        "certfile": PATH,
        "keyfile": PATH,
        "cacertfile": PATH,
        "crlfile": PATH,
        "key_password": SECRET,
        "verify_peer": VERIFY,
        "fail_if_no_peer_cert": BOOL,
    },
)
BIND = Key("bind", TEXT, Listener, "host")
"""Sets `host` and `port` together; its own reader splits it."""
ENABLE = Key("enable", BOOL, Receiver, "enable")
"""A listener that is not enabled is not in the settings at all."""

TCP = Block("listeners.tcp", (ENABLE, BIND, *LISTENER_KEYS))
SSL = Block("listeners.ssl", (ENABLE, BIND, *LISTENER_KEYS, *LISTENER_TLS_KEYS), renamed=_TLS_RENAMED)
WS = Block("listeners.ws", (ENABLE, BIND, *LISTENER_KEYS, *WEBSOCKET_KEYS))
WSS = Block(
    "listeners.wss",
    (ENABLE, BIND, *LISTENER_KEYS, *WEBSOCKET_KEYS, *LISTENER_TLS_KEYS),
    renamed=_TLS_RENAMED,
)
LISTENERS = {"tcp": TCP, "ssl": SSL, "ws": WS, "wss": WSS}

LOG = Block(
    "log",
    (
        Key("to", some_of("file", "console", "syslog"), Log, "to"),
        Key("level", LEVEL, Log, "level"),
        Key("formatter", one_of("text", "json"), Log, "formatter"),
        Key("dir", PATH, Log, "dir"),
        Key("file", FILE_NAME, Log, "file"),
        Key("rotation.size", SIZE, Rotation, "size"),
        Key("rotation.count", INT, Rotation, "count"),
    ),
)

_OWN_STORE = "it has no effect: HookMQ keeps every event in its own store until it is delivered"
STORE = Block(
    "sqlite",
    (
        Key("mounted_file_path", PATH, StoreSettings, "mounted_file_path"),
        Key("retention.max_age", SECONDS, StoreSettings, "retention_age"),
        Key("retention.max_bytes", SIZE, StoreSettings, "retention_bytes"),
        Key("sync_delay", SECONDS, StoreSettings, "sync_delay"),
    ),
    idle={
        "enable": _OWN_STORE,
        "disk_cache_size": _OWN_STORE + " (webhook.backlog.max_bytes is its bound)",
        "flush_mem_threshold": "it has no effect: every event is on the disk before it is acknowledged",
        "resend_interval": "it has no effect: what a receiver did not take is sent again on its own schedule",
    },
)

AUTH = Block(
    "auth",
    (
        *_keys(
            Auth,
            {
                "allow_anonymous": BOOL,
                "no_match": one_of("allow", "deny"),
                "deny_action": one_of("ignore", "disconnect"),
            },
        ),
        Key("cache.enable", BOOL, AclCache, "enable"),
        Key("cache.max_size", INT, AclCache, "max_size"),
        Key("cache.ttl", SECONDS, AclCache, "ttl"),
    ),
    open=frozenset({"password", "acl", "jwt", "http_auth", "rules"}),
)

JWT_ENABLE = Key("enable", BOOL, Endpoint, "enable")
"""Whether there is a JwtAuth, or an HttpAuth, at all."""
AUTH_JWT = Block(
    "auth.jwt",
    (
        JWT_ENABLE,
        *_keys(
            JwtAuth,
            {
                "source": one_of("password"),
                "secret": SOURCE,
                "secret_base64_encoded": BOOL,
                "public_keyfile": PATH,
                "acl_claim_name": TEXT,
                "disconnect_after_expire": BOOL,
            },
            source="from",
            public_keyfile="public.keyfile",
        ),
    ),
    also={"public.key_file": "public.keyfile", "public_keyfile": "public.keyfile"},
    idle={
        "algorithm": "it has no effect: a secret means HS256, a public key RS256 or ES256, as it is made for",
        "use_jwks": "it has no effect: HookMQ fetches no keys, expected public.keyfile",
        "mechanism": "it has no effect here",
    },
    open=frozenset({"verify_claims"}),
)

HTTP_AUTH = Block(
    "auth.http_auth",
    (
        JWT_ENABLE,
        *_keys(
            HttpAuth,
            {"timeout": SECONDS, "connect_timeout": SECONDS, "pool_size": INT, "cache_ttl": SECONDS},
        ),
    ),
    idle={"type": "it has no effect here"},
    open=frozenset({"auth_req", "super_req", "acl_req"}),
)
_HTTP_AUTH_REQUEST = _keys(
    HttpAuthRequest,
    {"url": TEXT, "method": METHOD},
)
HTTP_AUTH_REQUESTS = tuple(
    [
        Block(f"auth.http_auth.{name}", _HTTP_AUTH_REQUEST, open=frozenset({"headers", "params"}))
        for name in ("auth_req", "super_req", "acl_req")
    ]
)

EGRESS = Block("egress", _keys(Egress, {"allow": NETWORKS, "deny": NETWORKS}))

HTTP_SERVER = Block(
    "http_server",
    (
        ENABLE,
        Key("ip_addr", ADDRESS, HttpServer, "host"),
        *_keys(
            HttpServer,
            {
                "port": INT,
                "limit_conn": INT,
                "max_body": SIZE,
                "auth_type": one_of("basic", "jwt", "no_auth", also={"none": "no_auth"}),
                "username": TEXT,
                "password": SOURCE,
                "public_keyfile": PATH,
                "certfile": PATH,
                "keyfile": PATH,
                "key_password": SECRET,
            },
            public_keyfile="jwt.public.keyfile",
        ),
    ),
    also={"jwt.public_keyfile": "jwt.public.keyfile", "max_connections": "limit_conn"},
    renamed={"host": "ip_addr"},
    idle={
        "jwt.iss": "it has no effect: a token is good if its signature and its times are",
        "jwt.private.keyfile": "it has no effect: HookMQ checks tokens and makes none",
    },
)

EVENTS = Block(
    "events",
    _keys(
        DomainEvents,
        {
            "catalogue": PATH,
            "unknown": one_of("refuse", "pass"),
            "check": one_of("off", "warn", "refuse", also={"false": "off", "no": "off"}),
        },
    ),
    open=frozenset({"lift"}),
)

LIFT = Block(
    "events.lift",
    _keys(Lift, {"topic": PATTERN, "type": TYPE, "id": MEMBER, "timestamp": MEMBER, "data": MEMBER}),
)

SYS_TOPICS = Block(
    "sys_topics",
    (
        *_keys(SysTopics, {"sys_msg_interval": SECONDS_OR_OFF, "sys_heartbeat_interval": SECONDS_OR_OFF}),
        *(
            Key(f"sys_event_messages.{name}", BOOL, SysEvents, name)
            for name in (
                "client_connected",
                "client_disconnected",
                "client_subscribed",
                "client_unsubscribed",
            )
        ),
    ),
)

PROMETHEUS = Block("prometheus", _keys(Prometheus, {"enable_basic_auth": BOOL}))
TRACING = Block(
    "tracing",
    _keys(
        Tracing,
        {
            "enable": BOOL,
            "endpoint": ENDPOINT_URL,
            "sample_ratio": FLOAT,
            "max_queue_size": INT,
            "scheduled_delay": SECONDS,
            "timeout": SECONDS,
        },
    ),
)

_NO_EFFECT_HERE = "accepted, and has no effect here"
MQTT_BRIDGE = Block(
    "bridges.mqtt.<name>",
    (
        ENABLE,
        *_keys(
            MqttBridge,
            {
                "server": TEXT,
                "proto_ver": PROTO_VER,
                "clientid": MQTT_TEXT,
                "keepalive": WHOLE_SECONDS,
                "clean_start": BOOL,
                "username": MQTT_TEXT,
                "password": SOURCE,
                "max_inflight_window": INT,
            },
        ),
    ),
    also={"address": "server", "bridge_mode": "enable", "clean_session": "clean_start"},
    idle={
        "forwards": "it has no effect: nothing is forwarded; mqtt_publishers sends events to a broker",
        **dict.fromkeys(
            (
                "alias", "mqueue_len", "max_parallel_processes", "parallel", "max_send_queue_len",
                "max_recv_queue_len", "resend_interval", "resend_wait", "cancel_timeout", "retry_qos_0",
                "transparent", "hybrid_bridging", "hybrid_servers", "backoff_max", "will", "conn_properties",
                "sub_properties", "properties", "tcp", "bind_interface", "quic_keepalive",
                "quic_idle_timeout", "quic_discon_timeout", "quic_handshake_timeout",
                "quic_send_idle_timeout", "quic_initial_rtt_ms", "quic_max_ack_delay_ms",
                "quic_multi_stream", "quic_qos_priority", "quic_0rtt", "congestion_control",
            ),
            _NO_EFFECT_HERE,
        ),
    },
    open=frozenset({"subscription", "ssl", "tls"}),
)  # fmt: skip
BRIDGE_SUBSCRIPTION = Block(
    "bridges.mqtt.<name>.subscription",
    _keys(
        BridgeSubscription,
        {
            "remote_topic": TEXT,
            "local_topic": LOCAL_TOPIC,
            "qos": INT,
            "retain_as_published": BOOL,
            "retain_handling": INT,
        },
    ),
    also={"topic": "remote_topic"},
    idle={"retain": _NO_EFFECT_HERE, "suffix": _NO_EFFECT_HERE, "prefix": _NO_EFFECT_HERE},
)

EXHOOK = Block(
    "sources.exhook",
    (
        ENABLE,
        Key("bind", TEXT, ExHook, "host"),
        *_keys(
            ExHook,
            {
                "certfile": PATH,
                "keyfile": PATH,
                "cacertfile": PATH,
                "verify_peer": VERIFY,
                "max_message_size": SIZE,
                "max_concurrent_calls": INT,
                "max_connections": INT,
            },
        ),
    ),
)

NODE = Block("node", (Key("name", NODE_NAME, NodeSettings, "name"),))

BLOCKS = (
    NODE,
    WEBHOOK,
    WEBHOOK_TLS,
    SIGNATURE,
    CREDENTIALS,
    MQTT_PUBLISHER,
    MQTT,
    TCP,
    SSL,
    WS,
    WSS,
    LOG,
    STORE,
    AUTH,
    AUTH_JWT,
    HTTP_AUTH,
    *HTTP_AUTH_REQUESTS,
    EGRESS,
    HTTP_SERVER,
    EVENTS,
    LIFT,
    SYS_TOPICS,
    EXHOOK,
    MQTT_BRIDGE,
    BRIDGE_SUBSCRIPTION,
    PROMETHEUS,
    TRACING,
)

BLOCK_NAMES = (
    "webhook",
    "webhooks",
    "mqtt_publishers",
    "mqtt",
    "listeners",
    "log",
    "sqlite",
    "auth",
    "egress",
    "node",
    "http_server",
    "events",
    "sys_topics",
    "sources",
    "bridges",
    "prometheus",
    "tracing",
)
ROOTS = (*BLOCK_NAMES, *NO_EFFECT)
LISTENER_KINDS = tuple(LISTENERS)
