"""Listening sockets: from a `listeners` block to a server, or to one line that says why not."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable

from bridge.config.settings import Listener


class ListenError(Exception):
    """A listener cannot open; the text names its key, what was tried and the cause."""


def tls_context(listener: Listener, key: str) -> ssl.SSLContext:
    """The server's TLS context of an `ssl` listener. Raises ListenError for unusable files."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    password = listener.key_password
    try:
        if listener.certfile is None:
            raise ListenError(f"{key}.certfile: an ssl listener needs a certificate")
        context.load_cert_chain(
            listener.certfile,
            listener.keyfile,
            # Always given: without it OpenSSL would ask the terminal.
            password.get_secret_value() if password is not None else "",
        )
    except (OSError, ssl.SSLError) as error:
        where = f"{listener.certfile}, {listener.keyfile}"
        raise ListenError(f"{key}.certfile, {key}.keyfile: cannot use {where}: {error}") from None
    if listener.verify_peer:
        try:
            context.load_verify_locations(listener.cacertfile)
        except (OSError, ssl.SSLError, TypeError) as error:
            raise ListenError(f"{key}.cacertfile: cannot use {listener.cacertfile}: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED if listener.fail_if_no_peer_cert else ssl.CERT_OPTIONAL
    return context


def key_of(listener: Listener) -> str:
    """The key of the listener's block."""
    return f"listeners.{listener.kind}" + ("" if listener.name == "default" else f".{listener.name}")


async def listen(
    loop: asyncio.AbstractEventLoop,
    listener: Listener,
    factory: Callable[[], asyncio.Protocol],
    *,
    handshake_timeout: float = 10.0,
) -> asyncio.Server:
    """Open the listener; a TLS handshake may take `handshake_timeout` seconds. Raises ListenError."""
    key = key_of(listener)
    context = tls_context(listener, key) if listener.kind == "ssl" else None
    try:
        return await loop.create_server(
            factory,
            listener.host or None,
            listener.port,
            ssl=context,
            ssl_handshake_timeout=handshake_timeout if context is not None else None,
            backlog=listener.backlog,
            start_serving=False,
        )
    except OSError as error:
        where = f"{listener.host}:{listener.port}"
        if error.errno == errno.EADDRINUSE:
            cause = f"{where} is in use by another program; stop it or choose another port"
        elif error.errno == errno.EACCES:
            cause = f"{where}: permission denied; ports below 1024 need a privilege"
        else:
            cause = f"cannot listen on {where}: {error.strerror or error}"
        raise ListenError(f"{key}.bind: {cause}") from None
