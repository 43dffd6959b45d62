"""The block `events`, and in a webhook `types` with what follows from it: format and signature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.config.mask import effective
from bridge.config.settings import DomainEvents, Endpoint, Signature
from tests.unit.config.conftest import Read, shown

HEAD = 'webhooks.w { url = "http://h/"\n'


def endpoint(read: Read, inside: str, more: str = "") -> Endpoint:
    report = read(f"{HEAD}{inside} }}\n{more}")
    assert shown(report) == []
    assert report.settings is not None
    (found,) = report.settings.webhooks
    return found


def test_the_block(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(json.dumps({"types": {"saw.jammed": {}}}))
    report = read(f'events {{ catalogue = "{path}", unknown = pass, check = off }}')
    assert shown(report) == []
    assert report.settings is not None
    assert report.settings.events == DomainEvents(catalogue=path, unknown="pass", check="off")
    again = read(effective(report.settings))
    assert shown(again) == []
    assert again.settings is not None
    assert again.settings.events == report.settings.events


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("check = maybe", "error: events.check: found maybe, expected off, warn or refuse"),
        ("unknown = 3", "error: events.unknown: found 3, expected refuse or pass"),
        (
            "catalog = x",
            "warning: events.catalog: unknown key, it has no effect; did you mean events.catalogue?",
        ),
        (
            'catalogue = "/no/such.json"',
            "error: events.catalogue: /no/such.json: cannot be read: No such file or directory",
        ),
    ],
)
def test_messages_of_the_block(read: Read, inside: str, message: str) -> None:
    assert read.lines(f"events {{\n{inside}\n}}") == [f"2: {message}"]


def test_a_wrong_catalogue_is_told_with_its_place(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text('{"types": {"saw.jammed": {"schema": {"type": "objekt"}}}}')
    (line,) = read.lines(f'events.catalogue = "{path}"')
    assert line.startswith(f"1: error: events.catalogue: {path}: /types/saw.jammed/schema/type: ")


# -- types ---------------------------------------------------------------------------------------------------


def test_types_alone_mean_machshops_bodies(read: Read) -> None:
    found = endpoint(read, 'types = ["work_order.*", job.created, "work_order.*"]')
    assert found.types == ("work_order.*", "job.created")
    assert (found.format, found.events, found.signature) == ("mes", (), ())


@pytest.mark.parametrize(
    ("inside", "format_"),
    [
        ("types = [job.created], format = eryxon", "eryxon"),
        ("types = [job.created], format = nanomq", "nanomq"),
        ('types = [job.created], body.template = "${event}"', "template"),
        ("types = [job.created], triggers = all", "nanomq"),
        ("types = [], triggers = all", "nanomq"),
    ],
)
def test_any_other_format_is_as_it_says(read: Read, inside: str, format_: str) -> None:
    assert endpoint(read, inside).format == format_


@pytest.mark.parametrize(
    ("inside", "schemes"),
    [
        ('types = ["*"], secret = abc', ["mes"]),
        ('types = ["*"], format = eryxon, secret = abc', ["eryxon"]),
        ("triggers = all, format = mes, secret = abc", ["mes"]),
        ('types = ["*"], secret = whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', ["mes"]),
        ('types = ["*"], secrets = [new, old]', ["mes"]),
        ('types = ["*"], secret = abc, signature = eryxon', ["eryxon"]),
        (
            'types = ["*"], secret = whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, signature = [standard, mes]',
            ["standard", "mes"],
        ),
        ("triggers = all, secret = whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ["standard"]),
    ],
)
def test_a_secret_signs_as_the_format_does(read: Read, inside: str, schemes: list[str]) -> None:
    assert [one.scheme for one in endpoint(read, inside).signature] == schemes


def test_it_loads_again_as_it_is_shown(read: Read) -> None:
    report = read(f'{HEAD}types = ["*.created"], secret = {{ env = WORD }} }}', {"WORD": "abc"})
    assert report.settings is not None
    again = read(effective(report.settings), {"WORD": "abc"})
    assert shown(again) == []
    assert again.settings is not None
    assert again.settings.webhooks == report.settings.webhooks
    assert again.settings.webhooks[0].signature == (Signature(scheme="mes"),)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (
            "types = [work_orders.created]",
            "warning: webhooks.w.types: no type is called work_orders.created, so it brings no event; did you"
            " mean work_order.created? (types of your own: events.catalogue, or events.unknown = pass)",
        ),
        ('types = ["zz*"]', "warning: webhooks.w.types: no type is called zz*, so it brings no event; `"),
        (
            'types = ["a b"]',
            'error: webhooks.w.types: found ["a b"], expected a list of types and patterns such as',
        ),
        (
            "types = [job.created], secret = whsk_x",
            "error: webhooks.w.secret: found a secret for ed25519 (whsk_) with format",
        ),
        ("types = []", "warning: webhooks.w.events: no events: nothing will be sent"),
    ],
)
def test_messages_of_types(read: Read, inside: str, message: str) -> None:
    lines = read.lines(f"{HEAD}{inside} }}")
    assert any(line.partition(": ")[2].startswith(message) for line in lines), lines


def test_own_types_and_any_types_are_no_mistake(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(json.dumps({"types": {"saw.jammed": {}}}))
    assert endpoint(read, 'types = ["saw.*"]', f'events.catalogue = "{path}"').types == ("saw.*",)
    assert endpoint(read, 'types = ["zz.*"]', "events.unknown = pass").types == ("zz.*",)
