"""docs/conformance.md and the marks on the tests say the same, and leave no statement out."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"

SECTIONS = {"MQTT 3.1.1": "mqtt3", "MQTT 5.0": "mqtt5"}
"""The page's parts and the mark that belongs to each."""
STATEMENTS = {"mqtt3": 141, "mqtt5": 251}
"""How many statements the standards number (their Appendix B)."""
ROW = re.compile(r"\| \[MQTT-([0-9.]+-[0-9]+)\] \| (.+?) \| (.+) \|")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
NOT_APPLICABLE = "not applicable: "

Statement = tuple[str, str]  # mark and number
Table = dict[Statement, str]  # to the row's last cell
Marks = dict[Statement, set[str]]  # to tests as path::name


def read_table(page: str) -> tuple[Table, list[str]]:
    """The rows of the page, and what is wrong with its form."""
    table: Table = {}
    wrong: list[str] = []
    mark = ""
    for line in page.splitlines():
        if line.startswith("## "):
            mark = SECTIONS.get(line[3:], "")
        elif "[MQTT-" in line and line.startswith("|"):
            row = ROW.fullmatch(line)
            if row is None or not mark:
                wrong.append(f"no row of a table: {line}")
            elif (mark, row[1]) in table:
                wrong.append(f"{mark} {row[1]}: stands twice")
            else:
                table[mark, row[1]] = row[3]
    return table, wrong


def numbers(call: ast.Call) -> list[str]:
    """The arguments of a mark; `*("1", "2")` stands for its items."""
    found: list[str] = []
    for argument in call.args:
        inner = argument.value if isinstance(argument, ast.Starred) else argument
        for item in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
            assert isinstance(item, ast.Constant), ast.unparse(call)
            assert isinstance(item.value, str), ast.unparse(call)
            found.append(item.value)
    return found


def read_marks(path: str, source: str) -> tuple[Marks, set[str]]:
    """The marks of a file's tests, and all of its tests."""
    marks: Marks = defaultdict(set)
    tests: set[str] = set()
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        tests.add(f"{path}::{node.name}")
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in (
                "pytest.mark.mqtt3",
                "pytest.mark.mqtt5",
            ):
                for number in numbers(decorator):
                    marks[ast.unparse(decorator.func)[-5:], number].add(f"{path}::{node.name}")
    return marks, tests


def differences(table: Table, marks: Marks, tests: set[str]) -> list[str]:
    """Where the two do not agree."""
    wrong: list[str] = []
    for (mark, number), cell in table.items():
        marked = marks.get((mark, number), set())
        if cell.startswith(NOT_APPLICABLE):
            if marked:
                wrong.append(f"{mark} {number}: not applicable, and marked on {sorted(marked)}")
            continue
        named = [f"{path}::{name}" for path, name in TEST.findall(cell)]
        if cell != "<br>".join(f"`{test}`" for test in named) or not named:
            wrong.append(f"{mark} {number}: neither tests nor a reason: {cell}")
        wrong += [f"{mark} {number}: there is no test {test}" for test in named if test not in tests]
        wrong += [f"{mark} {number}: {test} lacks the mark" for test in sorted(set(named) - marked)]
        wrong += [f"{mark} {number}: the page lacks {test}" for test in sorted(marked - set(named))]
    for mark, number in sorted(marks.keys() - table):
        wrong.append(f"{mark} {number}: the page lacks it, {sorted(marks[mark, number])}")
    return wrong


def everything() -> tuple[Marks, set[str]]:
    marks: Marks = defaultdict(set)
    tests: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "node_modules" in path.parts:
            continue
        of_file, names = read_marks(path.relative_to(ROOT).as_posix(), path.read_text())
        tests |= names
        for statement, where in of_file.items():
            marks[statement] |= where
    return marks, tests


def test_the_page_and_the_marks_agree() -> None:
    table, wrong = read_table(PAGE.read_text())
    assert wrong == []
    assert differences(table, *everything()) == []


@pytest.mark.parametrize("mark", ["mqtt3", "mqtt5"])
def test_every_statement_has_a_row(mark: str) -> None:
    """As many as the standard has, and none skipped within a section of it."""
    table, _ = read_table(PAGE.read_text())
    sections: dict[str, list[int]] = defaultdict(list)
    for own, number in table:
        if own == mark:
            section, _, last = number.rpartition("-")
            sections[section].append(int(last))
    assert sum(map(len, sections.values())) == STATEMENTS[mark]
    for section, found in sections.items():
        first = 2 if (mark, section) == ("mqtt5", "2.2.1") else 1  # 5.0 numbers no [MQTT-2.2.1-1]
        assert found == list(range(first, first + len(found))), section


def test_a_reason_is_given_where_a_statement_does_not_apply() -> None:
    table, _ = read_table(PAGE.read_text())
    reasons = [cell for cell in table.values() if cell.startswith(NOT_APPLICABLE)]
    assert 25 < len(reasons) < 70
    assert all(len(cell) > len(NOT_APPLICABLE) + 10 for cell in reasons)


SOURCE = """
@pytest.mark.mqtt3("1.5.3-1")
@pytest.mark.mqtt5("1.5.4-1", *("1.5.4-2", "9.9.9-9"))
async def test_one(): ...

def test_two(): ...
"""
ROWS = """
## MQTT 3.1.1
| [MQTT-1.5.3-1] | a | `tests/x.py::test_one` |
| [MQTT-1.5.3-2] | b | not applicable: the client's |
## MQTT 5.0
| [MQTT-1.5.4-1] | c | `tests/x.py::test_one`<br>`tests/x.py::test_two` |
| [MQTT-1.5.4-2] | d | not applicable: the client's |
| [MQTT-1.5.4-3] | e | `tests/x.py::test_three` |
| [MQTT-1.5.5-1] | f | to do |
"""


def test_each_difference_is_found() -> None:
    table, wrong = read_table(ROWS)
    assert wrong == []
    found = differences(table, *read_marks("tests/x.py", SOURCE))
    assert found == [
        "mqtt5 1.5.4-1: tests/x.py::test_two lacks the mark",
        "mqtt5 1.5.4-2: not applicable, and marked on ['tests/x.py::test_one']",
        "mqtt5 1.5.4-3: there is no test tests/x.py::test_three",
        "mqtt5 1.5.4-3: tests/x.py::test_three lacks the mark",
        "mqtt5 1.5.5-1: neither tests nor a reason: to do",
        "mqtt5 9.9.9-9: the page lacks it, ['tests/x.py::test_one']",
    ]
    marks, tests = read_marks("tests/x.py", SOURCE)
    marks["mqtt3", "1.5.3-1"].add("tests/y.py::test_four")
    assert "mqtt3 1.5.3-1: the page lacks tests/y.py::test_four" in differences(table, marks, tests)
    assert read_table("## MQTT 5.0\n| [MQTT-1-1] | a | b\n")[1]
    assert read_table(ROWS + "| [MQTT-1.5.5-1] | f | to do |\n")[1] == ["mqtt5 1.5.5-1: stands twice"]
