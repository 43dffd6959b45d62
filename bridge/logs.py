"""Logging as the `log` block says: console, file with rotation, syslog."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys

from bridge.config.settings import Log

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


class LogError(Exception):
    """A log target cannot be opened; the text names the key and the cause."""


class _LineFormatter(logging.Formatter):
    """One record, one line: a client id or topic cannot forge a second one or move the cursor."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) if not record.exc_info else text


def configure(settings: Log) -> None:
    """Set up the root logger. Raises LogError."""
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    form = _LineFormatter("%(asctime)s %(levelname)-7s %(message)s")
    handler: logging.Handler
    for target in settings.to:
        if target == "console":
            handler = logging.StreamHandler(sys.stderr)
        elif target == "file":
            path = settings.dir / settings.file
            try:
                settings.dir.mkdir(parents=True, exist_ok=True)
                handler = logging.handlers.RotatingFileHandler(
                    path, maxBytes=settings.rotation.size, backupCount=settings.rotation.count
                )
            except OSError as error:
                raise LogError(f"log.dir, log.file: cannot write {path}: {error.strerror}") from None
        else:
            device = "/dev/log" if os.path.exists("/dev/log") else ("localhost", 514)
            try:
                handler = logging.handlers.SysLogHandler(address=device)
            except OSError as error:
                raise LogError(f"log.to: cannot reach syslog at {device}: {error.strerror}") from None
        handler.setFormatter(form)
        root.addHandler(handler)
    root.setLevel(LEVELS[settings.level])
