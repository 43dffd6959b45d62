"""The typed settings tree: every key that HookMQ honours, with its default, unit and range.

Field names are nanomq.conf's. Sizes are in bytes, times in seconds unless the name says otherwise; the reader
has already turned `10MB`, `10s` and the older spellings into these.
"""

from __future__ import annotations

import ipaddress
import socket
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from bridge.events.event import EventType

_YEAR = 365 * 86400.0  # s; no wait is longer
PUBLISHERS = "mqtt_publishers."
"""What begins the name of each publisher; no webhook's name has a dot."""
EMBEDDED = "embedded"
"""The `server` of a publisher at the broker of this process."""
Trust = Literal["operator", "tenant"]
"""Whose a receiver is: from the file or made with the admin's rights, or made with a lesser API key."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Encoding(StrEnum):
    """How a payload stands in a body (`webhook.body.encoding`)."""

    PLAIN = "plain"
    BASE64 = "base64"
    BASE62 = "base62"
    BASE62_LEGACY = "base62_legacy"
    JSON = "json"  # a JSON payload stands in the body as JSON, anything else as under `plain`


class Tls(_Block):
    """Client-side TLS of an endpoint (`webhook.ssl`, also spelt `tls`)."""

    enable: bool = True
    cacertfile: Path | None = None  # None: the system's certificate authorities
    certfile: Path | None = None
    keyfile: Path | None = None
    key_password: SecretStr | None = None
    verify_peer: bool = True


class Rule(_Block):
    """One entry of `webhook.events`. `topic` None means every topic but those that begin with `$`."""

    event: EventType
    topic: str | None = None


class BacklogBound(_Block):
    """How much may wait for one endpoint (`webhook.backlog`)."""

    max_bytes: int = Field(default=1 << 30, ge=1 << 16)
    max_age: float = Field(default=7 * 86400.0, gt=0)
    on_full: Literal["expire", "refuse"] = "expire"


class DeadBound(_Block):
    """How many dead letters of one endpoint are kept (`webhook.dead`); the oldest are given up first."""

    max_bytes: int = Field(default=1 << 30, ge=0)
    max_age: float = Field(default=30 * 86400.0, gt=0, le=100 * _YEAR)  # seconds since the last attempt


class RetryPolicy(_Block):
    """When a failed attempt is repeated (`webhook.retry`).

    `schedule` is a preset's name or the waits themselves in seconds, the first one 0; `base`, `factor`,
    `max_attempts` and `max_age` are those of `exponential`.
    """

    schedule: Literal["standard", "mes", "exponential"] | tuple[float, ...] = "standard"
    base: float = Field(default=5.0, gt=0, le=_YEAR)  # seconds before the second attempt
    factor: float = Field(default=2.0, ge=1, le=1000)
    max_attempts: int = Field(default=10, ge=1, le=1000)
    max_age: float | None = Field(default=None, gt=0, le=_YEAR)  # seconds since the first attempt
    jitter: float = Field(default=0.1, ge=0, le=1)  # the most that is added, as a share of the wait
    max_retry_after: float = Field(
        default=86400.0, ge=0, le=_YEAR
    )  # seconds; a longer Retry-After is cut to this


class BreakerPolicy(_Block):
    """When an endpoint counts as dead, and how it is probed (`webhook.breaker`)."""

    failures: int = Field(default=10, ge=1)  # attempts in a row
    probe_interval: float = Field(default=15.0, gt=0, le=_YEAR)  # seconds between probes while it is open
    disable_after: float | None = Field(default=None, gt=0, le=_YEAR)  # seconds of failing; then it is off


class RateLimit(_Block):
    """How fast an endpoint may be sent to (`webhook.rate_limit`)."""

    per_second: float = Field(gt=0, le=1_000_000)
    burst: int = Field(default=1, ge=1, le=1_000_000)


class BatchPolicy(_Block):
    """Several events in one request (`webhook.batch`)."""

    max_events: int = Field(default=100, ge=1, le=4096)
    max_wait: float = Field(default=0.1, ge=0, le=86400)  # seconds
    format: Literal["array", "cloudevents-batch"] = "array"


class Secret(_Block):
    """A secret: given, or where it is read from at start. Exactly one of the three."""

    value: SecretStr | None = None
    env: str | None = None
    file: Path | None = None


class Signature(_Block):
    """One signature header (`webhook.signature`). All but `scheme` belong to `hmac`."""

    scheme: Literal["standard", "mes", "eryxon", "hmac"] = "standard"
    header: str = "x-signature"
    prefix: str = ""
    encoding: Literal["hex", "base64"] = "hex"
    template: str = "{body}"  # what is signed; {id}, {timestamp} and {body} stand for theirs


class Credentials(_Block):
    """How HookMQ identifies itself to an endpoint (`webhook.credentials`)."""

    kind: Literal["basic", "bearer", "oauth2"]
    username: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    token_url: str | None = None  # oauth2: the client credentials grant, RFC 6749 section 4.4
    client_id: str | None = None
    client_secret: Secret | None = None
    scope: str | None = None


class Egress(_Block):
    """Where requests may go (`egress`): CIDR networks. `deny` is stronger."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class AttemptLog(_Block):
    """What is kept of each endpoint's attempts (`webhook.attempts`)."""

    successes: int = Field(default=1000, ge=0)  # the last so many; failures are all kept
    max_age: float = Field(default=7 * 86400.0, gt=0, le=100 * _YEAR)  # seconds
    max_rows: int = Field(default=100_000, ge=100)


