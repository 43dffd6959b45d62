"""The typed settings tree: every key that HookMQ honours, with its default, unit and range.

Field names are nanomq.conf's. Sizes are in bytes, times in seconds unless the name says otherwise; the reader
has already turned `10MB`, `10s` and the older spellings into these.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from bridge.events.event import EventType


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Encoding(StrEnum):
    """How a payload stands in a body (`webhook.body.encoding`)."""

    PLAIN = "plain"
    BASE64 = "base64"
    BASE62 = "base62"
    BASE62_LEGACY = "base62_legacy"


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


class Endpoint(_Block):
    """One receiver of events: the `webhook` block. The one type for file, REST API and dashboard."""

    name: str = "default"
    enable: bool = True
    url: str
    headers: tuple[tuple[str, str], ...] = ()  # in their order and case as written
    encoding: Encoding = Encoding.PLAIN
    base62_limit: int = Field(default=65536, ge=0)  # `body.base62_limit`, bytes; above it: base64
    pool_size: int = Field(default=32, ge=1, le=4096)
    cancel_timeout: int = Field(default=5000, ge=1)  # ms, one attempt
    tls: Tls | None = None
    events: tuple[Rule, ...] = ()
    backlog: BacklogBound = BacklogBound()


class Mqtt(_Block):
    """The `mqtt` block: what one client may use and what the broker may hold for it."""

    max_packet_size: int = Field(default=10 << 20, ge=64, le=268435455 + 5)
    max_mqueue_len: int = Field(default=2048, ge=1)  # messages queued for one session
    max_mqueue_bytes: int = Field(default=16 << 20, ge=1024)  # one session: queued, in flight, aliases
    max_inflight_window: int = Field(default=2048, ge=1, le=65535)  # our Receive Maximum, both ways
    max_awaiting_rel: int = Field(default=2048, ge=1, le=65535)  # QoS 2 ids open for one client
    max_topic_alias: int = Field(default=65535, ge=0, le=65535)
    max_topic_levels: int = Field(default=128, ge=1, le=65535)
    max_client_id: int = Field(default=65535, ge=23, le=65535)  # bytes
    max_subscriptions: int = Field(default=10000, ge=1)  # of one session
    keepalive_multiplier: float = Field(default=1.5, ge=1.0, le=100.0)
    connect_timeout: float = Field(default=10.0, gt=0)  # seconds from accept to CONNECT
    session_expiry_interval: int = Field(default=7200, ge=0)  # cap, and that of a 3.1.1 persistent session; s
    property_size: int = Field(default=65536, ge=64)  # bytes of one packet's properties
    max_connections: int = Field(default=100000, ge=1)
    max_sessions: int = Field(default=100000, ge=1)
    max_retained: int = Field(default=100000, ge=0)  # retained messages
    max_retained_bytes: int = Field(default=256 << 20, ge=0)
    max_lag: float | None = Field(default=None, gt=0)  # seconds behind which publishers wait; None: off
    turn_bytes: int = Field(default=16384, ge=4096)  # read from clients in one turn before HTTP is served


class Listener(_Block):
    """One listening socket: `listeners.<kind>` or `listeners.<kind>.<name>`."""

    kind: Literal["tcp", "ssl"]
    name: str = "default"
    host: str = "0.0.0.0"  # noqa: S104  nanomq.conf's own default
    port: int = Field(default=1883, ge=0, le=65535)
    backlog: int = Field(default=1024, ge=1)
    max_connections: int | None = Field(default=None, ge=1)
    certfile: Path | None = None
    keyfile: Path | None = None
    cacertfile: Path | None = None
    key_password: SecretStr | None = None
    verify_peer: bool = False
    fail_if_no_peer_cert: bool = False


class Rotation(_Block):
    """`log.rotation`."""

    size: int = Field(default=10 << 20, ge=1024)
    count: int = Field(default=5, ge=0)


class Log(_Block):
    """The `log` block."""

    to: tuple[Literal["file", "console", "syslog"], ...] = ("console",)
    level: Literal["trace", "debug", "info", "warn", "error", "fatal"] = "info"
    dir: Path = Path("./log")
    file: str = "hookmq.log"
    rotation: Rotation = Rotation()


class StoreSettings(_Block):
    """The `sqlite` block: where the durable store lives and how it syncs."""

    mounted_file_path: Path = Path("./data")  # a folder, or a file that ends in .db
    sync_delay: float = Field(default=0.0, ge=0)  # s added to every sync; to rehearse a slow disk


class Auth(_Block):
    """The `auth` block, so far: who may connect."""

    allow_anonymous: bool = True
    password: tuple[tuple[str, SecretStr], ...] = ()


class Settings(_Block):
    """Everything that `hookmq start` runs with."""

    webhooks: tuple[Endpoint, ...] = ()
    mqtt: Mqtt = Mqtt()
    listeners: tuple[Listener, ...] = (Listener(kind="tcp"),)
    log: Log = Log()
    store: StoreSettings = StoreSettings()
    auth: Auth = Auth()

    @property
    def store_path(self) -> Path:
        """The store's file: `./data/hookmq.db` unless `sqlite.mounted_file_path` says otherwise."""
        path = self.store.mounted_file_path
        return path if path.suffix == ".db" else path / "hookmq.db"
