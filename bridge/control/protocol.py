"""What the command line and the running process say to each other.

One JSON value a line, UTF-8. The client sends one request, `{"command": NAME, "args": {…}}`; the server
answers with any number of `{"progress": {…}}` and `{"rows": […]}`, and ends with `{"result": …}` or
`{"error": TEXT}`. The text of an error is one plain sentence. A client that goes away ends what it asked for.

The socket belongs to the user that runs HookMQ (mode 0600): who may open it may do everything. It is found by
the store's path alone; a path too long for a socket's address is reached through its folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_REQUEST = 64 << 10
"""Bytes of a request."""
MAX_REPLY = 8 << 20
"""Bytes of one line of a reply."""
MAX_ADDRESS = 103
"""Bytes of a socket's address: 104 with the NUL on macOS, 108 on Linux."""


class ControlError(Exception):
    """The socket cannot be opened or reached; the text is one plain sentence."""


def socket_path(store: Path) -> Path:
    """The socket of the store at that path: `hookmq.sock` beside `hookmq.db`."""
    return store.with_name(store.stem + ".sock")


def supported() -> bool:
    """Whether this system has Unix sockets (Python on Windows has not)."""
    return hasattr(socket, "AF_UNIX")


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """What to bind or connect to for the socket at `path`; only while this context lasts.

    Raises ControlError where the path is too long, and OSError.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS:
        yield str(path)
        return
    if sys.platform != "linux" or len(os.fsencode(path.name)) > MAX_ADDRESS - 32:
        raise ControlError(
            f"{path} is too long for a socket's address (at most {MAX_ADDRESS} bytes): use a shorter folder"
        )
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