class CloudEvents(_Block):
    """How events stand as CloudEvents 1.0 (`webhook.cloudevents`)."""

    mode: Literal["structured", "binary"] = "structured"
    source: str | None = None  # a URI reference; None: /hookmq/<node name>
    type_prefix: str = "hookmq."  # before `message.publish`


class Receiver(_Block):
    """What every receiver of events has, whatever way its events take to it."""

    name: str = "default"  # also that of its lane in the store
    note: str = ""
    enable: bool = True
    format: Literal["nanomq", "emqx", "cloudevents", "template", "mes", "eryxon"] = "nanomq"
    include: tuple[str, ...] = ()  # keys of the body; empty: all of them
    exclude: tuple[str, ...] = ()  # keys of the body
    template: str | None = None  # `body.template`, of format `template`
    template_type: Literal["json", "text", "form"] = "json"  # `body.type`: how values are escaped
    where: str | None = None  # a condition on an event's fields (bridge.events.expression); None: all
    cloudevents: CloudEvents = CloudEvents()
    encoding: Encoding = Encoding.PLAIN
    base62_limit: int = Field(default=65536, ge=0)  # `body.base62_limit`, bytes; above it: base64
    cancel_timeout: int = Field(default=5000, ge=1)  # ms, one attempt
    tls: Tls | None = None
    events: tuple[Rule, ...] = ()
    types: tuple[str, ...] = ()  # of business events: names and patterns such as `work_order.*`
    backlog: BacklogBound = BacklogBound()
    retry: RetryPolicy = RetryPolicy()
    dead: DeadBound = DeadBound()
    breaker: BreakerPolicy = BreakerPolicy()
    ordering: Literal["none", "client", "topic", "endpoint"] = "none"
    max_parked: int = Field(default=10_000, ge=1)  # events parked behind a blocked key
    rate_limit: RateLimit | None = None
    attempts: AttemptLog = AttemptLog()
    trust: Trust = "operator"  # whose it is; see bridge.delivery.egress


