"""`hookmq events`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["events", *arguments], standalone_mode=False)


def test_all() -> None:
    done = run()
    assert done.return_value == 0
    assert "work_order.created" in done.stdout
    assert len([line for line in done.stdout.splitlines() if "MachShop" in line or "Eryxon" in line]) == 31


def test_all_as_json() -> None:
    found = json.loads(run("--json").stdout)
    assert len(found) == 31
    assert list(found[0]) == ["name", "description", "sources", "schema", "example", "examples"]


def test_one() -> None:
    done = run("operation.completed")
    assert done.return_value == 0
    assert done.stdout.startswith("operation.completed  (MachShop, Eryxon)\n")
    assert done.stdout.count("example of data") == 2
    assert json.loads(run("job.created", "--json").stdout)["example"]["job_number"] == "JOB-2024-001"


def test_none(capsys: pytest.CaptureFixture[str]) -> None:
    done = run("job.create")
    assert done.return_value == 1
    assert "hookmq: no type is called job.create; did you mean job.created?" in done.stderr


def test_with_the_types_of_a_configuration(tmp_path: Path) -> None:
    types = tmp_path / "events.json"
    types.write_text('{"types": {"saw.jammed": {"description": "The saw \\u001b[31mhas jammed"}}}')
    conf = tmp_path / "h.conf"
    conf.write_text(f'events.catalogue = "{types}"\n')
    done = run("--conf", str(conf))
    assert "saw.jammed" in done.stdout
    assert "\x1b" not in done.stdout
    types.write_text("{")
    done = run("--conf", str(conf))
    assert done.return_value == 1
    assert f"{types}: not JSON: line 1" in done.stderr
