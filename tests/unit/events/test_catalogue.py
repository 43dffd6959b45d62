"""The catalogue of business events: what is in it, how data is checked, and the user's own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.events.catalogue import Catalogue, CatalogueError, load, valid_name

MACHSHOP = [
    "work_order.created",
    "work_order.started",
    "work_order.completed",
    "work_order.updated",
    "operation.started",
    "operation.completed",
    "quality.inspection_complete",
    "quality.ncr_created",
    "inventory.material_allocated",
    "inventory.material_consumed",
]
ERYXON = [
    "batch.started",
    "batch.completed",
    "job.created",
    "job.updated",
    "job.started",
    "job.stopped",
    "job.resumed",
    "job.completed",
    "part.created",
    "part.updated",
    "part.started",
    "part.completed",
    "operation.started",
    "operation.paused",
    "operation.resumed",
    "operation.completed",
    "issue.created",
    "ncr.created",
    "ncr.verified",
    "step.added",
    "step.completed",
    "production.quantity_reported",
    "production.scrap_recorded",
]
WORK_ORDER = {"id": "wo-123", "orderNumber": "WO-2024-001", "product": "Widget A", "quantity": 100}


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load()


def test_it_has_all_types_of_both(shipped: Catalogue) -> None:
    assert len(MACHSHOP) == 10
    assert len(ERYXON) == 23
    assert [name for name in shipped if "MachShop" in shipped[name].sources] == MACHSHOP
    assert {name for name in shipped if "Eryxon" in shipped[name].sources} == set(ERYXON)
    assert list(shipped) == list(dict.fromkeys(MACHSHOP + ERYXON))


@pytest.mark.parametrize("name", dict.fromkeys(MACHSHOP + ERYXON))
def test_a_type_is_whole(shipped: Catalogue, name: str) -> None:
    found = shipped[name]
    assert valid_name(name)
    assert found.description
    assert len(found.schemas) == len(found.examples) == len(found.sources)
    for example in found.examples:
        assert shipped.check(name, example) == []
    assert shipped.check(name, {}) != []  # each asks for something
    assert shipped.check(name, []) != []
    assert found.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    ("name", "data"),
    [  # the examples of the two documents
        ("work_order.created", {"workOrder": WORK_ORDER}),
        (
            "work_order.completed",
            {
                "workOrder": {
                    "id": "wo-123",
                    "orderNumber": "WO-2024-001",
                    "status": "COMPLETED",
                    "completedQuantity": 100,
                    "completionDate": "2024-01-15T14:30:00Z",
                }
            },
        ),
        (
            "operation.started",
            {"operation_name": "Laser Cutting", "part_number": "BRACKET-A1", "operator_name": "John Smith"},
        ),
        ("work_order.created", {"workOrder": WORK_ORDER | {"dueDate": "2024-02-01", "more": [1]}, "x": 1}),
    ],
)
def test_what_the_documents_show_is_right(shipped: Catalogue, name: str, data: Any) -> None:
    assert shipped.check(name, data) == []


@pytest.mark.parametrize(
    ("name", "data", "problems"),
    [
        (
            "work_order.created",
            {"workOrder": WORK_ORDER | {"quantity": -1, "dueDate": "soon"}},
            {"/workOrder/quantity", "/workOrder/dueDate"},
        ),
        ("work_order.created", {"workOrder": {"id": 5, "orderNumber": "x"}}, {"/workOrder/id"}),
        ("work_order.created", {}, {""}),
        ("operation.completed", {"operation": {"id": "a", "workOrderId": ""}}, {"/operation/workOrderId"}),
        ("operation.completed", {"operation_name": "Saw", "actual_time": "x"}, {"/actual_time"}),
        (
            "production.scrap_recorded",
            {"quantity_scrap": 3, "scrap_reasons": [{}, {"quantity": "2"}]},
            {"/scrap_reasons/1/quantity"},
        ),
    ],
)
def test_what_is_wrong_has_its_path(shipped: Catalogue, name: str, data: Any, problems: set[str]) -> None:
    found = shipped.check(name, data)
    assert {problem.path for problem in found} == problems
    assert all(str(problem).startswith(problem.path) and problem.message for problem in found)


def test_many_and_long_problems_are_bounded(shipped: Catalogue) -> None:
    reasons = [{"quantity": "x" * 1000}] * 1000
    found = shipped.check("production.scrap_recorded", {"quantity_scrap": 1, "scrap_reasons": reasons})
    assert len(found) == 20
    assert all(len(problem.message) <= 300 for problem in found)


def test_an_unknown_type_has_no_schema(shipped: Catalogue) -> None:
    assert shipped.check("no.such", {"a": 1}) == []


# -- the user's own file -------------------------------------------------------------------------------------


def own(folder: Path, text: Any) -> Catalogue:
    path = folder / "events.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return load(path)


def test_own_types_stand_beside_the_others(tmp_path: Path, shipped: Catalogue) -> None:
    found = own(
        tmp_path,
        {
            "types": {
                "saw.blade-changed": {},
                "work_order.created": {
                    "description": "ours",
                    "schema": {"required": ["n"]},
                    "example": {"n": 1},
                },
            }
        },
    )
    assert len(found) == len(shipped) + 1
    assert found["saw.blade-changed"].sources == ("events.json",)
    assert found["saw.blade-changed"].example == {}
    assert found.check("saw.blade-changed", {"any": 1}) == []
    assert found.check("saw.blade-changed", 1) != []
    assert found["work_order.created"].description == "ours"
    assert found.check("work_order.created", {"workOrder": WORK_ORDER}) != []
    assert load()["work_order.created"].description != "ours"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"types":\n', ": not JSON: line 2, column 1: "),
        ([], ': expected an object {"types": {"name": {…}}}'),
        ({"typs": {}}, ': /types: expected an object {"types": {"name": {…}}}'),
        ({"types": {}, "x": 1}, ": /x: unknown key, expected types"),
        ({"types": {"a b": {}}}, ": /types/a b: expected a name such as work_order.created: letters, "),
        ({"types": {"a\r\nb": {}}}, ": /types/a\r\nb: expected a name"),
        ({"types": {"a": []}}, ": /types/a: expected an object with description, schema and example"),
        ({"types": {"a": {"shema": {}}}}, ": /types/a/shema: unknown key, expected description, schema or"),
        ({"types": {"a": {"description": 1}}}, ": /types/a/description: expected a text"),
        ({"types": {"a": {"schema": []}}}, ": /types/a/schema: expected a JSON Schema, an object"),
        ({"types": {"a": {"schema": {"type": "objekt"}}}}, ': /types/a/schema/type: "objekt" is not valid'),
        ({"types": {"a": {"schema": {"$schema": "draft-07"}}}}, ": /types/a/schema/$schema: found"),
        ({"types": {"a": {"schema": {"$ref": "http://127.0.0.1:9/x"}}}}, ": /types/a/schema: Resource"),
        ({"types": {"a": {"schema": {"$ref": "#/$defs/b"}}}}, ": /types/a/schema: Pointer"),
        ({"types": {"a": {"schema": {"pattern": "("}}}}, ": /types/a/schema/pattern: "),
        ({"types": {"a": {"example": 1}}}, ": /types/a/example: expected an object: an example of data"),
        (
            {"types": {"a": {"schema": {"properties": {"n": {"minimum": 3}}}, "example": {"n": 2}}}},
            ": /types/a/example/n: not right by its schema: 2 is less than the minimum of 3",
        ),
    ],
)
def test_a_mistake_in_the_file_has_its_place(tmp_path: Path, text: Any, message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        own(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/events.json{message}")


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none\.json: cannot be read: No such file"):
        load(tmp_path / "none.json")
    with pytest.raises(CatalogueError, match="found more than 4 MiB, expected at most that"):
        own(tmp_path, " " * (4 << 20) + "{}")


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a/b", "a b", "a\n", "ä", "#", "+", "a" * 129])
def test_names_that_no_type_can_have(name: str) -> None:
    assert not valid_name(name)
