"""The API is what its document says: generated requests against a real process, every answer held to the
document served.

The requests are the same at each run. `test_for_long` sends many more, other ones each time.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.openapi.checks import IgnoredAuth

from bridge.admin.api import all_routes
from bridge.admin.openapi import PATH as DOCUMENT_PATH
from bridge.admin.openapi import document
from tests.integration.admin.calling import SERVER
from tests.integration.commands import command
from tests.integration.process import HookMQ
from tests.integration.receiver import Receiver

load_all_checks()
DOCUMENT = json.loads(json.dumps(document(all_routes())))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


def auth_is_not_ignored(context: Any, response: Any, case: Case) -> None:
    """`ignored_auth`; who has failed often has to wait, which is no ignoring either."""
    try:
        CHECKS.get_one("ignored_auth")(context, response, case)
    except IgnoredAuth as error:
        if "got `429 " not in str(error.message):
            raise


CHECKED = [
    *(
        CHECKS.get_one(name)
        for name in (
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_headers_conformance",
            "response_schema_conformance",
            "unsupported_method",
        )
    ),
    auth_is_not_ignored,
]
_BOUNDED = settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
MANY_CASES = ("createEndpoint", "changeEndpoint", "createPublisher", "changePublisher")
EVENTS = [{"type": "work_order.created", "data": {"workOrder": {"id": f"wo_{n}"}}} for n in range(3)]


class Server:
    """A process with endpoints of each kind, and events that were delivered."""

    def __init__(self, hookmq: HookMQ, receiver: str) -> None:
        found = re.search(r"http api   (http://\S+)$", hookmq.stdout, re.MULTILINE)
        assert found
        self.hookmq = hookmq
        self.url = found[1]
        self.receiver = receiver
        key = self._key()
        self.headers = {"Authorization": f"Bearer {key}"}
        self.endpoints = ["erp"]
        self.publishers = ["uns"]
        self.deliveries: list[str] = []
        self.count = 0
        self.cases = 0

    def _key(self) -> str:
        done = asyncio.run(
            command(
                *("api-key", "create", "--name", "test", "--scope", "admin", "--json"),
                *("--store", str(self.hookmq.data)),
            )
        )
        return str(json.loads(done.stdout)["key"])

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = self.headers | ({"Content-Type": "application/json"} if data is not None else {})
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read() or b"null")

    def fill(self) -> None:
        """Endpoints, and something in their logs."""
        for format_ in ("mes", "cloudevents"):
            made = self.call(
                "POST",
                "/api/v2/webhooks/endpoints",
                {"url": self.receiver, "events": ["work_order.*"], "format": format_},
            )
            self.endpoints.append(made["id"])
        for server in ("embedded", f"mqtt://127.0.0.1:{self.hookmq.port}"):
            made = self.call(
                "POST", "/api/v2/mqtt/publishers", {"server": server, "events": ["work_order.*"]}
            )
            self.publishers.append(made["id"])
        self.call("POST", "/api/v2/events", EVENTS)
        for _ in range(1000):
            rows = self.call("GET", "/api/v2/webhooks/logs")["data"]
            if len(rows) >= 6 * len(EVENTS):
                break
        self.deliveries = sorted({row["delivery"] for row in rows})
        assert self.deliveries

    def real(self, case: Case) -> None:
        """Every other request names what is there."""
        self.count += 1
        if self.count % 2:
            return
        parameters = case.path_parameters
        if "id" in parameters:
            known = self.publishers if case.path.startswith("/api/v2/mqtt/") else self.endpoints
            those = known[1:] if case.method in ("PATCH", "DELETE") else known
            parameters["id"] = those[self.count // 2 % len(those)]
            if case.method == "DELETE" and case.path.endswith("{id}"):
                parameters["id"] = known[0]
        if "delivery" in parameters:
            parameters["delivery"] = self.deliveries[self.count // 2 % len(self.deliveries)]
        if isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
            case.body["url"] = self.receiver
        if isinstance(case.body, dict) and isinstance(case.body.get("server"), str):
            case.body["server"] = "embedded"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    loop = asyncio.new_event_loop()
    receiver = Receiver(status=200)
    loop.run_until_complete(receiver.start())

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    hook = f'webhooks.erp {{ url = "{receiver.url()}", types = ["work_order.*"], secret = s }}\n'
    hook += 'mqtt_publishers.uns { events = ["work_order.*"] }\n'
    hookmq = HookMQ(tmp_path_factory.mktemp("conformance"), SERVER, hook)
    try:
        asyncio.run(hookmq.start())
        made = Server(hookmq, receiver.url("/hook"))
        made.fill()
        yield made
        assert hookmq.running
        assert "Traceback" not in hookmq.log
        assert "made a mistake" not in hookmq.log
    finally:
        hookmq.kill()
        asyncio.run_coroutine_threadsafe(receiver.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def held_to_the_document(server: Server, case: Case) -> None:
    """Send a request, and hold its answer to the document."""
    server.real(case)
    case.call_and_validate(base_url=server.url, headers=server.headers, checks=CHECKED, timeout=40)


def test_the_document_is_served(server: Server) -> None:
    assert server.call("GET", DOCUMENT_PATH) == DOCUMENT


@SCHEMA.parametrize()
@_BOUNDED
def test_every_answer_is_as_the_document_says(case: Case, server: Server) -> None:
    # An endpoint's settings have a thousand cases; every fourth is enough here.
    server.cases += 1
    if case.operation.definition.raw["operationId"] in MANY_CASES and server.cases % 4:
        return
    held_to_the_document(server, case)


@pytest.mark.long
@pytest.mark.timeout(300)
@SCHEMA.parametrize()
@settings(_BOUNDED, max_examples=400, derandomize=False)
def test_for_long(case: Case, server: Server) -> None:
    held_to_the_document(server, case)
