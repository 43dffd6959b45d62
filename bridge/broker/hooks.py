"""The hook interface: one class with a method per event.

Present tense comes before the fact and may refuse it; past tense comes after it and only sees. A method that
a subclass does not override costs nothing: `HookChain` keeps a tuple per event, empty where nobody listens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from bridge.broker.client import Client, Message
from bridge.mqtt.packets import Connect, Properties, Publish, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable

ACCEPT = 0
NO_ACL = "default"
"""The source of an authorization where no access rules hold."""
SUPERUSER = "superuser"
"""That of one who is above them."""


class Hooks:
    """What can be hooked. Methods run in the loop's thread and must not block."""

    def listens(self, name: str) -> bool:
        """Whether this object wants the event `name` (a method's name) at present."""
        return True

    def on_connect(self, client: Client, connect: Connect) -> int | Awaitable[int]:
        """A CONNECT was read. Return 0, or an MQTT 5 reason code (>= 0x80) to refuse it.

        Where that takes time, return a task (or another future) of it: the client is read no further until
        then, and nothing of the broker has changed for it.
        """
        return ACCEPT

    def on_authenticated(self, client: Client, code: int) -> None:
        """The checks of `on_connect` are done; `code` is their MQTT 5 reason code, 0 for success.

        `client.anonymous` and `client.superuser` say what they found. A client whose id is not valid is
        refused without it.
        """

    def on_connacked(self, client: Client, reason: str) -> None:
        """A CONNACK was decided on; `reason` is `success` or the name of the refusal."""

    def on_connected(self, client: Client) -> None:
        """The client is connected."""

    def on_disconnected(self, client: Client, reason: str, properties: Properties | None) -> None:
        """The connection of a connected client has ended; `properties` are those of its DISCONNECT."""

    def on_ping(self, client: Client) -> None:
        """A PINGREQ was read."""

    def on_authorized(self, client: Client, action: str, topic: str, allowed: bool, source: str) -> None:
        """`source` decided whether a client may `publish` to a topic or `subscribe` to a filter."""

    def on_subscribe(self, client: Client, subscription: Subscription, properties: Properties | None) -> int:
        """A topic filter was asked for. Return 0, or a SUBACK reason code (>= 0x80) to refuse it."""
        return ACCEPT

    def on_subscribed(
        self, client: Client, subscription: Subscription, properties: Properties | None
    ) -> None:
        """The session has the subscription; its QoS is the granted one."""

    def on_unsubscribe(self, client: Client, topic_filter: str, properties: Properties | None) -> None:
        """The end of a subscription was asked for."""

    def on_unsubscribed(
        self, client: Client, topic_filter: str, qos: int, properties: Properties | None
    ) -> None:
        """The session had the subscription, with that QoS, and has it no more."""

    def on_session_created(self, client: Client) -> None:
        """A session has begun."""

    def on_session_resumed(self, client: Client) -> None:
        """The client has come back to its session."""

    def on_session_discarded(self, client: Client) -> None:
        """A session ends because its client begins anew ([MQTT-3.1.2-4]); `on_terminated` follows."""

    def on_session_takenover(self, client: Client) -> None:
        """A session goes on with another connection ([MQTT-3.1.4-3]); `client` is that of the old one."""

    def on_terminated(self, client: Client, reason: str) -> None:
        """The session has ended (`normal`, `expired`, `discarded`, …)."""

    def on_large(self, client: Client, publish: Publish) -> AbstractAsyncContextManager[None] | None:
        """A message whose payload has more than `LARGE` bytes, before `on_publish`. To look into it beside
        the loop, return what does so when it is entered; `on_publish` comes inside of it, and the client is
        read no further until then. None: there is nothing to look for.

        What HookMQ itself publishes comes without it; the payload of a will is never so large.
        """
        return None

    def on_publish(self, client: Client, publish: Publish) -> int:
        """A message was published. Return 0, or a PUBACK reason code (>= 0x80) to refuse it."""
        return ACCEPT

    def on_published(self, client: Client, publish: Publish, ts: int, number: int) -> None:
        """The message was accepted at `ts` (Unix ms); `number` is its own since the broker's start."""

    def on_dropped(self, client: Client, publish: Publish, ts: int, number: int, reason: str) -> None:
        """The message goes to nobody: `no_subscribers`, after `on_published`; or, without one,
        `receive_maximum_exceeded` or `packet_identifier_inuse`.
        """

    def on_delivered(self, client: Client, message: Message, qos: int, retain: bool, dup: bool) -> None:
        """The message was sent to the subscriber `client`, with these flags."""

    def on_acked(
        self, client: Client, message: Message, qos: int, retain: bool, properties: Properties | None
    ) -> None:
        """The subscriber acknowledged the message: PUBACK, or PUBREC at QoS 2, with these properties."""

    def on_delivery_dropped(
        self, client: Client, message: Message, qos: int, retain: bool, reason: str
    ) -> None:
        """The message is given up for one subscriber.

        `no_local`; `queue_full`; `expired` ([MQTT-3.3.2-5]); `qos0_msg`, it is QoS 0 and the session's client
        is away; `too_large` for the client's Maximum Packet Size ([MQTT-3.1.2-24]); `session_terminated`, it
        waited, and its session has ended.
        """


