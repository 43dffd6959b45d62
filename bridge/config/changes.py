"""What differs between the settings in force and those of a file read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from bridge.config.settings import AnyEndpoint, DomainEvents, Settings

_ALIVE = ("webhooks", "mqtt_publishers", "auth")
"""The blocks that a running process takes up; of `events` it is `lift` alone."""
_BLOCKS = {"store": "sqlite"}
"""Fields of the settings whose block has another name in the file."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The endpoints that come, go and change; and what only a restart takes up.

    An endpoint that is not enabled counts as not there; one that was and is no more is `disabled` while its
    block is there, and `removed` without it.
    """

    added: tuple[AnyEndpoint, ...] = ()
    removed: tuple[AnyEndpoint, ...] = ()
    disabled: tuple[AnyEndpoint, ...] = ()
    changed: tuple[AnyEndpoint, ...] = ()  # as they are to be
    auth: bool = False
    lift: bool = False  # the rules of `events.lift`
    restart: tuple[str, ...] = ()  # blocks of the file

    def lines(self, more: Iterable[str] = ()) -> list[str]:
        """One line for each, for people; `more` are lines of what else has changed."""
        found = [f"{one.block}: new" for one in self.added]
        found += [f"{one.block}: changed" for one in self.changed]
        found += [f"{one.block}: disabled, what waits for it is kept" for one in self.disabled]
        found += [f"{one.block}: removed, it is sent what waits for it" for one in self.removed]
        if self.auth:
            found.append("auth: changed; connected clients get the new access rules, and stay connected")
        if self.lift:
            found.append("events.lift: changed; it holds for the messages from now on")
        found += [f"{block}: changed, takes effect at the next start" for block in self.restart]
        found += more
        return found or ["nothing has changed"]


class Reloaded(NamedTuple):
    """What came of reading a configuration again. Where it is not `applied` nothing has changed."""

    applied: bool
    errors: list[str]
    warnings: list[str]
    changes: list[str]


def files_digest(endpoint: AnyEndpoint) -> bytes:
    """A digest of what the files hold that an endpoint names: secrets, certificates, keys."""
    digest = sha256()
    for path in _paths(endpoint.model_dump()):
        digest.update(str(path).encode("utf-8", "surrogateescape") + b"\0")
        try:
            digest.update(sha256(path.read_bytes()).digest())
        except OSError:
            digest.update(b"-")
    return digest.digest()


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _paths(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _paths(part)


def _never(endpoint: AnyEndpoint) -> bool:
    return False


def changes(old: Settings, new: Settings, stale: Callable[[AnyEndpoint], bool] = _never) -> Changes:
    """What to do to run with `new` instead of `old`.

    `stale` says of an endpoint whose settings are the same whether it has changed all the same.
    """
    before = {endpoint.name: endpoint for endpoint in old.receivers if endpoint.enable}
    after = {endpoint.name: endpoint for endpoint in new.receivers if endpoint.enable}
    there = {endpoint.name for endpoint in new.receivers}
    return Changes(
        tuple([endpoint for name, endpoint in after.items() if name not in before]),
        tuple([endpoint for name, endpoint in before.items() if name not in there]),
        tuple([endpoint for name, endpoint in before.items() if name in there and name not in after]),
        tuple(
            [
                endpoint
                for name, endpoint in after.items()
                if name in before and (before[name] != endpoint or stale(endpoint))
            ]
        ),
        old.auth != new.auth,
        old.events.lift != new.events.lift,
        tuple(
            [
                _BLOCKS.get(name, name)
                for name in Settings.model_fields
                if name not in _ALIVE and _at_the_start(old, name) != _at_the_start(new, name)
            ]
        ),
    )


def _at_the_start(settings: Settings, name: str) -> BaseModel:
    """A block without what a running process takes up."""
    block: BaseModel = getattr(settings, name)
    return block.model_copy(update={"lift": ()}) if isinstance(block, DomainEvents) else block
