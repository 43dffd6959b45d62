"""TLS contexts of endpoints: made once for each way of using TLS, and shared by all endpoints that use it.

A context with the system's authorities takes half a megabyte and some ten milliseconds: a thousand endpoints
could not have one each. A file that has changed since makes another context.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from weakref import WeakValueDictionary

from bridge.config.settings import Tls
from bridge.delivery.errors import EndpointError

_shared: WeakValueDictionary[object, ssl.SSLContext] = WeakValueDictionary()


def shared_context(name: str, tls: Tls | None) -> ssl.SSLContext:
    """`client_context`, the same one for the same settings and files. Raises EndpointError."""
    files = () if tls is None else (tls.cacertfile, tls.certfile, tls.keyfile)
    key = (tls, tuple([_stamp(path) for path in files]))
    context = _shared.get(key)
    if context is None:
        context = _shared[key] = client_context(name, tls)
    return context


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Tells one state of a file from another; None if it cannot be looked at."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def client_context(name: str, tls: Tls | None) -> ssl.SSLContext:
    """A client's TLS context: 1.2 or later, the peer verified unless the settings say otherwise.

    Raises EndpointError with the key of the file that cannot be used.
    """
    if tls is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=tls.cacertfile)
    except (OSError, ValueError) as error:
        raise EndpointError(name, "tls.cacertfile", _why(error, tls.cacertfile)) from None
    if not tls.verify_peer:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certfile is None:
        if tls.keyfile is not None:
            raise EndpointError(name, "tls.keyfile", "a key without a certificate; tls.certfile is missing")
        return context
    for key, path, mark in (
        ("tls.certfile", tls.certfile, b"-----BEGIN CERTIFICATE-----"),
        ("tls.keyfile", tls.keyfile or tls.certfile, b"PRIVATE KEY-----"),
    ):
        try:
            found = mark in path.read_bytes()
        except OSError as error:
            raise EndpointError(name, key, _why(error, path)) from None
        if not found:
            raise EndpointError(
                name, key, f"{path}: no {mark.decode().strip('-')!r} in it; expected a PEM file"
            )
    # Always a password callback: without one OpenSSL would ask on the terminal.
    password = tls.key_password.get_secret_value() if tls.key_password is not None else ""
    try:
        context.load_cert_chain(tls.certfile, tls.keyfile, lambda: password)
    except (OSError, ValueError) as error:
        raise EndpointError(name, "tls.keyfile", _why(error, tls.keyfile or tls.certfile)) from None
    return context


def _why(error: Exception, path: object) -> str:
    """One line: the file and the cause, without OpenSSL's source positions."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "not a usable PEM file").lower().replace("_", " ")
        return f"{path}: {reason}; expected a certificate, its key and the key's key_password"
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror}"
    return f"{path}: {error}"
