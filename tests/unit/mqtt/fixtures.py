"""One table of control packets, good and malformed, for all tests. `cases` says how it is written."""

from __future__ import annotations

from tests.unit.mqtt import (
    fixtures_connection,
    fixtures_messages,
    fixtures_properties,
    fixtures_subscriptions,
)
from tests.unit.mqtt.cases import BAD, GOOD, Bad, Good

__all__ = ["BAD", "GOOD", "Bad", "Good"]

# Each of these has put its cases into GOOD and BAD.
PARTS = (fixtures_connection, fixtures_messages, fixtures_properties, fixtures_subscriptions)
