"""Logging as the `log` block says: console, file with rotation, syslog; as text or as JSON."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import time
from datetime import datetime

from bridge.config.settings import Log

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
NAMES = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}
PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Of syslog(3), as sd-daemon(3) has them in front of a line."""
COMPLAIN_S = 60.0
"""Between two complaints about a log that cannot be written."""


class LogError(Exception):
    """A log target cannot be opened; the text names the key and the cause."""


class _LineFormatter(logging.Formatter):
    """One record, one line: a client id or topic cannot forge a second one or move the cursor."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) if not record.exc_info else text


class _JournalFormatter(_LineFormatter):
    """Lines for systemd's journal, which has the time itself and takes the level from `<4>` in front."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines() or [""])


class _JsonFormatter(logging.Formatter):
    """A JSON object a line, with the members of EMQX's: `time`, `level`, `msg`; and where it comes from."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        line = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": NAMES.get(record.levelno, record.levelname.lower()),
            "msg": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)  # pure ASCII: nothing in it can be taken for the end of a line


class _Quiet:
    """A log that cannot be written (the disk is full) is told of once a minute, in one line, and not with a
    traceback for every record."""

    _complained = float("-inf")

    def handleError(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._complained >= COMPLAIN_S:
            self._complained = now
            try:
                print(f"hookmq: the log cannot be written: {sys.exc_info()[1]}", file=sys.stderr)
            except OSError:
                return


class _FileHandler(_Quiet, logging.handlers.RotatingFileHandler):
    def doRollover(self) -> None:
        if self.backupCount > 0:
            super().doRollover()
        elif self.stream is not None:  # logging itself would let it grow without bound
            self.stream.seek(0)
            self.stream.truncate()


class _SyslogHandler(_Quiet, logging.handlers.SysLogHandler):
    pass


def to_journal() -> bool:
    """Whether standard error goes to systemd's journal (`JOURNAL_STREAM`, systemd.exec(5))."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def configure(settings: Log) -> None:
    """Set up the root logger. Raises LogError."""
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for target in settings.to:
        handler = _handler(target, settings)
        handler.setFormatter(_formatter(target, settings.formatter))
        root.addHandler(handler)
    root.setLevel(LEVELS[settings.level])


def _formatter(target: str, form: str) -> logging.Formatter:
    if form == "json":
        return _JsonFormatter()
    if target == "console" and to_journal():
        return _JournalFormatter("%(message)s")
    if target == "syslog":
        return _LineFormatter("%(message)s")  # which has time and level of its own
    return _LineFormatter("%(asctime)s %(levelname)-7s %(message)s")


def _handler(target: str, settings: Log) -> logging.Handler:
    if target == "console":
        return logging.StreamHandler(sys.stderr)
    if target == "file":
        path = settings.dir / settings.file
        try:
            settings.dir.mkdir(parents=True, exist_ok=True)
            return _FileHandler(
                path,
                maxBytes=settings.rotation.size,
                backupCount=settings.rotation.count,
                encoding="utf-8",
            )
        except OSError as error:
            raise LogError(f"log.dir, log.file: cannot write {path}: {error.strerror}") from None
    device = "/dev/log" if os.path.exists("/dev/log") else ("localhost", 514)
    try:
        handler = _SyslogHandler(address=device, facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    except OSError as error:
        raise LogError(f"log.to: cannot reach syslog at {device}: {error.strerror}") from None
    handler.ident = f"hookmq[{os.getpid()}]: "
    return handler
