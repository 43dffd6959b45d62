"""The command line's side of the control socket. Imports nothing heavy: a command should answer at once."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from bridge.control.protocol import MAX_REPLY, ControlError, address, socket_path, supported

SILENCE_S = 60.0
"""How long the process may say nothing: it tells progress several times a second."""


class NotRunning(ControlError):
    """No process answers there."""


class CommandError(Exception):
    """The process refused the command; the text says why."""


class Client:
    """One command given to the HookMQ that runs on the store at that path.

    Raises NotRunning where none does, and ControlError where it cannot be reached.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        if not supported():
            raise ControlError("this command needs Unix sockets, which this system's Python does not have")
        path = socket_path(store)
        nobody = f"no HookMQ runs on the store {store}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(SILENCE_S)
        try:
            with address(path) as name:
                self._socket.connect(name)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            self._socket.close()
            raise NotRunning(nobody) from None
        except PermissionError:
            self._socket.close()
            raise ControlError(
                f"{path} belongs to another user: run this as the one who runs HookMQ"
            ) from None
        except (OSError, ControlError) as error:
            self._socket.close()
            raise ControlError(str(error) or nobody) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(self, command: str, **args: Any) -> Iterator[dict[str, Any]]:
        """Every line of the answer up to the one with `result`. Raises CommandError and ControlError."""
        wanted = {name: value for name, value in args.items() if value is not None}
        request = json.dumps({"command": command, "args": wanted}).encode() + b"\n"
        try:
            self._socket.sendall(request)
            with self._socket.makefile("rb") as lines:
                while line := lines.readline(MAX_REPLY + 1):
                    if not line.endswith(b"\n"):
                        break
                    answer: dict[str, Any] = json.loads(line)
                    if "error" in answer:
                        raise CommandError(answer["error"])
                    yield answer
                    if "result" in answer:
                        return
        except TimeoutError:
            raise ControlError(f"HookMQ has not answered for {SILENCE_S:.0f} s") from None
        except (OSError, ValueError) as error:
            raise ControlError(f"the connection to HookMQ failed: {error}") from None
        raise ControlError("HookMQ ended before it had answered")
