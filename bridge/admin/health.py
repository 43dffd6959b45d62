"""`GET /healthz`, `GET /readyz` and `GET /metrics`: for machines that watch this one."""

from __future__ import annotations

from aiohttp import web

from bridge.admin.access import only_local
from bridge.admin.metrics.exposition import OPENMETRICS, TEXT, Scraper, negotiate
from bridge.admin.problems import answer
from bridge.admin.routes import Call, Route, json_content

METRICS_SCOPE = "metrics:read"
_TEXT_SCHEMA = {"schema": {"type": "string"}}


async def healthz(call: Call) -> web.Response:
    """The process lives, and its loop turns: or nobody would answer."""
    return answer({"status": "ok"})


async def readyz(call: Call) -> web.Response:
    """Whether clients should come here."""
    missing = call.plant.not_ready()
    if missing:
        return answer({"status": "not ready", "not_ready": missing}, 503, headers={"Retry-After": "1"})
    return answer({"status": "ready", "not_ready": []})


def routes(*, open_metrics: bool) -> tuple[Route, ...]:
    """The three of them; `open_metrics`: /metrics asks for no credentials."""
    scrapers: list[Scraper] = []

    async def metrics(call: Call) -> web.Response:
        if open_metrics:
            only_local(call.headers.get("Host"))
        if not scrapers:
            scrapers.append(Scraper(call.plant))
        content_type = negotiate(call.headers.get("Accept", ""))
        body = await scrapers[0].scrape(content_type)
        return web.Response(body=body, headers={"Content-Type": content_type, "Vary": "Accept"})

    return (
        Route(
            "GET",
            "/healthz",
            None,
            healthz,
            {
                "operationId": "healthz",
                "summary": "Whether the process lives.",
                "description": "Asks for no credentials.",
                "tags": ["operations"],
                "responses": {"200": {"description": "It does.", "content": json_content("Health")}},
            },
            probe=True,
        ),
        Route(
            "GET",
            "/readyz",
            None,
            readyz,
            {
                "operationId": "readyz",
                "summary": "Whether it is ready for clients.",
                "description": "The store is open and takes events, the listeners are bound, and HookMQ is"
                " not about to end. Asks for no credentials.",
                "tags": ["operations"],
                "responses": {
                    "200": {"description": "It is.", "content": json_content("Readiness")},
                    "503": {"description": "It is not.", "content": json_content("Readiness")},
                },
            },
            probe=True,
        ),
        Route(
            "GET",
            "/metrics",
            METRICS_SCOPE,
            metrics,
            {
                "operationId": "metrics",
                "summary": "The metrics, for Prometheus.",
                "description": "In the text format, or as OpenMetrics where `Accept` prefers that."
                " `prometheus.enable_basic_auth = false` asks for no credentials, on loopback alone.",
                "tags": ["operations"],
                "responses": {
                    "200": {
                        "description": "All of them.",
                        "content": {
                            TEXT.partition(";")[0]: _TEXT_SCHEMA,
                            OPENMETRICS.partition(";")[0]: _TEXT_SCHEMA,
                        },
                    }
                },
            },
            probe=open_metrics,
        ),
    )