class Endpoint(Receiver):
    """One receiver of HTTP requests: a `webhook` block. The one type for file, REST API and dashboard."""

    url: str  # its path and query may hold ${placeholders}
    method: Literal["POST", "PUT", "GET", "DELETE"] = "POST"  # GET and DELETE have no body
    abuse_protection: bool = False  # ask with OPTIONS before the first delivery (CloudEvents HTTP webhooks)
    headers: tuple[tuple[str, str], ...] = ()  # in their order and case as written
    pool_size: int = Field(default=32, ge=1, le=4096)
    success: tuple[tuple[int, int], ...] = ((200, 299),)  # statuses, as inclusive ranges
    max_in_flight: int | None = Field(default=None, ge=1)  # events; None: pool_size
    batch: BatchPolicy | None = None
    signature: tuple[Signature, ...] = ()
    secrets: tuple[Secret, ...] = ()  # the first is the newest; while there are several, all sign
    credentials: Credentials | None = None
    proxy: str | None = None  # http://[user:password@]host:port

    @property
    def block(self) -> str:
        """Its block in the file."""
        return "webhook" if self.name == "default" else f"webhooks.{self.name}"

    @property
    def title(self) -> str:
        """What it is called in the log."""
        return title(self.name)


class MqttPublisher(Receiver):
    """Events as MQTT messages on topics of a Unified Namespace: a block `mqtt_publishers.<name>`.

    `name` is the whole of that, so that no webhook can have it. The places that make a topic, `enterprise` to
    `tenant_id`, stand where an event's data says nothing; an empty one leaves its level out.
    """

    format: Literal["nanomq", "emqx", "cloudevents", "template", "mes", "eryxon"] = "eryxon"
    server: str = EMBEDDED  # or mqtt://host[:port], mqtts://host[:port]
    topic_pattern: str = "{enterprise}/{site}/{area}/{cell}/{event}"
    enterprise: str = "eryxon"
    site: str = "main"
    area: str = "production"
    cell: str = "default"
    line: str = ""
    tenant_id: str = ""
    qos: int = Field(default=1, ge=0, le=2)
    retain: bool = False
    proto_ver: Literal[3, 4, 5] = 5  # as in a CONNECT: MQTT 3.1, 3.1.1, 5
    clientid: str | None = None  # None: hookmq_<store id>_<name>
    username: str | None = None
    password: Secret | None = None
    keepalive: int = Field(default=60, ge=1, le=65535)  # s
    max_in_flight: int = Field(default=32, ge=1, le=4096)  # messages that wait for their PUBACK

    # What only HTTP requests have.
    url: ClassVar[str] = ""
    method: ClassVar[str] = "PUBLISH"
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    signature: ClassVar[tuple[Signature, ...]] = ()
    batch: ClassVar[None] = None
    abuse_protection: ClassVar[bool] = False
    success: ClassVar[tuple[tuple[int, int], ...]] = ((200, 299),)

    @property
    def pool_size(self) -> int:
        """Messages at a time."""
        return self.max_in_flight

    @property
    def embedded(self) -> bool:
        """Whether it publishes at the broker of this process."""
        return self.server == EMBEDDED

    @property
    def block(self) -> str:
        """Its block in the file."""
        return self.name

    @property
    def title(self) -> str:
        """What it is called in the log."""
        return title(self.name)

    @property
    def short(self) -> str:
        """Its name without the block's."""
        return self.name.removeprefix(PUBLISHERS)


AnyEndpoint = Endpoint | MqttPublisher
"""A receiver of either kind."""


def title(name: str) -> str:
    """What the receiver with that name is called in the log."""
    return name if name.startswith(PUBLISHERS) else f"webhook {name}"


