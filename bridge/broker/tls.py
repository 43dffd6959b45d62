"""TLS 1.2 and 1.3 of a listener: its certificate, which may change while it runs, and the layer itself.

Why not the event loop's own TLS: with it nothing is known of a connection before its handshake has ended, so
that handshakes could neither be counted nor limited by address, and each connection has a buffer of 256 KiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, Any

from bridge.broker.layer import Layer
from bridge.broker.turn import HANDSHAKE_WORK
from bridge.config.settings import Listener

if TYPE_CHECKING:
    from bridge.broker.connection import Connection

log = logging.getLogger(__name__)

RECORD = 16384
"""Bytes of the largest record (RFC 8446 section 5.1)."""
UNREAD_ANSWERS = 1 << 20
"""Bytes that may be unsent to a client when TLS itself has to answer it, as with a KeyUpdate."""

Signature = tuple[tuple[int, int, int] | None, ...]


class TlsError(Exception):
    """A listener's files cannot be used; the text names its keys, the files and the cause."""


def make_context(listener: Listener) -> ssl.SSLContext:
    """The server's side of TLS 1.2 and 1.3 for a listener. Raises TlsError."""
    key = listener.key
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could have us make keys all the time
    context.set_alpn_protocols(["http/1.1"] if listener.kind == "wss" else ["mqtt"])
    password = listener.key_password
    if listener.certfile is None:
        raise TlsError(f"{key}.certfile: a TLS listener needs a certificate")
    try:
        context.load_cert_chain(
            listener.certfile,
            listener.keyfile,
            # Always given: without it OpenSSL would ask the terminal.
            password.get_secret_value() if password is not None else "",
        )
    except (OSError, ValueError) as error:
        where = f"{listener.certfile}, {listener.keyfile}"
        raise TlsError(f"{key}.certfile, {key}.keyfile: cannot use {where}: {why(error)}") from None
    if listener.verify_peer:
        try:
            context.load_verify_locations(listener.cacertfile)
        except (OSError, ValueError, TypeError) as error:
            raise TlsError(f"{key}.cacertfile: cannot use {listener.cacertfile}: {why(error)}") from None
        if listener.crlfile is not None:
            try:
                context.load_verify_locations(listener.crlfile)
            except (OSError, ValueError) as error:
                raise TlsError(f"{key}.crlfile: cannot use {listener.crlfile}: {why(error)}") from None
            # Of the client's own certificate: lists of authorities above its own are rarely at hand.
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.verify_mode = ssl.CERT_REQUIRED if listener.fail_if_no_peer_cert else ssl.CERT_OPTIONAL
    return context


def why(error: BaseException) -> str:
    """The cause in a few words."""
    if isinstance(error, ssl.SSLError):
        if error.reason == "PEM_LIB":
            return "no private key and certificate in PEM form, or key_password does not open the key"
        if error.reason is not None:
            reason = error.reason.replace("_", " ").lower()
            detail = getattr(error, "verify_message", None)  # "CRL has expired"
            return f"{reason}: {detail}" if detail else reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


class Certificates:
    """The files of one listener and what was made of them. A changed file counts for new connections."""

    def __init__(self, listener: Listener) -> None:
        """Raises TlsError."""
        self._listener = listener
        self._loaded = self._looked = self._signature()
        self.context = make_context(listener)

    def look(self) -> None:
        """Called now and then: take up files that have changed, and change no more."""
        seen = self._signature()
        if seen != self._loaded and seen == self._looked:
            # A certificate and its key are two files, and the second one may come a moment later.
            self.reload()
        self._looked = seen

    def reload(self) -> bool:
        """Take up what has changed; whether anything was. Files that cannot be used change nothing."""
        seen = self._signature()
        if seen == self._loaded:
            return False
        self._loaded = self._looked = seen
        key = self._listener.key
        try:
            self.context = make_context(self._listener)
        except TlsError as error:
            log.error("%s; the last good certificate stays in use", error)
            return False
        log.info("%s: the certificate was read again, new connections get it", key)
        return True

    def _signature(self) -> Signature:
        """What tells one state of the files from another."""
        found: list[tuple[int, int, int] | None] = []
        one = self._listener
        for path in (one.certfile, one.keyfile, one.cacertfile, one.crlfile):
            try:
                stat = path.stat() if path is not None else None
            except OSError:
                stat = None
            found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size) if stat is not None else None)
        return tuple(found)


