"""docs/metrics.md, conf/grafana.json and conf/alerts.yml know the metrics that there are, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.admin.metrics.families import ENDPOINT, FAMILIES, GLOBAL

ROOT = Path(__file__).parent.parent.parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text()
BOARD: dict[str, Any] = json.loads((ROOT / "conf" / "grafana.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((ROOT / "conf" / "alerts.yml").read_text())["groups"][0]["rules"]

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
SAMPLES = {
    f"{family.name}{suffix}": {*family.labels, *({"le"} if suffix == "_bucket" else ())}
    for family in FAMILIES
    for suffix in SUFFIXES.get(family.kind, ("",))
}
FROM_THE_CLIENT = {
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes"),
    *("process_start_time_seconds", "process_open_fds", "process_max_fds", "python_info", "up"),
}
ADDED = {"instance", "job"}
"""Labels that Prometheus adds to every sample."""
WORDS = {
    *("sum", "min", "max", "by", "rate", "increase", "histogram_quantile", "and", "label_values"),
    *("__rate_interval", "instance", "endpoint"),  # of the dashboard
}


def check(expression: str) -> set[str]:
    """Every name and every label of an expression of PromQL exists; the metrics in it."""
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    assert expression.count("[") == expression.count("]")
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\[[^\]]*\]", "[]", bare)
    found = set()
    for name, labels in re.findall(r"([a-z_]\w*)(\{[^}]*\})?", bare):
        known = SAMPLES.get(name, ADDED if name in FROM_THE_CLIENT else None)
        if known is None:
            assert not name.startswith(("hookmq", "process", "python")), f"{name} in {expression}"
            assert labels == "", f"{name} in {expression}"
            continue
        found.add(name)
        for label in re.findall(r"(\w+)\s*[=!]~?", labels):
            assert label in known | ADDED, f"{name}{{{label}}} in {expression}"
    for grouped in re.findall(r"\bby \(([^)]*)\)", bare):
        allowed = set.union(ADDED, *(SAMPLES.get(name, set()) for name in found))
        assert set(re.findall(r"\w+", grouped)) <= allowed, expression
    assert found, expression
    return found


def test_the_check_finds_what_is_wrong() -> None:
    check('sum by (le) (rate(hookmq_ack_seconds_bucket{instance=~"a"}[5m]))')
    for wrong in (
        "rate(hookmq_ack_seconds[5m])",
        "hookmq_nothing_total",
        'hookmq_ready{endpoint="a"}',
        "sum by (reason) (hookmq_ready)",
        "sum(hookmq_ready",
        "5 > 3",
    ):
        with pytest.raises(AssertionError):
            check(wrong)


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_are_prometheus_own(family: Any) -> None:
    assert re.fullmatch(r"hookmq(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.name.endswith("_info") == (family.kind == "info")
    if family.kind in ("histogram", "summary"):
        assert family.unit == "seconds"
    assert not re.search(r"_(ms|milliseconds|kb|minutes)\b", family.name)
    assert family.help.endswith(".")
    assert set(family.labels) <= {
        *("endpoint", "event", "reason", "result", "qos", "state", "status", "version", "node"),
    }, "a label whose values are not few"
    assert ("endpoint" in family.labels) == (family in ENDPOINT)


def test_no_name_twice() -> None:
    assert len({family.base for family in FAMILIES}) == len(FAMILIES)


# -- the page ----------------------------------------------------------------------------------------------


def rows(title: str) -> list[tuple[str, ...]]:
    section = PAGE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `hookmq_")]
    return [tuple(cell.strip() for cell in line.strip("| ").split(" | ", 3)) for line in lines]


@pytest.mark.parametrize(("title", "families"), [("Of the process", GLOBAL), ("Of each endpoint", ENDPOINT)])
def test_the_page_has_every_metric(title: str, families: tuple[Any, ...]) -> None:
    assert rows(title) == [
        (
            f"`{family.name}`",
            family.kind,
            ", ".join(f"`{label}`" for label in family.labels) or "–",
            family.help,
        )
        for family in families
    ]


def test_the_page_names_no_other() -> None:
    for name in set(re.findall(r"\bhookmq_\w+", PAGE)):
        assert name in SAMPLES or name in {family.name for family in FAMILIES}, name
    for name in set(re.findall(r"\b(?:process|python)_\w+", PAGE)):
        assert name in FROM_THE_CLIENT, name


def test_its_alerts_are_expressions_and_stand_in_the_file() -> None:
    section = PAGE.partition("\n### Alerts\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| [^`|]+ \| `(.+)` \|$", section, re.MULTILINE)
    assert len(shown) >= 10
    for expression in shown:
        check(expression)
    metrics = [check(rule["expr"]) for rule in RULES]
    for expression in shown:
        assert check(expression) in metrics, expression


# -- the files ---------------------------------------------------------------------------------------------


def test_the_alerts() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        check(rule["expr"])
        assert re.search(r"[<>=]=?\s*[\d.a-z_]+$", rule["expr"]), "compares with something"
        assert rule["labels"]["severity"] in ("warning", "critical")
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label in ADDED or all(label in SAMPLES[name] for name in check(rule["expr"]))


def test_the_dashboard() -> None:
    panels = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
    assert len(panels) >= 25
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    used: set[str] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        for target in panel["targets"]:
            used |= check(target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert any(label in SAMPLES.get(name, set()) | ADDED for name in check(target["expr"])), (
                    target
                )
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            check(variable["definition"].replace("label_values(", "max(").partition(",")[0] + ")")
    for must in (
        "ready",
        "ack_seconds_bucket",
        "endpoint_delivered_total",
        "endpoint_oldest_waiting_seconds",
    ):
        assert f"hookmq_{must}" in used


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