class Mqtt(_Block):
    """The `mqtt` block: what one client may use and what the broker may hold for it."""

    max_packet_size: int = Field(default=10 << 20, ge=64, le=268435455 + 5)
    max_mqueue_len: int = Field(default=2048, ge=1)  # messages queued for one session
    max_mqueue_bytes: int = Field(default=16 << 20, ge=1024)  # one session: queued, in flight, aliases
    max_mqueue_total_bytes: int = Field(default=256 << 20, ge=1024)  # queued for all stored sessions
    max_inflight_window: int = Field(default=2048, ge=1, le=65535)  # our Receive Maximum, both ways
    max_awaiting_rel: int = Field(default=2048, ge=1, le=65535)  # QoS 2 ids open for one client
    max_topic_alias: int = Field(default=65535, ge=0, le=65535)
    max_topic_levels: int = Field(default=201, ge=1, le=65535)  # mosquitto takes as many
    max_client_id: int = Field(default=65535, ge=23, le=65535)  # bytes
    max_subscriptions: int = Field(default=10000, ge=1)  # of one session
    max_subscriptions_total_bytes: int = Field(default=256 << 20, ge=1024)  # of memory, all sessions
    keepalive_multiplier: float = Field(default=1.5, ge=1.0, le=100.0)
    max_keepalive: int | None = Field(default=None, ge=1, le=65535)  # seconds; None: any, and none at all
    connect_timeout: float = Field(default=10.0, gt=0)  # seconds from accept to CONNECT
    session_expiry_interval: int = Field(default=7200, ge=0)  # cap, and that of a 3.1.1 persistent session; s
    property_size: int = Field(default=65536, ge=64)  # bytes of one packet's properties
    max_qos_allowed: int = Field(default=2, ge=0, le=2)  # of what clients publish; MQTT 5: Maximum QoS
    retain_available: bool = True
    strict_mode: bool = False  # refuse control characters and non-characters in names (section 1.5.4)
    max_connections: int = Field(default=100000, ge=1)
    max_connections_per_address: int | None = Field(default=None, ge=1)  # IPv6: per /64; None: off
    max_publish_rate: float | None = Field(default=None, gt=0)  # messages/s of one client; None: off
    max_publish_bytes: float | None = Field(default=None, gt=0)  # bytes/s of one client; None: off
    on_publish_rate: Literal["wait", "disconnect"] = "wait"
    max_sessions: int = Field(default=100000, ge=1)
    max_retained: int = Field(default=100000, ge=0)  # retained messages
    max_retained_bytes: int = Field(default=256 << 20, ge=0)
    max_lag: float | None = Field(default=None, gt=0)  # seconds behind which publishers wait; None: off
    turn_bytes: int = Field(default=16384, ge=4096)  # read from clients in one turn before HTTP is served
    # What of a verified client certificate is the client's user name.
    peer_cert_as_username: Literal["disabled", "cn", "dn"] = "disabled"


class Listener(_Block):
    """One listening socket: `listeners.<kind>` or `listeners.<kind>.<name>`."""

    kind: Literal["tcp", "ssl", "ws", "wss"]
    name: str = "default"
    host: str = "0.0.0.0"  # noqa: S104  nanomq.conf's own default
    port: int = Field(default=1883, ge=0, le=65535)
    backlog: int = Field(default=1024, ge=1)
    max_connections: int | None = Field(default=None, ge=1)
    max_conn_rate: float | None = Field(default=None, gt=0)  # connections/s; None: off
    messages_rate: float | None = Field(default=None, gt=0)  # of one client; None: mqtt.max_publish_rate
    bytes_rate: float | None = Field(default=None, gt=0)  # of one client; None: mqtt.max_publish_bytes
    path: str = "/mqtt"  # of a WebSocket: `websocket.mqtt_path`, or in `bind`
    check_origins: tuple[str, ...] = ()  # `websocket.check_origins`; empty: every origin
    fail_if_no_subprotocol: bool = True  # `websocket.fail_if_no_subprotocol`
    certfile: Path | None = None
    keyfile: Path | None = None
    cacertfile: Path | None = None
    crlfile: Path | None = None  # of clients' certificates that were revoked, from their authority
    key_password: SecretStr | None = None
    verify_peer: bool = False
    fail_if_no_peer_cert: bool = False

    @property
    def key(self) -> str:
        """Its block in the file."""
        return f"listeners.{self.kind}" + ("" if self.name == "default" else f".{self.name}")

    @property
    def id(self) -> str:
        """Its name as EMQX writes it: `tcp:default`."""
        return f"{self.kind}:{self.name}"

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.kind in ("ssl", "wss")

    @property
    def web(self) -> bool:
        """Whether it speaks WebSocket."""
        return self.kind in ("ws", "wss")


