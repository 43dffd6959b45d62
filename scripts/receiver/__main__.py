"""The command: a receiver that misbehaves, in a terminal. `python -m scripts.receiver --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from scripts.receiver import answers
from scripts.receiver.certificates import Certificates, OpensslError, make_certificates
from scripts.receiver.faults import FAULTS, Options, mend, misbehave
from scripts.receiver.server import Receiver, Request

SHOWN = 200
"""Characters of a target or an id that are shown."""


class Shown(Receiver):
    """Prints a line for each request."""

    count = 0

    async def on_request(self, request: Request) -> None:
        self.count += 1
        now = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        _say(
            f"{now}  {self.count}  connection {request.connection}  {_text(request.method)} "
            f"{_text(request.target)}  {_text(request.id) or '-'}  "
            f"attempt {_text(request.header('webhook-attempt') or '-')}  {len(request.body)} bytes"
        )


def _say(line: str) -> None:
    print(line, flush=True)


def _text(foreign: str) -> str:
    """Foreign text that is safe in a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in foreign[:SHOWN])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.receiver", description="A receiver of webhooks that misbehaves."
    )
    parser.add_argument("--fault", default="none", choices=FAULTS, metavar="NAME", help="how (see --list)")
    parser.add_argument("--list", action="store_true", help="show the faults and end")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=0, help="the port; by default one that is free")
    parser.add_argument(
        "--times", type=_positive, metavar="N", help="answer 204 after so many requests that went wrong"
    )
    parser.add_argument("--seconds", type=_seconds, metavar="S", help="answer 204 after so many seconds")
    parser.add_argument("--every", type=_positive, default=3, metavar="N", help="500: every Nth request (3)")
    parser.add_argument(
        "--retry-after", type=_positive, default=5, metavar="S", help="429: seconds to wait (5)"
    )
    parser.add_argument("--pause", type=_seconds, default=1.0, metavar="S", help="drip: between bytes (1)")
    found = parser.parse_args()
    fault = FAULTS[found.fault]
    if found.times is not None and (fault.script is None or found.fault == "500"):
        parser.error(f"--times does not fit --fault {found.fault}, --seconds does")
    return found


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected a port, 0 to 65535")
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86400:
        raise argparse.ArgumentTypeError(f"{text}: expected seconds, more than 0 and less than a day")
    return seconds


async def _serve(args: argparse.Namespace, folder: Path) -> None:
    """Serve until SIGINT or SIGTERM. Raises OSError and OpensslError."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    certificates: Certificates | None = None
    if FAULTS[args.fault].flaw is not None:
        certificates = make_certificates(folder)
    receiver = Shown(host=args.host, port=args.port)
    misbehave(receiver, args.fault, Options(args.every, args.retry_after, args.pause), certificates)
    if args.times is not None and receiver.script is not None:
        receiver.script = answers.first(args.times, receiver.script)
    await receiver.start()
    _say(f"url         {receiver.url()}")
    _say(f"fault       {args.fault}: {FAULTS[args.fault].what}")
    if certificates is not None:
        _say(f"cacertfile  {certificates.ca}")
    try:
        if args.seconds is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), args.seconds)
            if not stopping.is_set():
                await mend(receiver, certificates)
                _say("mended: answers 204 from now on")
        await stopping.wait()
    finally:
        await receiver.stop()


def main() -> int:
    """Run the command; the exit code."""
    args = _arguments()
    if args.list:
        width = max(map(len, FAULTS))
        for name, fault in FAULTS.items():
            _say(f"{name:{width}}  {fault.what}")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="hookmq-receiver-") as folder:
            asyncio.run(_serve(args, Path(folder)))
    except (OSError, OpensslError) as error:
        print(f"receiver: {args.host}:{args.port}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # Windows
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
