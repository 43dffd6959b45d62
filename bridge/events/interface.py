"""What a format is given and what it gives: the seam between formats and those who use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from bridge.events.event import Event

UNDEFINED = "undefined"
"""What stands for a user name, an address or a text that is not there: NanoMQ's word and EMQX's."""


class CloudEventsSettings(Protocol):
    """`webhook.cloudevents`; `bridge.config.settings.CloudEvents` is one."""

    @property
    def mode(self) -> str:
        """structured or binary."""

    @property
    def source(self) -> str | None:
        """A URI reference; None: the node's."""

    @property
    def type_prefix(self) -> str:
        """What stands before `message.publish`."""


class BatchSettings(Protocol):
    """`webhook.batch`; `bridge.config.settings.BatchPolicy` is one."""

    @property
    def format(self) -> str:
        """array or cloudevents-batch."""


class FormatSettings(Protocol):
    """What a format needs to know of an endpoint; `bridge.config.settings.Endpoint` is one."""

    @property
    def name(self) -> str:
        """The receiver's name."""

    @property
    def url(self) -> str:
        """Its path and query may hold placeholders. Empty: it is sent messages, which have no head."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values, which may hold placeholders."""

    @property
    def format(self) -> str:
        """nanomq, emqx, cloudevents, template, mes or eryxon."""

    @property
    def include(self) -> tuple[str, ...]:
        """The keys of the body; empty: all."""

    @property
    def exclude(self) -> tuple[str, ...]:
        """Keys that the body is to be without."""

    @property
    def template(self) -> str | None:
        """The body's template; None or empty: all fields as JSON."""

    @property
    def template_type(self) -> str:
        """json, text or form."""

    @property
    def where(self) -> str | None:
        """A condition on fields."""

    @property
    def cloudevents(self) -> CloudEventsSettings:
        """How events stand as CloudEvents."""

    @property
    def batch(self) -> BatchSettings | None:
        """Several events in one request."""

    @property
    def encoding(self) -> str:
        """plain, json, base64, base62 or base62_legacy."""

    @property
    def base62_limit(self) -> int:
        """The longest payload in bytes that is sent as base62."""


class Origin(NamedTuple):
    """Who makes the bodies: the node's name, and the store's id, which stands in every `webhook-id`."""

    node: str = "hookmq@localhost"
    store_id: str = "000000000000"


class Format(NamedTuple):
    """How one endpoint's requests are made of events.

    `body` makes the body of an event, whose sequence comes first. `fill`, where there is one, gives what of
    the request's head differs from event to event: the request target, and header lines, each with CRLF
    before it: those of the configured headers that have placeholders, and CloudEvents' own. `content_type` is
    empty where the lines of `fill` have it. Both raise ValueError for an event that no request can be made
    of.
    """

    body: Callable[[int, Event], bytes]
    content_type: str = "application/json"
    fill: Callable[[int, Event], tuple[bytes, bytes]] | None = None
