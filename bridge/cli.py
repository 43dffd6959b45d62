"""The command line: `hookmq start | check | listen | demo | version`, and what talks to the running process.

Exit codes: 0 done; 1 the configuration or the machine does not allow it (one line says why); 2 the command
line itself is wrong. A user's mistake never shows a traceback. What a command needs is imported when it runs,
so that `hookmq --help` and completion answer at once.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge import __version__
from bridge.commands.operate import register

if TYPE_CHECKING:
    from bridge.config.report import Message, Report
    from bridge.verify import Verifier

app = typer.Typer(
    help="HookMQ: an MQTT broker that turns every event into a durable webhook POST.",
    epilog="Start with: hookmq start --conf conf/nanomq.conf",
    rich_markup_mode=None,  # plain help: rich costs as much start-up time as all the rest
    # A fault of our own shows Python's plain traceback: the decorated one prints local variables, and with
    # them secrets.
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0}


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers whose error names what was found and what is possible."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?\d{1,18}", str(text)) else None
        if number is None or number < low or (high is not None and number > high):
            span = f"from {low} to {high}" if high is not None else f"from {low} up"
            raise typer.BadParameter(f"found {str(text)!r}, expected a whole number {span}.")
        return number

    return parse


def _time(text: str) -> float:
    """A parser of times, in seconds: `2s`, `300ms`, `1m`, `0.5`."""
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise typer.BadParameter(
            f"found {str(text)!r}, expected a number with ms, s or m, such as 300ms or 2s."
        )
    return float(match[1]) * _SECONDS[match[2]]


Conf = Annotated[
    Path,
    typer.Option("--conf", "-c", metavar="FILE", help="A nanomq.conf (HOCON, or the older key=value form)."),
]
OldConf = Annotated[
    bool,
    typer.Option("--old_conf", "--old-conf", help="Read FILE as key=value; without it its content decides."),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hookmq {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def start(conf: Conf, old_conf: OldConf = False) -> int:
    """Run the broker until Ctrl-C or SIGTERM."""
    if hasattr(signal, "SIGHUP") and not sys.stdin.isatty():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload that is asked for too early ends nothing
    report = _load(conf, old_conf)
    _print_messages(report.messages)
    if report.errors or report.settings is None:
        return 1
    from bridge.app import StartError, run

    try:
        return run(report.settings, lambda: _reread(conf.absolute(), old_conf))
    except StartError as error:
        return _fail(str(error))


@app.command(short_help="Show a configuration's errors, warnings and effect.")
def check(conf: Conf, old_conf: OldConf = False) -> int:
    """Show every error and warning of a configuration, and the settings that result from it."""
    report = _load(conf, old_conf)
    _print_messages(report.messages)
    errors, warnings = len(report.errors), len(report.warnings)
    if report.settings is not None and not errors:
        from bridge.config.mask import effective

        typer.echo(effective(report.settings).rstrip("\n"))
    sys.stdout.flush()
    typer.echo(f"{conf}: {_count(errors, 'error')}, {_count(warnings, 'warning')}", err=True)
    return 1 if errors or report.settings is None else 0


@app.command(short_help="Receive webhooks and print each one.")
def listen(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(metavar="PORT", parser=_whole(0, 65535), help="Port to listen on; 0 for any free one."),
    ] = 8888,
    status: Annotated[
        int, typer.Option(metavar="CODE", parser=_whole(200, 599), help="Status to answer with.")
    ] = 200,
    delay: Annotated[
        float, typer.Option(metavar="TIME", parser=_time, help="Time before each answer: 300ms, 2s, 1m.")
    ] = 0.0,
    pretty: Annotated[bool, typer.Option("--pretty", help="Print JSON over several lines.")] = False,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME", help="Print this header (repeatable; '*' for all)."),
    ] = None,
    quiet_headers: Annotated[bool, typer.Option("--quiet-headers", help="Print no headers.")] = False,
    count: Annotated[
        int, typer.Option(metavar="N", parser=_whole(0), help="Exit after N requests; 0: at Ctrl-C.")
    ] = 0,
    verify: Annotated[
        list[str] | None,
        typer.Option(
            "--verify",
            metavar="SECRET",
            envvar="HOOKMQ_VERIFY",
            help="Check signatures with this secret: whsec_…, whpk_…, or a text (repeatable).",
        ),
    ] = None,
    verify_header: Annotated[
        list[str] | None,
        typer.Option(
            "--verify-header", metavar="NAME", help="Check an HMAC-SHA256 in this header too (repeatable)."
        ),
    ] = None,
    verify_template: Annotated[
        str,
        typer.Option(
            "--verify-template", metavar="TEXT", help="What that header signs: {id}, {timestamp}, {body}."
        ),
    ] = "{body}",
) -> int:
    """Receive webhooks and print each one: a receiver for trying things out.

    With --verify, exits with 1 if a request had no good signature.
    """
    from bridge.listen import ListenError
    from bridge.listen import listen as run

    headers = () if quiet_headers else tuple(header) if header else None
    verifier = _verifier(verify or [], verify_header or [], verify_template)
    try:
        return run(
            *(host, port),
            status=status,
            delay=delay,
            pretty=pretty,
            headers=headers,
            count=count,
            verifier=verifier,
        )
    except ListenError as error:
        return _fail(str(error))


def _verifier(secrets: list[str], headers: list[str], template: str) -> Verifier | None:
    from bridge.verify import Verifier, VerifyError

    if not secrets:
        if headers:
            raise typer.BadParameter(
                "it checks nothing without --verify SECRET.", param_hint="--verify-header"
            )
        return None
    try:
        return Verifier(secrets, headers=headers, template=template)
    except VerifyError as error:
        raise typer.BadParameter(str(error), param_hint="--verify") from None


@app.command(short_help="Broker, receiver and three devices in this terminal.")
def demo(
    seconds: Annotated[
        float, typer.Option(metavar="TIME", parser=_time, help="End after this time; 0: at Ctrl-C.")
    ] = 0.0,
) -> int:
    """Broker, receiver and three simulated devices in this terminal, on free ports."""
    from bridge.demo import DemoError
    from bridge.demo import demo as run

    try:
        return run(seconds)
    except DemoError as error:
        return _fail(str(error))


register(app)


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(f"hookmq {__version__}")


def _load(conf: Path, old_conf: bool) -> Report:
    from bridge.config.load import load

    try:
        if conf.is_dir():
            raise IsADirectoryError(21, os.strerror(21))
        return load(conf, os.environ, classic=True if old_conf else None)
    except OSError as error:
        typer.echo(f"{conf}: cannot be read: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None


def _reread(conf: Path, old_conf: bool) -> Report:
    """The configuration as it is now, for a reload; never raises."""
    from bridge.config.load import load
    from bridge.config.report import Message

    report = load(conf, os.environ, classic=True if old_conf else None)
    with contextlib.suppress(OSError):
        if not conf.read_bytes().strip():
            # Most likely it is being written: to take it for what is wanted would end every webhook.
            report.messages.append(Message("error", conf, None, "", "the file is empty"))
    return report


def _print_messages(messages: Sequence[Message]) -> None:
    """On standard error, one line each, in colour where that is a terminal."""
    from bridge.terminal import escape  # a message quotes the file, and a file may hold anything

    for message in messages:
        tint = typer.colors.RED if message.level == "error" else typer.colors.YELLOW
        mark = f": {message.level}: "
        place, _, rest = escape(str(message)).partition(mark)
        if _color(sys.stderr):
            typer.echo(
                f"{typer.style(place, bold=True)}{typer.style(mark, fg=tint)}{rest}", err=True, color=True
            )
        else:
            typer.echo(f"{place}{mark}{rest}", err=True, color=False)


def _color(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and isatty() and not os.environ.get("NO_COLOR")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _fail(text: str) -> int:
    typer.echo(f"hookmq: {text}", err=True)
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. For the console script and `python -m bridge`."""
    try:
        code = app(None if arguments is None else list(arguments), prog_name="hookmq", standalone_mode=False)
    except typer.Abort:
        return 130
    except BrokenPipeError:  # `hookmq check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        # typer brings its own copy of click, or click's own, by version; the exceptions of both can
        # format themselves, and no other can.
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "hookmq"
        text = " ".join(str(format_message()).split())
        print(f"{command}: {text} (See: {command} --help)", file=sys.stderr)
        return int(getattr(error, "exit_code", 2))
    return code if isinstance(code, int) else 0
