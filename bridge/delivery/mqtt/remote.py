"""Publishing at another broker: one connection, kept open, and a bounded number of messages on it.

* It is opened for the first message. Until it is there only that one is on its way; if it cannot be made that
  attempt has failed, and the next one begins after a pause that doubles from `PAUSE_MIN_S` to `PAUSE_MAX_S`.
* A message is settled by its PUBACK (QoS 1), by its PUBCOMP (QoS 2), or when it is written (QoS 0). A reason
  code of 0x80 or above is a failure.
* What was on a connection that ends goes out again on the next one, once, within the same attempt's time
  limit: the broker may have it twice, and never not at all.
* A message without an answer in time is a failure, and the end of its connection: MQTT forbids sending it
  again on that one ([MQTT-4.4.0-1]), and its packet identifier stays in use there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bridge.delivery.connect import ConnectError, Connector, Progress
from bridge.delivery.faults import cause, explain
from bridge.delivery.mqtt.message import Message, MqttTransport
from bridge.delivery.mqtt.place import Place
from bridge.delivery.mqtt.refused import Refused
from bridge.delivery.retry import Outcome

if TYPE_CHECKING:
    from bridge.delivery.mqtt.link import Ack, Link

log = logging.getLogger(__name__)

PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0
LOG_EVERY_S = 10.0
"""Between two lines of a kind about one publisher's connection."""
MAX_FAULT = 300
"""Characters of a fault that are shown."""
TEST_SUFFIX = "_test"
"""Behind the client id of a test, which must not take the session of the publisher's own connection."""
_ANSWERS = {0: b"", 1: b"PUBACK", 2: b"PUBCOMP"}


class ConnectionState(NamedTuple):
    """Whether there is a connection, and what happened last. Times are Unix ms, None: never.

    `since` is when it came to be so. The error is that of connecting, or of a connection that ended.
    """

    connected: bool
    since: int
    last_connected: int | None
    last_error: str
    last_error_at: int | None


