"""docs/filters.md says what is: its fields, functions, operators, examples and bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.events import emqx
from bridge.events.expression import ExpressionError, compile_condition
from bridge.events.expression_fields import FIELDS, MAX_PAYLOAD
from bridge.events.expression_functions import FUNCTIONS
from bridge.events.expression_tree import MAX_DEPTH, MAX_LENGTH, MAX_NODES

PAGE = (Path(__file__).parents[3] / "docs" / "filters.md").read_text()
EXAMPLES = re.findall(r"```where\n(.*?)```", PAGE, re.DOTALL)[0].strip().splitlines()


def section(title: str) -> str:
    return re.split(r"^## ", PAGE.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


def first_cells(title: str) -> list[str]:
    """What stands in backticks in the first column of a section's table."""
    rows = re.findall(r"^\| (`.*?`) \|", section(title).replace(r"\|", "¦"), re.MULTILINE)
    return [name.replace("¦", "|") for row in rows for name in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_are_conditions(text: str) -> None:
    compile_condition(text)


def test_the_condition_at_the_top() -> None:
    found = re.findall(r'where = "(.*)"', PAGE)
    assert found
    for text in found:
        compile_condition(text)


def test_the_fault_at_the_top() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition("payload.temp >> 80")
    assert f"``{caught.value}``" in PAGE


def test_every_field_is_named() -> None:
    names = {cell.partition(".")[0] for cell in first_cells("Fields")}
    assert names == set(FIELDS)
    assert {cell for cell in first_cells("Fields") if "." in cell} == {"flags.retain", "flags.dup"}


def test_fields_are_those_of_the_format() -> None:
    assert set(FIELDS) == set(emqx.KEYS) - {"node", "metadata", "payload_encoding"}


def test_every_function_is_named_with_its_parameters() -> None:
    said = dict(re.findall(r"(\w+)\(([^)]*)\)", " ".join(first_cells("Functions"))))
    assert said.pop("exists") == "field"
    assert said == {name: ", ".join(function.parameters) for name, function in FUNCTIONS.items()}


def test_values_are_read_as_written() -> None:
    for cell in first_cells("Values"):
        compile_condition(f"{cell} = null")


def test_every_operator_is_one() -> None:
    for sign in [cell.replace("(…)", "").strip() for cell in first_cells("Operators")]:
        if sign in ("not", "!"):
            text = f"{sign} flags.retain"
        elif sign in ("or", "and", "||", "&&"):
            text = f"flags.retain {sign} flags.dup"
        elif sign in "+-*/%":
            text = f"qos {sign} 1 = 1"
        elif sign.endswith("in"):
            text = f"qos {sign} (1) and qos {sign} [1]"
        else:
            text = f"topic {sign} 'a'"
        compile_condition(text)


def test_the_bounds() -> None:
    assert f"{MAX_LENGTH:,} characters, {MAX_NODES} parts and {MAX_DEPTH} levels" in section("Bounds")
    assert MAX_PAYLOAD == 1 << 20  # "1 MiB"
