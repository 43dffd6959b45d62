"""Managed endpoints in one process: added, changed and removed one by one, with the rules and the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from bridge.admin.endpoints import Endpoints
from bridge.admin.managed import Conflict, Invalid, NotThere
from bridge.admin.stored import Row, StoredRows, StoredSecret
from bridge.config.settings import Endpoint, Rule, Settings
from bridge.delivery.connect import Network
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.delivery.webhooks import Webhooks
from bridge.events.event import Event, EventType
from bridge.journal.batch import Dead, Retry
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore
from tests.integration.process import until

PUBLISH = EventType.MESSAGE_PUBLISH
NOWHERE = "http://127.0.0.1:9/"


class Clock:
    """Wall-clock seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class House:
    """Endpoints on one store, as a process has them."""

    def __init__(self, store: MemoryStore, clock: Clock, *files: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        settings = Settings(webhooks=files)
        self.journal = Journal(store, loop)
        self.endpoints = Endpoints(self.journal, clock=clock)
        self.webhooks = Webhooks(
            *(settings, self.journal, Network(loop), loop),
            managed=self.endpoints.load({one.name for one in files}),
            orphan=self.endpoints.orphan,
        )
        self.endpoints.start(self.webhooks)
        self.webhooks.start()
        self.ended = False

    async def end(self) -> None:
        if self.ended:
            return
        self.ended = True
        self.endpoints.stop()
        await self.webhooks.stop()
        self.journal.flush()


Make = Callable[..., House]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def house(store: MemoryStore, clock: Clock) -> AsyncIterator[Make]:
    made: list[House] = []

    def make(*files: Endpoint) -> House:
        made.append(House(store, clock, *files))
        return made[-1]

    yield make
    for one in made:
        await one.end()


def create(house: House, **document: object) -> str:
    document = {"url": NOWHERE, "events": [{"event": "on_message_publish", "topic": "a/#"}], **document}
    return house.endpoints.create(document, "operator", "test").id


def targets(house: House, topic: str) -> list[str]:
    names = {lane.id: lane.name for lane in house.webhooks.lanes}
    return [names[lane] for lane in house.webhooks.rules.targets(PUBLISH, topic)]


async def test_rules_follow_every_change(house: Make) -> None:
    file = Endpoint(name="erp", url=NOWHERE, events=(Rule(event=PUBLISH, topic="#"),))
    one = house(file)
    told: list[int] = []
    one.webhooks.on_rules = lambda: told.append(len(one.webhooks.lanes))
    first = create(one)
    second = create(one, where="qos = 2", backlog={"on_full": "refuse"})
    assert targets(one, "a/b") == ["erp", first, second]
    assert targets(one, "b") == ["erp"]
    assert one.webhooks.refusing
    event = Event(int(PUBLISH), 0, "c", None, "", one.webhooks.rules.targets(PUBLISH, "a/b"), "a/b", b"", 1)
    assert len(one.webhooks.rules.passing(event)) == 2
    await one.endpoints.change(first, {"events": [{"event": "on_message_publish", "topic": "b"}]}, "operator")
    assert targets(one, "a/b") == ["erp", second]
    assert targets(one, "b") == ["erp", first]
    await one.endpoints.change(second, {"active": False, "where": None}, "operator")
    assert targets(one, "a/b") == ["erp"]
    assert not one.webhooks.refusing
    assert not one.webhooks.rules.conditions
    assert isinstance(one.webhooks.find(second), Parked)
    await one.endpoints.delete(first, "operator")
    assert targets(one, "b") == ["erp"]
    assert len(told) == 5
    assert one.webhooks._conditions == {}


async def test_a_lane_keeps_its_place_over_a_change(house: Make) -> None:
    one = house()
    names = [create(one) for _ in range(3)]
    before = [lane.id for lane in one.webhooks.lanes]
    await one.endpoints.change(names[1], {"pool_size": 2}, "operator")
    assert [lane.id for lane in one.webhooks.lanes] == before
    lane = one.webhooks.lanes[1]
    assert lane.endpoint.pool_size == 2
    version = one.endpoints.version(names[1])
    await one.endpoints.change(names[1], {"pool_size": 2}, "operator")
    assert one.webhooks.lanes[1] is lane  # nothing has changed but the version
    assert one.endpoints.version(names[1]) != version


async def test_removed_with_its_rows(house: Make, store: MemoryStore) -> None:
    one = house()
    name = create(one)
    kept = create(one)
    lane = one.webhooks.find(name)
    assert isinstance(lane, Lane)
    for index in range(1000):
        seq = one.journal.append(Event(int(PUBLISH), 0, "c", None, "", (lane.id,), "x", b"payload", 1))
        one.journal.change(Retry(lane.id, seq, 1, 1 << 60, 0, 0, "", "no"))
        if index % 2:
            one.journal.change(Dead(lane.id, seq, 1, 1, "no"))
    one.journal.flush()
    assert store.dead_totals(lane.id).letters == 500
    await one.endpoints.delete(name, "operator")
    await until(lambda: all(state.name != name for state in store.lanes()), "its lane is gone")
    assert store.dead_totals(lane.id).letters == 0
    assert store.retries(lane.id) == []
    assert [state.name for state in store.lanes()] == [kept]
    with pytest.raises(NotThere):
        one.endpoints.show(name)


async def test_what_a_crash_has_left_goes_at_the_start(house: Make, store: MemoryStore) -> None:
    one = house()
    name = create(one)
    kept = create(one, active=False)
    await one.end()
    # The row was deleted, its lane not yet; and a lane of the file's that is no more, which is kept.
    StoredRows(one.journal, Endpoints.space, Endpoints.prefix).delete(name)
    store.lane("erp")
    store.lane("ep_of_the_file")
    one.journal.flush()
    again = house()
    await until(lambda: all(state.name != name for state in store.lanes()), "its lane is gone")
    assert {parked.name for parked in again.webhooks.parked} == {kept, "erp", "ep_of_the_file"}


async def test_rows_that_cannot_be_read(house: Make, store: MemoryStore) -> None:
    one = house()
    good = create(one)
    rows = StoredRows(one.journal, Endpoints.space, Endpoints.prefix)
    unreadable, broken, refused = rows.new_id(), rows.new_id(), rows.new_id()
    one.journal.put(Endpoints.space, unreadable, b"\xc1 no row")
    rows.put(
        broken, Row({"url": "http://h/", "pool_siz": 3, "headers": {"X-Key": "s3cret"}}, 1, 1, "operator")
    )
    rows.put(refused, Row({"url": "http://10.0.0.1/", "events": ["a.b"]}, 2, 2, "tenant"))
    await one.end()
    again = house()
    found = {name: again.endpoints.show(name) for name in again.endpoints.ids()}
    assert found[good]["state"] == "on"
    assert "cannot be read" in found[unreadable]["reason"]
    assert "did you mean pool_size" in found[broken]["reason"]
    assert "refused to this endpoint" in found[refused]["reason"]
    assert {found[name]["state"] for name in (unreadable, broken, refused)} == {"off"}
    assert "s3cret" not in str(found)
    await again.endpoints.change(broken, {"pool_siz": None}, "operator")
    assert again.endpoints.show(broken)["state"] == "on"
    for name in (unreadable, refused):
        await again.endpoints.delete(name, "operator")
    assert sorted(again.endpoints.ids()) == sorted([good, broken])


async def test_there_is_a_most(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoints, "most", 2)
    one = house()
    create(one)
    name = create(one)
    with pytest.raises(Conflict, match="there are 2 of them"):
        create(one)
    await one.endpoints.delete(name, "operator")
    create(one)


async def test_what_cannot_work_leaves_nothing(house: Make, store: MemoryStore) -> None:
    one = house()
    for document in ({"url": "http://169.254.169.254/"}, {"url": "nothing"}, {"url": NOWHERE, "x": 1}):
        with pytest.raises(Invalid):
            create(one, **document)
    assert store.lanes() == []
    assert one.endpoints.ids() == []
    name = create(one)
    lane = one.webhooks.find(name)
    with pytest.raises(Invalid):
        await one.endpoints.change(name, {"url": "http://169.254.169.254/"}, "operator")
    assert one.webhooks.find(name) is lane


async def test_old_secrets_expire(house: Make, clock: Clock) -> None:
    one = house()
    name = create(one)
    for expire_in in (100, 300):
        await one.endpoints.rotate(name, "operator", expire_in=expire_in)

    def secrets() -> int:
        lane = one.webhooks.find(name)
        assert isinstance(lane, Lane)
        return len(lane.endpoint.secrets)

    assert secrets() == 3
    shown = one.endpoints.show(name)["old_secret_expires"]
    for seconds, left in ((101, 2), (200, 1)):
        clock.now += seconds
        await one.endpoints._expire()
        assert secrets() == left
    assert "old_secret_expires" not in one.endpoints.show(name)
    assert shown > ""
    for _ in range(20):
        await one.endpoints.rotate(name, "operator")
    assert secrets() == 8


async def test_what_has_expired_while_nothing_ran(house: Make, clock: Clock) -> None:
    one = house()
    name = create(one)
    await one.endpoints.rotate(name, "operator", expire_in=100)
    await one.end()
    clock.now += 101
    lane = house().webhooks.find(name)
    assert isinstance(lane, Lane)
    assert len(lane.endpoint.secrets) == 1


async def test_an_ed25519_secret_is_rotated_by_its_owner(house: Make) -> None:
    one = house()
    key = "whsk_" + "A" * 43 + "="
    name = create(one, secret=key)
    with pytest.raises(Invalid, match="expected the new key for ed25519"):
        await one.endpoints.rotate(name, "operator")
    await one.endpoints.rotate(name, "operator", secret="whsk_" + "B" * 43 + "=")
    assert len(one.endpoints._stored.rows[name].secrets) == 2


def test_a_row_is_stored_as_it_was(store: MemoryStore) -> None:
    async def work() -> None:
        journal = Journal(store, asyncio.get_running_loop())
        rows = StoredRows(journal, "space", "x_")
        name = rows.new_id()
        assert rows.is_id(name)
        assert not rows.is_id("x_short")
        row = Row({"a": [1, {"b": None}]}, 1, 2, "tenant", "me", 7, [StoredSecret({"env": "A"}, 1, 2)])
        rows.put(name, row)
        journal.flush()
        assert StoredRows(journal, "space", "x_").rows == {name: row}

    asyncio.run(work())