NAMES = tuple(name for name in vars(Hooks) if name.startswith("on_"))


class HookChain:
    """For every event the methods that listen, in the order of `add`."""

    on_connect: tuple[Callable[[Client, Connect], int | Awaitable[int]], ...]
    on_authenticated: tuple[Callable[[Client, int], None], ...]
    on_connacked: tuple[Callable[[Client, str], None], ...]
    on_connected: tuple[Callable[[Client], None], ...]
    on_disconnected: tuple[Callable[[Client, str, Properties | None], None], ...]
    on_ping: tuple[Callable[[Client], None], ...]
    on_authorized: tuple[Callable[[Client, str, str, bool, str], None], ...]
    on_subscribe: tuple[Callable[[Client, Subscription, Properties | None], int], ...]
    on_subscribed: tuple[Callable[[Client, Subscription, Properties | None], None], ...]
    on_unsubscribe: tuple[Callable[[Client, str, Properties | None], None], ...]
    on_unsubscribed: tuple[Callable[[Client, str, int, Properties | None], None], ...]
    on_session_created: tuple[Callable[[Client], None], ...]
    on_session_resumed: tuple[Callable[[Client], None], ...]
    on_session_discarded: tuple[Callable[[Client], None], ...]
    on_session_takenover: tuple[Callable[[Client], None], ...]
    on_terminated: tuple[Callable[[Client, str], None], ...]
    on_large: tuple[Callable[[Client, Publish], AbstractAsyncContextManager[None] | None], ...]
    on_publish: tuple[Callable[[Client, Publish], int], ...]
    on_published: tuple[Callable[[Client, Publish, int, int], None], ...]
    on_dropped: tuple[Callable[[Client, Publish, int, int, str], None], ...]
    on_delivered: tuple[Callable[[Client, Message, int, bool, bool], None], ...]
    on_acked: tuple[Callable[[Client, Message, int, bool, Properties | None], None], ...]
    on_delivery_dropped: tuple[Callable[[Client, Message, int, bool, str], None], ...]

    def __init__(self, hooks: Iterable[Hooks] = ()) -> None:
        self.set(hooks)

    def set(self, hooks: Iterable[Hooks]) -> None:
        """Replace all listeners; `refresh` follows when what one of them listens to has changed."""
        self._listeners = list(hooks)
        self.refresh()

    def refresh(self) -> None:
        """Ask all listeners anew what they listen to."""
        listeners = self._listeners
        for name in NAMES:
            chain: list[Any] = [
                getattr(hook, name)
                for hook in listeners
                if getattr(type(hook), name) is not getattr(Hooks, name) and hook.listens(name)
            ]
            setattr(self, name, tuple(chain))
