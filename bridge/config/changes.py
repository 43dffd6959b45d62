"""What differs between the settings in force and those of a file read again."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.config.settings import Endpoint, Settings

_ALIVE = ("webhooks", "auth")
"""The blocks that a running process takes up."""
_BLOCKS = {"store": "sqlite"}
"""Fields of the settings whose block has another name in the file."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The endpoints that come, go and change, by name; and what only a restart takes up."""

    added: tuple[Endpoint, ...] = ()
    removed: tuple[Endpoint, ...] = ()
    changed: tuple[Endpoint, ...] = ()  # as they are to be
    auth: bool = False
    restart: tuple[str, ...] = ()  # blocks of the file

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.auth or self.restart)


def changes(old: Settings, new: Settings) -> Changes:
    """What to do to run with `new` instead of `old`. An endpoint that is not enabled counts as not there."""
    before = {endpoint.name: endpoint for endpoint in old.webhooks if endpoint.enable}
    after = {endpoint.name: endpoint for endpoint in new.webhooks if endpoint.enable}
    return Changes(
        tuple([endpoint for name, endpoint in after.items() if name not in before]),
        tuple([endpoint for name, endpoint in before.items() if name not in after]),
        tuple([endpoint for name, endpoint in after.items() if name in before and before[name] != endpoint]),
        old.auth != new.auth,
        tuple(
            [
                _BLOCKS.get(name, name)
                for name in Settings.model_fields
                if name not in _ALIVE and getattr(old, name) != getattr(new, name)
            ]
        ),
    )