class SysEvents(_Block):
    """`sys_topics.sys_event_messages`: which events of clients become messages."""

    client_connected: bool = True
    client_disconnected: bool = True
    client_subscribed: bool = False
    client_unsubscribed: bool = False


class SysTopics(_Block):
    """The `sys_topics` block: messages below `$SYS/brokers`, made while somebody has subscribed to them."""

    sys_msg_interval: float | None = Field(default=60.0, ge=1, le=_YEAR)  # s; version, stats, metrics
    sys_heartbeat_interval: float | None = Field(default=30.0, ge=1, le=_YEAR)  # s; uptime, datetime
    events: SysEvents = SysEvents()


class Rotation(_Block):
    """`log.rotation`."""

    size: int = Field(default=10 << 20, ge=1024)
    count: int = Field(default=5, ge=0)


class Log(_Block):
    """The `log` block."""

    to: tuple[Literal["file", "console", "syslog"], ...] = ("console",)
    level: Literal["trace", "debug", "info", "warn", "error", "fatal"] = "info"
    formatter: Literal["text", "json"] = "text"
    dir: Path = Path("./log")
    file: str = "hookmq.log"
    rotation: Rotation = Rotation()


class StoreSettings(_Block):
    """The `sqlite` block: where the durable store lives and how it syncs."""

    mounted_file_path: Path = Path("./data")  # a folder, or a file that ends in .db
    retention_age: float = Field(default=86400.0, ge=0, le=100 * _YEAR)  # s that settled events are kept
    retention_bytes: int = Field(default=256 << 20, ge=0)  # the most that is kept of them
    sync_delay: float = Field(default=0.0, ge=0)  # s added to every sync; to rehearse a slow disk


class AclWho(_Block):
    """Whom an access rule means: all that is given must hold. `#`, which is anyone, is left out."""

    username: str | None = None
    clientid: str | None = None
    ipaddr: tuple[str, ...] = ()  # CIDR networks, one of which has the address
    all_of: tuple[AclWho, ...] = ()  # `and`
    any_of: tuple[AclWho, ...] = ()  # `or`


class AclRule(AclWho):
    """One rule of `auth.acl.rules`; the first that matches decides."""

    permit: Literal["allow", "deny"]
    action: Literal["publish", "subscribe", "pubsub"] = "pubsub"
    topics: tuple[str, ...] = ()  # patterns, `@` in front of a literal; none: every topic


class AclCache(_Block):
    """What is remembered of each client's access decisions (`auth.cache`)."""

    enable: bool = True
    max_size: int = Field(default=32, ge=1, le=100_000)  # decisions of one client
    ttl: float = Field(default=60.0, ge=0, le=86400)  # seconds that an answer of `http_auth.acl_req` holds


class JwtAuth(_Block):
    """`auth.jwt`: passwords that are JSON Web Tokens. Either `secret` or `public_keyfile` is given."""

    source: Literal["password"] = "password"
    secret: Secret | None = None  # HS256
    secret_base64_encoded: bool = False
    public_keyfile: Path | None = None  # `public.keyfile`: RS256 or ES256, PEM
    verify_claims: tuple[tuple[str, str], ...] = ()  # name and value, which may hold placeholders
    acl_claim_name: str = "acl"
    disconnect_after_expire: bool = True


