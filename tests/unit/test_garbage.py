"""The garbage collector does not look through a large broker again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from bridge import garbage


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    garbage.bound_pauses()
    garbage.bound_pauses()
    assert gc.callbacks.count(garbage._collected) == 1
    yield monkeypatch
    gc.callbacks.remove(garbage._collected)
    gc.unfreeze()


def test_what_a_long_collection_left_is_not_looked_at_again(bounded: pytest.MonkeyPatch) -> None:
    gc.unfreeze()
    many: list[list[int]] = [[] for _ in range(1000)]
    bounded.setattr(garbage, "FREEZE_S", 3600.0)
    gc.collect()
    assert gc.get_freeze_count() == 0
    bounded.setattr(garbage, "FREEZE_S", 0.0)
    gc.collect(0)
    assert gc.get_freeze_count() == 0  # only full ones are long
    gc.collect()
    assert gc.get_freeze_count() > 1000
    assert len(many) == 1000


def test_settling_finds_what_was_frozen_and_has_ended(bounded: pytest.MonkeyPatch) -> None:
    class Node:
        other: Node

    ended = []

    class Told(Node):
        def __del__(self) -> None:
            ended.append(True)

    one, two = Told(), Node()
    one.other, two.other = two, one
    bounded.setattr(garbage, "FREEZE_S", 0.0)
    gc.collect()
    del one, two
    gc.collect()
    assert not ended
    garbage.settle()
    assert ended
