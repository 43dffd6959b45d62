"""MachShop's own document, as far as it is about calls: registering by its curl, receiving and verifying by
its Node.js code, and its promise of attempts. Only host, key and receiver are other ones."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import Endpoint
from bridge.config.webhook_json import read
from bridge.delivery.retry import GiveUp, Outcome, RetryAt, decide, make_policy
from tests.integration.admin.calling import Api
from tests.integration.process import until

# Verbatim from the document's Quick Start.
REGISTER = """\
curl -X POST "https://api.mes.company.com/api/v2/webhooks/endpoints" \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "url": "https://yourapp.com/webhooks/mes",
    "events": ["work_order.created", "work_order.completed"],
    "active": true
  }'
"""
VERIFY = """\
const verifySignature = (payload, signature, secret) => {
  const hash = crypto
    .createHmac('sha256', secret)
    .update(JSON.stringify(payload))
    .digest('hex');

  return hash === signature;
};

app.post('/webhooks/mes', (req, res) => {
  const signature = req.headers['x-mes-signature'];

  if (!verifySignature(req.body, signature, process.env.WEBHOOK_SECRET)) {
    return res.status(401).json({ error: 'Invalid signature' });
  }

  // Safe to process
  res.status(200).json({ ok: true });
});
"""
# The few lines of Express that the document uses.
EXPRESS = """\
const crypto = require('crypto');
const http = require('http');
const handlers = {};
const app = { post: (path, handler) => { handlers[path] = handler; } };
const seen = [];
const server = http.createServer((request, response) => {
  let text = '';
  request.on('data', (part) => { text += part; });
  request.on('end', () => {
    const res = {
      code: 200,
      status(code) { this.code = code; return this; },
      json(body) {
        console.log(JSON.stringify({ code: this.code, body: JSON.parse(text) }));
        response.writeHead(this.code, { 'content-type': 'application/json' });
        response.end(JSON.stringify(body));
      },
    };
    handlers[request.url]({ headers: request.headers, body: JSON.parse(text) }, res);
  });
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on('data', (data) => {
  process.env.WEBHOOK_SECRET = String(data).trim();
  console.log(JSON.stringify({ secret: 'taken' }));
});
process.stdin.on('end', () => process.exit());
"""
PAYLOAD = {
    "id": "evt-123",
    "type": "work_order.created",
    "timestamp": "2024-01-15T10:30:00Z",
    "data": {
        "workOrder": {
            "id": "wo-123",
            "orderNumber": "WO-2024-001",
            "product": "Widget A",
            "quantity": 100,
        }
    },
}
PROMISED_S = [0, 5, 30, 5 * 60, 30 * 60, *[86400] * 7]


class Receiver:
    """The document's receiver in node."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "-e", EXPRESS + VERIFY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "WEBHOOK_SECRET": "another"},
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self.said: list[dict[str, Any]] = []
        self._rest = b""

    def look(self) -> list[dict[str, Any]]:
        assert self._process.stdout is not None
        self._rest += self._process.stdout.read() or b""
        *lines, self._rest = self._rest.split(b"\n")
        self.said += [json.loads(line) for line in lines]
        return self.said

    async def secret(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()
        await until(lambda: {"secret": "taken"} in self.look(), "the secret is taken")
        self.said.remove({"secret": "taken"})

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("node")), reason="needs curl and node")
async def test_the_document_s_own_calls(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "manufacturing.md").read_text()
    assert REGISTER in page
    receiver = Receiver()
    try:
        await until(receiver.look, "the receiver listens")
        async with Api(tmp_path) as api:
            code, out, err = await api.hookmq(
                "api-key", "create", "--name", "app", "--scope", "admin", "--json"
            )
            assert code == 0, err
            command = (
                REGISTER.replace("https://api.mes.company.com", api.url)
                .replace("YOUR_API_KEY", json.loads(out)["key"])
                .replace("https://yourapp.com", f"http://127.0.0.1:{receiver.said[0]['port']}")
                .replace("curl ", "curl -sS --fail-with-body --noproxy '*' ", 1)
            )
            process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
            text, _ = await process.communicate()
            made = json.loads(text)
            assert (made["active"], made["events"]) == (True, ["work_order.created", "work_order.completed"])
            # With another secret it answers 401, and the event is tried again.
            assert (await api.post("/api/v2/events", PAYLOAD)).status == 202
            await until(lambda: len(receiver.look()) == 2, "the event has come")
            assert receiver.said[1] == {"code": 401, "body": PAYLOAD}
            await receiver.secret(made["secret"])
            for one in ("work_order.completed", "work_order.started"):
                body = {"type": one, "data": {"workOrder": {"id": "wo-1", "completedQuantity": 7}}}
                assert (await api.post("/api/v2/events", body)).status == 202
            await until(lambda: len(receiver.look()) == 4, "and again after 5 s", 20)
            answered = [(said["code"], said["body"]["type"]) for said in receiver.said[2:]]
            assert answered == [(200, "work_order.completed"), (200, "work_order.created")]
            logs = (await api.get(f"/api/v2/webhooks/logs?endpoint={made['id']}")).json["data"]
            assert sorted((row["attempt"], row["status"]) for row in logs) == [(1, 200), (1, 401), (2, 200)]
    finally:
        receiver.close()


def registered() -> Endpoint:
    body = re.search(r"-d '(.*)'", REGISTER, re.DOTALL)
    assert body
    found = read("ep_1", {**json.loads(body[1]), "secret": "s"}, {}).endpoint
    assert found is not None
    return found


def test_the_document_s_promise_of_attempts() -> None:
    """At 0, 5 s, 30 s, 5 min and 30 min, then daily for 7 days, then it is given up; only 200 is success."""
    endpoint = registered()
    assert endpoint.cancel_timeout == 5000
    policy = make_policy(endpoint)
    assert 200 in policy.success
    assert 204 not in policy.success
    now = first = 1_700_000_000_000
    waits = [0]
    for attempt in range(1, 13):
        decided = decide(policy, attempt, Outcome(status=204), now_ms=now, first_ms=first, random=0.0)
        if isinstance(decided, GiveUp):
            break
        assert isinstance(decided, RetryAt)
        assert decided.failed == (attempt >= 5)
        waits.append(decided.wait_ms // 1000)
        now += decided.wait_ms
    assert waits == PROMISED_S
    assert isinstance(decided, GiveUp)