class Tls(Layer):
    """The server's end of one TLS connection."""

    __slots__ = (
        "_certificates",
        "_incoming",
        "_outgoing",
        "_shaken",
        "_ssl",
        "closed",
        "held",
        "paused",
        "stash",
        "transport",
    )

    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO

    def __init__(self, connection: Connection, upper: asyncio.Protocol, certificates: Certificates) -> None:
        super().__init__(connection, upper)
        self._certificates = certificates
        self._ssl: ssl.SSLObject | None = None  # from the first byte on: who says nothing costs little
        self._shaken = False  # the handshake is done
        # What `Turn` asks of a reader: a handshake waits for its turn, too.
        self.stash: list[bytes] | None = None
        self.paused = False
        self.closed = False
        self.held: list[Any] | None = None

    def _start(self) -> ssl.SSLObject:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        tls = self._certificates.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ssl = tls
        return tls

    # -- from the network ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.is_closing():
            return
        if not self._shaken or self.stash:
            turn = self._connection.broker.turn
            if turn.left <= 0 or self.stash:
                # Thousands may begin at the same time, and each costs a millisecond.
                self.transport = self._transport
                self.stash = [*(self.stash or ()), data]
                turn.pause(self)
                return
        self.process(data)

    def resume(self) -> None:
        """Read on after a wait for a turn of the handshake."""
        if self._shaken:
            self._connection.resume()
        elif not self.is_closing():
            self._transport.resume_reading()

    def process(self, data: bytes) -> None:
        """Decrypt what was read, and pass it on."""
        if self.is_closing():
            return
        tls = self._ssl or self._start()
        self._incoming.write(data)
        if not self._shaken and not self._shake(tls):
            return
        read = tls.read
        parts: list[bytes] = []
        ended = True  # by the client's close_notify, or by something that is not TLS
        try:
            while part := read(RECORD):
                parts.append(part)
        except ssl.SSLWantReadError:
            ended = False
        except ssl.SSLError as error:
            self._connection.broker.limits.handshake_failed(self._connection, f"TLS: {why(error)}")
        if self._outgoing.pending:
            self._flush()
            if not self._writable and self._transport.get_write_buffer_size() > UNREAD_ANSWERS:
                self.abort()
                return
        if parts:
            # One call for all that came, as without TLS.
            self._upper.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if ended:
            self.eof_received()

    def _shake(self, tls: ssl.SSLObject) -> bool:
        """Go on with the handshake; whether it is done."""
        self._connection.broker.turn.charge(HANDSHAKE_WORK)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self._flush()  # the alert
            self._connection.broker.limits.handshake_failed(
                self._connection, f"the TLS handshake failed: {why(error)}"
            )
            self._closing = True
            self._transport.close()
            return False
        self._flush()
        self._shaken = True
        self._upper.connection_made(self)
        return not self.is_closing()

    def eof_received(self) -> bool | None:
        # What was earned before may still be written, as on a plain connection.
        return self._upper.eof_received() if self._shaken else False

    # -- to the network --------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        tls = self._ssl
        if tls is None or self.is_closing() or not data:
            return
        try:
            done = tls.write(data)  # a record at a time
            if done < len(data):
                rest = memoryview(data)
                while done < len(rest):
                    done += tls.write(rest[done : done + RECORD])
        except ssl.SSLError as error:
            log.debug("TLS: %s", why(error))
            self.abort()
            return
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._transport.write(data)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._ssl is not None and self._shaken:
            with contextlib.suppress(OSError, ValueError):  # it wants the client's answer, which we need not
                self._ssl.unwrap()
            self._flush()
        self._transport.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._ssl if name == "ssl_object" else self._transport.get_extra_info(name, default)
