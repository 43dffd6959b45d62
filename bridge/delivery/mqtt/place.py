"""Where a publisher's messages go, and what is the same in all of them.

A message carries, where the protocol has room for it (MQTT 5): its content type, and as a user property its
`webhook-id`, the same at every attempt, for those who have to tell repeats.
"""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit

from bridge.config.secret import SecretError, reveal
from bridge.config.settings import MqttPublisher
from bridge.delivery.compose import FillError
from bridge.delivery.errors import EndpointError
from bridge.delivery.tls import shared_context
from bridge.events.event import Event
from bridge.events.interface import Format
from bridge.events.uns import KEYS, PatternError, compile_topic

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
ID = "webhook-id"
"""The user property that has a message's id."""
ID_LENGTH = len("msg_0123456789ab_0123456789abcdef")
_VERSIONS = {3: "3.1", 4: "3.1.1", 5: "5.0"}
_HIDDEN_LENGTH = 4  # what is shorter would be masked in every other word


class Place:
    """A broker, and how to publish there. Raises EndpointError for settings that cannot work.

    `host` is empty for the broker of this process. `clientid` is also the sender's that events tell of what
    it publishes there.
    """

    def __init__(self, publisher: MqttPublisher, made: Format, store_id: str) -> None:
        self.warnings: list[str] = []
        self.has_body = True
        self.title = publisher.title
        self.host = ""
        self.port = 0
        self.ssl: ssl.SSLContext | None = None
        self.label = f"embedded {publisher.topic_pattern}"
        self.qos = publisher.qos
        self.retain = publisher.retain
        self.version = publisher.proto_ver
        self.keepalive = publisher.keepalive
        self.content_type = made.content_type
        self.clientid = client_id(publisher, store_id)
        self.username = publisher.username
        self.password: str | None = None
        self._prefix = f"msg_{store_id}_"
        try:
            self._topic = compile_topic(
                publisher.topic_pattern, {name: getattr(publisher, name, "") for name in KEYS}
            )
        except PatternError as error:
            raise EndpointError(publisher.name, "topic_pattern", str(error)) from None
        if not publisher.embedded:
            self._reach(publisher)
        properties = f"content-type: {self.content_type}\r\n{ID}: " if self.version == 5 else f"{ID}: "
        self._head = (
            f"PUBLISH %s MQTT/{_VERSIONS[self.version]}\r\nqos: {self.qos}\r\n"
            f"retain: {int(self.retain)}\r\n{properties}%s\r\n\r\n"
        )

    def _reach(self, publisher: MqttPublisher) -> None:
        """Host, port, TLS and credentials of a broker elsewhere."""
        possible = "expected embedded, mqtt://host[:port] or mqtts://host[:port]"
        try:
            parts = urlsplit(publisher.server)
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        except ValueError as error:
            raise EndpointError(publisher.name, "server", f"{error}; {possible}") from None
        if scheme not in DEFAULT_PORTS or not host or port == 0 or "@" in parts.netloc:
            raise EndpointError(publisher.name, "server", possible)
        if re.search(r"[\x00-\x20\x7f]", publisher.server) or parts.path.strip("/") or parts.query:
            raise EndpointError(publisher.name, "server", possible)
        try:
            host = host if host.isascii() else host.encode("idna").decode("ascii")
        except UnicodeError:
            raise EndpointError(publisher.name, "server", f"host {host!r} is not a valid name") from None
        self.host = host
        self.port = port or DEFAULT_PORTS[scheme]
        authority = f"[{host}]" if ":" in host else host
        if self.port != DEFAULT_PORTS[scheme]:
            authority += f":{self.port}"
        self.label = f"{scheme}://{authority} {publisher.topic_pattern}"
        tls = publisher.tls if publisher.tls is not None and publisher.tls.enable else None
        if scheme == "mqtts":
            self.ssl = shared_context(publisher.name, tls)
        elif tls is not None:
            self.warnings.append(
                f"{publisher.title}: tls has no effect, the server begins with mqtt://; write mqtts://"
            )
        if publisher.password is not None:
            try:
                self.password = reveal(publisher.password)
            except SecretError as error:
                raise EndpointError(publisher.name, "password", str(error)) from None
            if self.username is None and self.version != 5:  # [MQTT-3.1.2-22] of 3.1.1
                raise EndpointError(publisher.name, "password", "a password needs a username before MQTT 5")

    def topic(self, event: Event) -> str:
        """Where an event's message goes. Raises FillError."""
        try:
            return self._topic(event)
        except Exception as error:
            raise FillError(str(error) or type(error).__name__) from error

    def identifier(self, seq: int) -> str:
        """A message's `webhook-id`."""
        return f"{self._prefix}{seq:016x}"

    def request(self, topic: str, identifier: str) -> bytes:
        """What a message is beside its payload, in the form of a request's head, for the attempt log."""
        return (self._head % (topic, identifier)).encode()

    def scrub(self, text: str) -> str:
        """A broker's text without the password that was sent to it."""
        if self.password is not None and len(self.password) >= _HIDDEN_LENGTH:
            text = text.replace(self.password, "***")
        return text


def client_id(publisher: MqttPublisher, store_id: str) -> str:
    """The client id of a publisher: its own, or one that no other HookMQ has."""
    return publisher.clientid or f"hookmq_{store_id}_{publisher.short}"
