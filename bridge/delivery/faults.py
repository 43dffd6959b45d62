"""What went wrong with a connection, as a kind and one printable line."""

from __future__ import annotations

import os
import socket
import ssl

from bridge.delivery.retry import ErrorKind


def plain_text(data: bytes | bytearray) -> str:
    """Foreign bytes as one printable line."""
    text = " ".join(data.decode("utf-8", "replace").split())
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def explain(error: Exception, *, tls: bool) -> tuple[ErrorKind, str]:
    """Which kind of failure an exception of connecting is, and its cause in one line."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "dns", cause(error)
    if isinstance(error, ssl.SSLError):
        return "tls", cause(error)
    if tls and isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return "tls", f"the connection ended in the handshake: {cause(error)}"
    return "connect", cause(error)


def cause(error: Exception) -> str:
    """An exception's cause in one printable line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        if error.errno and error.strerror.startswith("Connect call failed"):  # asyncio's own words
            return os.strerror(error.errno)
        return plain_text(error.strerror.encode())
    return plain_text(str(error).encode("utf-8", "replace")) or type(error).__name__