class HttpAuthRequest(_Block):
    """One of the requests of `auth.http_auth`."""

    url: str
    method: Literal["POST", "PUT", "GET", "DELETE"] = "POST"  # GET and DELETE: params in the query
    headers: tuple[tuple[str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()  # with placeholders such as %u


class HttpAuth(_Block):
    """`auth.http_auth`: an HTTP server decides. A request that is not there is not made."""

    auth_req: HttpAuthRequest | None = None
    super_req: HttpAuthRequest | None = None
    acl_req: HttpAuthRequest | None = None
    timeout: float = Field(default=5.0, gt=0, le=3600)  # seconds of a request, waiting included
    connect_timeout: float = Field(default=5.0, gt=0, le=3600)
    pool_size: int = Field(default=32, ge=1, le=4096)  # connections
    cache_ttl: float = Field(default=0.0, ge=0, le=86400)  # seconds that an allowed connection is remembered


class Auth(_Block):
    """The `auth` block: who may connect, and who may publish and subscribe where."""

    allow_anonymous: bool = True
    no_match: Literal["allow", "deny"] = "allow"
    deny_action: Literal["ignore", "disconnect"] = "ignore"
    password: tuple[tuple[str, SecretStr], ...] = ()
    acl: tuple[AclRule, ...] = ()
    cache: AclCache = AclCache()
    jwt: JwtAuth | None = None
    http_auth: HttpAuth | None = None


class HttpServer(_Block):
    """The `http_server` block: where the HTTP API listens, and who may use it."""

    host: str = "127.0.0.1"  # `ip_addr`: an IP address or localhost
    port: int = Field(default=8081, ge=0, le=65535)
    limit_conn: int = Field(default=32, ge=1, le=4096)  # requests that are answered at the same time
    max_body: int = Field(default=10 << 20, ge=1024, le=256 << 20)  # bytes of a request's body
    auth_type: Literal["basic", "jwt", "no_auth"] = "basic"  # API keys are good beside each
    username: str | None = None
    password: Secret | None = None
    public_keyfile: Path | None = None  # `jwt.public.keyfile`: RS256, PEM
    certfile: Path | None = None  # PEM; with it the API speaks HTTPS
    keyfile: Path | None = None  # None: in `certfile`
    key_password: SecretStr | None = None

    @property
    def max_connections(self) -> int:
        """Open at the same time, those that wait for a turn included."""
        return max(256, 4 * self.limit_conn)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


class Prometheus(_Block):
    """The `prometheus` block: `GET /metrics` of the HTTP server."""

    enable_basic_auth: bool = True  # False: without credentials, where `http_server` is on loopback


class Tracing(_Block):
    """The `tracing` block: spans by OTLP over HTTP (the extra `otel`)."""

    enable: bool = False
    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    sample_ratio: float = Field(default=0.01, ge=0, le=1)  # of events that come without a trace context
    max_queue_size: int = Field(default=2048, ge=16, le=1_000_000)  # spans that wait for the endpoint
    scheduled_delay: float = Field(default=1.0, ge=0.01, le=3600)  # s between two exports of what waits
    timeout: float = Field(default=10.0, ge=0.1, le=3600)  # s of one export


class Lift(_Block):
    """One entry of `events.lift`: which MQTT messages are business events (bridge.sources.lift)."""

    topic: str  # a pattern: {enterprise}/{site}/{event} (bridge.events.topic_pattern)
    type: str | None = None  # may hold the topic's variables; None: its {event}, else the payload's own
    id: str | None = None  # a member of the payload, with dots for one within another; so the next two
    timestamp: str | None = None
    data: str | None = None  # None: `data` where that is an object, else the payload as a whole


class DomainEvents(_Block):
    """The `events` block: events of business systems."""

    catalogue: Path | None = None  # a JSON file of types of one's own (bridge.events.catalogue)
    unknown: Literal["refuse", "pass"] = "refuse"  # an event whose type is not in the catalogue
    check: Literal["off", "warn", "refuse"] = "warn"  # data that is not right by its type's schema
    lift: tuple[Lift, ...] = ()  # MQTT messages that are events; the first rule that has the topic


class ExHook(_Block):
    """`sources.exhook`: the gRPC server that EMQX's ExHook calls (bridge.sources.exhook)."""

    host: str = "0.0.0.0"  # noqa: S104  `bind`; EMQX is on other machines
    port: int = Field(default=9000, ge=0, le=65535)
    certfile: Path | None = None  # PEM; with it the server speaks TLS
    keyfile: Path | None = None  # None: in `certfile`
    cacertfile: Path | None = None  # the authority of EMQX's own certificates
    verify_peer: bool = False  # whether EMQX has to show one
    max_message_size: int = Field(default=10 << 20, ge=1024, le=256 << 20)  # bytes of one call
    max_concurrent_calls: int = Field(default=4096, ge=1, le=100_000)
    max_connections: int = Field(default=256, ge=1, le=65535)


class Sources(_Block):
    """The `sources` block: other ways in than our own broker."""

    exhook: ExHook | None = None


class BridgeSubscription(_Block):
    """One entry of `bridges.mqtt.<name>.subscription`."""

    remote_topic: str  # a topic filter there, also $share/<group>/<filter>
    local_topic: str = ""  # what the events' topic is to be; empty: as there
    qos: int = Field(default=1, ge=0, le=2)
    retain_as_published: bool = True  # this and the next: MQTT 5
    retain_handling: int = Field(default=0, ge=0, le=2)


class MqttBridge(_Block):
    """`bridges.mqtt.<name>`: another broker as a source (bridge.sources.mqtt)."""

    name: str
    server: str  # mqtt://host[:port] or mqtts://host[:port]
    proto_ver: Literal[3, 4, 5] = 4  # as in a CONNECT: MQTT 3.1, 3.1.1, 5
    clientid: str | None = None  # None: hookmq_<store id>_<name>
    keepalive: int = Field(default=60, ge=1, le=65535)  # s
    clean_start: bool = False
    username: str | None = None
    password: Secret | None = None
    max_inflight_window: int = Field(default=1000, ge=1, le=65535)  # messages that wait for us (MQTT 5)
    tls: Tls | None = None
    subscription: tuple[BridgeSubscription, ...] = ()


class NodeSettings(_Block):
    """The `node` block: how this HookMQ names itself in bodies."""

    name: str | None = None  # None: hookmq@<host name>

    @property
    def shown(self) -> str:
        """The name as bodies have it."""
        return self.name or f"hookmq@{socket.gethostname()}"


class Settings(_Block):
    """Everything that `hookmq start` runs with."""

    node: NodeSettings = NodeSettings()
    webhooks: tuple[Endpoint, ...] = ()
    mqtt_publishers: tuple[MqttPublisher, ...] = ()
    mqtt: Mqtt = Mqtt()
    listeners: tuple[Listener, ...] = (Listener(kind="tcp"),)
    log: Log = Log()
    store: StoreSettings = StoreSettings()
    auth: Auth = Auth()
    egress: Egress = Egress()
    events: DomainEvents = DomainEvents()
    sys_topics: SysTopics = SysTopics()
    sources: Sources = Sources()
    bridges: tuple[MqttBridge, ...] = ()
    http_server: HttpServer | None = None  # None: there is no HTTP API
    prometheus: Prometheus = Prometheus()
    tracing: Tracing = Tracing()

    @property
    def receivers(self) -> tuple[AnyEndpoint, ...]:
        """All receivers of events, also those that are not enabled."""
        return (*self.webhooks, *self.mqtt_publishers)

    @property
    def store_path(self) -> Path:
        """The store's file: `./data/hookmq.db` unless `sqlite.mounted_file_path` says otherwise."""
        path = self.store.mounted_file_path
        return path if path.suffix == ".db" else path / "hookmq.db"
