"""The faults by name: what `--list` shows and what the tests go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.receiver import answers
from scripts.receiver.certificates import Certificates, Flaw
from scripts.receiver.server import Receiver, Script, answer


@dataclass(frozen=True)
class Options:
    """What some faults can be told."""

    every: int = 3  # `500`: each so many requests
    retry_after: int = 5  # seconds, `429`, `429-date` and `503`
    pause: float = 1.0  # seconds between two bytes of `drip`


@dataclass(frozen=True)
class Fault:
    """One way to misbehave: by its answers (`script`), its certificate (`flaw`), or by not listening."""

    what: str  # for the user
    script: Callable[[Options], Script] | None = None
    flaw: Flaw | None = None
    refuses: bool = False


def _plain(script: Script) -> Callable[[Options], Script]:
    return lambda _: script


FAULTS: dict[str, Fault] = {
    "none": Fault("answers 204 to everything", _plain(answer)),
    "refuse": Fault("nobody listens: connections are refused", refuses=True),
    "hang": Fault("takes the request and never answers", _plain(answers.hang)),
    "hang-in-body": Fault(
        "answers with headers and the beginning of a body, then nothing", _plain(answers.hang_in_body)
    ),
    "close": Fault("closes the connection instead of answering", _plain(answers.close)),
    "reset": Fault("resets the connection instead of answering", _plain(answers.reset)),
    "reset-in-body": Fault("resets the connection inside its answer", _plain(answers.reset_in_body)),
    "keep-alive": Fault(
        "closes or resets a connection that is kept alive as its second request comes",
        _plain(answers.close_when_reused),
    ),
    "1xx": Fault("answers 100 and 103 first, then 200", _plain(answers.continue_first)),
    "204": Fault("answers 204, which has no body", _plain(answers.status(204))),
    "301": Fault(
        "answers 301 to another path", _plain(answers.status(301, headers=[("Location", "/elsewhere")]))
    ),
    "410": Fault("answers 410: gone for ever", _plain(answers.status(410))),
    "429": Fault(
        "answers 429 with Retry-After in seconds (--retry-after)",
        lambda options: answers.slow_down(429, lambda: str(options.retry_after)),
    ),
    "429-date": Fault(
        "answers 429 with Retry-After as a date (--retry-after)",
        lambda options: answers.slow_down(429, lambda: answers.http_date(options.retry_after)),
    ),
    "500": Fault(
        "answers 500 now and then: every third request (--every)",
        lambda options: answers.every(options.every, answers.status(500, b"now and then")),
    ),
    "503": Fault("answers 503 to everything", _plain(answers.status(503))),
    "chunked": Fault("answers 200 in chunks, with a trailer", _plain(answers.chunked)),
    "close-delimited": Fault(
        "answers 200 with a body that the end of the connection ends", _plain(answers.close_delimited)
    ),
    "too-long": Fault(
        "announces a longer body than it sends, and closes (Content-Length)", _plain(answers.cut_in_body)
    ),
    "too-short": Fault(
        "announces a shorter body than it sends (Content-Length)",
        _plain(answers.raw(answers.HEAD + b"Content-Length: 2\r\n\r\nhello")),
    ),
    "drip": Fault(
        "answers 200 byte by byte, a second between two (--pause)",
        lambda options: answers.drip_every(options.pause),
    ),
    "endless-body": Fault("answers 200 with a body that never ends", _plain(answers.endless_body)),
    "endless-header": Fault("answers 200 with headers that never end", _plain(answers.endless_header)),
    "tls-wrong-name": Fault("https with the certificate of another host", flaw="wrong-name"),
    "tls-expired": Fault("https with a certificate that has expired", flaw="expired"),
    "tls-unknown": Fault("https with a certificate of an unknown authority", flaw="unknown"),
}


def misbehave(
    receiver: Receiver,
    name: str,
    options: Options = Options(),
    certificates: Certificates | None = None,
) -> None:
    """Make a receiver misbehave: from its next request on, or for `refuse` and TLS from its next start on.

    The faults of TLS need `certificates`. Raises KeyError for a name that is none, OpensslError.
    """
    fault = FAULTS[name]
    receiver.script = fault.script(options) if fault.script is not None else None
    receiver.refusing = fault.refuses
    if fault.flaw is not None:
        assert certificates is not None, "the faults of TLS need certificates"
        receiver.ssl = certificates.flawed_context(fault.flaw)


async def mend(receiver: Receiver, certificates: Certificates | None = None) -> None:
    """Make it a good receiver at the same address, at once. Raises OSError."""
    receiver.script = None
    receiver.scripts.clear()
    if receiver.refusing or receiver.ssl is not None:
        receiver.refusing = False
        if receiver.ssl is not None:
            assert certificates is not None, "the faults of TLS need certificates"
            receiver.ssl = certificates.server_context()
        await receiver.restart()