class RemoteTransport(MqttTransport):
    """See the module. `timeout` in seconds bounds an attempt, connecting included; `clock` gives Unix s."""

    def __init__(
        self,
        place: Place,
        size: int,
        timeout: float,
        loop: asyncio.AbstractEventLoop,
        connector: Connector,
        *,
        suffix: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(place, size, timeout, loop)
        self.opened = 0  # connections, made
        self.fault = ""  # why the last one ended, or could not be made; empty while one is open
        self._clock = clock
        self._state = ConnectionState(False, self._now_ms(), None, "", None)
        self._clientid = place.clientid + suffix
        self._connector = connector
        self._link: Link | None = None
        self._address = ""
        self._sent: dict[int, Message] = {}  # by packet identifier: those on the connection
        self._task: asyncio.Task[None] | None = None
        self._pause = 0.0
        self._log_at: dict[str, float] = {}
        self._pause_timer: asyncio.TimerHandle | None = None
        self._last = Outcome(error="timeout", text="")  # of connecting
        self._sweeper = connector.sweepers.every(min(max(timeout / 20, 0.005), 0.1))

    @property
    def connected(self) -> bool:
        """Whether there is a connection, and the broker has accepted it."""
        return self._link is not None

    @property
    def state(self) -> ConnectionState:
        """For people."""
        return self._state

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _failed(self, text: str) -> None:
        """There is no connection, and why."""
        self.fault = text = self.place.scrub(text)
        now, state = self._now_ms(), self._state
        since = now if state.connected else state.since
        self._state = ConnectionState(False, since, state.last_connected, text[:MAX_FAULT], now)

    def twin(self) -> RemoteTransport:
        """See `Transport`."""
        return RemoteTransport(self.place, 1, self.timeout, self._loop, self._connector, suffix=TEST_SUFFIX)

    def room(self) -> int:
        """See `MqttTransport`."""
        if self._link is not None:
            return min(self.size, self._link.room)
        return 0 if self._pause_timer is not None else 1

    def begin(self, message: Message) -> None:
        """See `MqttTransport`."""
        self._sweeper.join(self)
        if self._link is not None:
            self._publish(self._link, message)
        elif self._pause_timer is None:
            self._connect_soon()

    def close(self) -> None:
        """See `Transport`."""
        super().close()
        self._sweeper.leave(self)
        self._sent.clear()
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        if self._task is not None:
            self._task.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None

    # -- connecting ------------------------------------------------------------------------------------

    def _connect_soon(self) -> None:
        if self._task is None and not self._closed:
            self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        progress = Progress()
        try:
            async with asyncio.timeout(self.timeout):
                link = await self._open(progress)
        except Refused as error:
            self._not_connected(error.outcome)
        except ConnectError as error:
            self._not_connected(Outcome(error=error.kind, text=self.place.scrub(str(error))))
        except TimeoutError:
            text = f"no connection within {self.timeout * 1000:.0f} ms"
            if progress.waits_for:
                text += f", waiting for {progress.waits_for}"
            self._not_connected(Outcome(error=progress.kind, text=text))
        except Exception as error:  # aiomqtt's, and what paho makes of a broker that is none
            self._not_connected(Outcome(error="protocol", text=self.place.scrub(cause(error))))
        else:
            self._connected(link)

    async def _open(self, progress: Progress) -> Link:
        """A connection that the broker has accepted. Raises ConnectError, Refused, and what aiomqtt does."""
        from bridge.delivery.mqtt.link import Link  # noqa: PLC0415  for those who publish elsewhere

        sock: socket.socket | ssl.SSLSocket = await self._connector.dial(self.timeout, progress)
        link: Link | None = None
        try:
            peer = sock.getpeername()
            self._address = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
            if self.place.ssl is not None:
                progress.at("timeout", "the TLS handshake")
                sock = await _handshake(self._loop, sock, self.place.ssl, self.place.host)
            progress.at("timeout", "the CONNACK")
            link = Link(
                self.place,
                self._clientid,
                sock,
                on_acks=self._acknowledged,
                on_end=lambda text: self._lost(link, text),
            )
            await link.open()
        except BaseException:
            sock.close()
            raise
        return link

    def _connected(self, link: Link) -> None:
        self._task = None
        self._link = link
        self.opened += 1
        self.fault = ""
        now = self._now_ms()
        self._state = self._state._replace(connected=True, since=now, last_connected=now)
        for message in list(self.connections):
            if message.busy and self._link is link:
                self._publish(link, message)
        self._loop.call_soon(self._freed)

    def _not_connected(self, outcome: Outcome) -> None:
        self._task = None
        if self._closed:
            return
        self._last = outcome
        self._failed(str(outcome))
        self._rest()
        for message in list(self.connections):
            # Those of an earlier connection wait for the next one as long as their time limit lets them.
            if message.resent:
                self._tell("connect", self.fault)
            elif message.busy:
                message.address = self._address
                self.fail(message, outcome)

    def _tell(self, kind: str, text: str) -> None:
        """Log what no attempt's failure tells, now and then."""
        now = self.now()
        if now >= self._log_at.get(kind, 0.0):
            self._log_at[kind] = now + LOG_EVERY_S
            log.warning("%s: %s", self.place.title, text)

    def _rest(self) -> None:
        """Pause before the next connection."""
        if self._pause_timer is None and not self._closed:
            self._pause = min(max(self._pause * 2, PAUSE_MIN_S), PAUSE_MAX_S)
            self._pause_timer = self._loop.call_later(self._pause, self._rested)

    def _rested(self) -> None:
        self._pause_timer = None
        if self._closed:
            return
        if self.connections:
            self._connect_soon()
        else:
            self.on_free()

    def _freed(self) -> None:
        if not self._closed:
            self.on_free()

    # -- publishing ------------------------------------------------------------------------------------

    def _publish(self, link: Link, message: Message) -> None:
        message.address = self._address
        try:
            message.mid = link.send(message.topic, message.payload, message.identifier)
        except Refused as error:
            outcome = error.outcome
        except OSError:
            return  # the end of the connection comes by itself, and sends it again on the next one
        except Exception as error:  # paho's word on a topic or a payload that it does not take
            outcome = Outcome(error="body", text=cause(error))
        else:
            self._sent[message.mid] = message
            return
        self._loop.call_soon(self._refused, message, message.seq, outcome)

    def _refused(self, message: Message, seq: int, outcome: Outcome) -> None:
        if message.busy and message.seq == seq and not self._closed:
            self.fail(message, outcome)

    def _acknowledged(self, acks: list[Ack]) -> None:
        answer = _ANSWERS[self.place.qos]
        self._pause = 0.0
        for mid, code, name in acks:
            message = self._sent.pop(mid, None)
            if message is None or not message.busy:
                continue
            if code < 0x80:
                self.succeed(message, answer)
            else:
                packet = "PUBACK" if self.place.qos == 1 else "PUBREC"
                refused = Refused(packet, code, self.place.scrub(name))
                self.fail(message, refused.outcome, str(refused).encode())

    def _lost(self, link: Link | None, text: str) -> None:
        """The connection has ended."""
        if self._closed or self._link is not link:
            return
        self._drop(f"the connection ended: {self.place.scrub(text)}")

    def _drop(self, text: str) -> None:
        """There is no connection any more: what was on it goes out again on the next one."""
        self._link = None
        self._failed(text)
        self._tell("lost", text)
        self._last = outcome = Outcome(error="reset", text=text)
        self._sent.clear()
        again = False
        for message in list(self.connections):
            if not message.busy:
                continue
            if message.resent:
                self.fail(message, outcome)
            else:
                message.resent = again = True
        if self._pause:  # it has ended before it was of any use
            self._rest()
        elif again:
            self._pause = PAUSE_MIN_S / 2
            self._connect_soon()

    # -- time limits -----------------------------------------------------------------------------------

    def sweep(self, now: float) -> bool:
        """End what has passed its limit at `now` (loop time); whether there is more to watch."""
        late = [message for message in self.connections if message.busy and message.deadline <= now]
        if not late:
            return bool(self.connections)
        limit = f"{self.timeout * 1000:.0f} ms"
        for message in late:
            message.busy = False
        link = self._link
        if link is not None:
            link.abort()
            outcome = Outcome(error="timeout", text=f"no {_name(self.place.qos)} within {limit}")
            self._drop(f"the connection was closed: {outcome.text}")
        elif self._task is not None and not self._last.text:
            outcome = Outcome(error="timeout", text=f"no connection within {limit}")
        else:
            outcome = self._last
        for message in late:
            self.fail(message, outcome)
        return True


def _name(qos: int) -> str:
    return {0: "room in the connection", 1: "PUBACK", 2: "PUBCOMP"}[qos]


async def _handshake(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, context: ssl.SSLContext, host: str
) -> ssl.SSLSocket:
    """TLS on a connected socket that does not block; the caller's time limit is the limit.

    Raises ConnectError.
    """
    try:
        wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        raise ConnectError(*explain(error, tls=True)) from None
    try:
        while True:
            try:
                wrapped.do_handshake()
                return wrapped
            except ssl.SSLWantReadError:
                await _until(loop, wrapped, loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _until(loop, wrapped, loop.add_writer, loop.remove_writer)
    except (OSError, ValueError) as error:
        wrapped.close()
        raise ConnectError(*explain(error, tls=True)) from None
    except BaseException:
        wrapped.close()
        raise


async def _until(
    loop: asyncio.AbstractEventLoop,
    sock: ssl.SSLSocket,
    add: Callable[..., None],
    remove: Callable[[int], object],
) -> None:
    """Wait until the socket can be read, or written."""
    ready: asyncio.Future[None] = loop.create_future()
    number = sock.fileno()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(number, wake)
    try:
        await ready
    finally:
        remove(number)
