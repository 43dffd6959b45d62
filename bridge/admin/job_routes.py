"""The calls on dead letters and on what goes on by itself, each with its documentation."""

from __future__ import annotations

from typing import Any

from bridge.admin.dead_letters import (
    get_job,
    list_groups,
    list_letters,
    purge_letters,
    replay_letters,
    stop_job,
)
from bridge.admin.log_retry import MAX_EVENTS, retry_logs
from bridge.admin.pages import PAGE_PARAMETERS
from bridge.admin.routes import JSON_TYPES, Handler, Route, json_content, problem_response

READ, WRITE = "endpoints:read", "endpoints:write"
_ENDPOINT = {
    "name": "endpoint",
    "in": "query",
    "schema": {"type": "string"},
    "description": "Its id; of a publisher `mqtt_publishers.` and its id.",
}
_CAUSE = {
    "name": "cause",
    "in": "query",
    "schema": {"type": "string"},
    "description": "What their last error begins with: `status 503`, `timeout`, …",
}
_JOB = {"name": "job", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_NO_ENDPOINT = problem_response("Nothing has this id.")
_NO_JOB = problem_response("No job has this id, or it is long over.")
_CONFLICT = problem_response("It is not served, or switched off; or that is being done already.")
_INVALID = problem_response("Something that cannot be; `errors` has the path of each fault.")


def _ok(text: str, name: str) -> dict[str, Any]:
    return {"description": text, "content": json_content(name)}


def _working(path: str, handler: Handler, operation: str, texts: tuple[str, str], body: str) -> Route:
    summary, description = texts
    return Route(
        *("POST", path, WRITE, handler),
        {
            "operationId": operation,
            "summary": summary,
            "description": description,
            "tags": ["dead letters" if "dead" in path else "webhooks"],
            "requestBody": {"required": True, "content": json_content(body)},
            "responses": {
                "200": _ok("It is done.", "JobBegun"),
                "202": _ok("It goes on: `GET /api/v2/jobs/{id}` says how far it has come.", "JobBegun"),
                "404": _NO_ENDPOINT,
                "409": _CONFLICT,
                "422": _INVALID,
            },
        },
        JSON_TYPES,
    )


ROUTES = (
    Route(
        *("GET", "/api/v2/dead-letters/groups", READ, list_groups),
        {
            "operationId": "listDeadLetterGroups",
            "summary": "Dead letters by endpoint and cause, the largest groups first.",
            "tags": ["dead letters"],
            "parameters": [_ENDPOINT, *PAGE_PARAMETERS],
            "responses": {"200": _ok("A page.", "DeadGroupPage"), "404": _NO_ENDPOINT, "422": _INVALID},
        },
    ),
    Route(
        *("GET", "/api/v2/dead-letters", READ, list_letters),
        {
            "operationId": "listDeadLetters",
            "summary": "Dead letters, by endpoint, the oldest event first.",
            "tags": ["dead letters"],
            "parameters": [_ENDPOINT, _CAUSE, *PAGE_PARAMETERS],
            "responses": {"200": _ok("A page.", "DeadLetterPage"), "404": _NO_ENDPOINT, "422": _INVALID},
        },
    ),
    _working(
        *("/api/v2/dead-letters/replay", replay_letters, "replayDeadLetters"),
        (
            "Send dead letters again, with their ids.",
            "Those of an endpoint: of a cause, these ids, or all.",
        ),
        "DeadLettersChosen",
    ),
    _working(
        *("/api/v2/dead-letters/purge", purge_letters, "purgeDeadLetters"),
        ("Give dead letters up for good.", "Those of an endpoint: of a cause, these ids, or all."),
        "DeadLettersChosen",
    ),
    _working(
        *("/api/v2/webhooks/logs/retry", retry_logs, "retryLogs"),
        (
            "Send all events again whose last attempt has failed and matches.",
            f"The filters are those of the log. At most {MAX_EVENTS:,} attempts are looked at; `more` says "
            "that there may be more. What is being sent anyway, has gone, or is for an endpoint that is off, "
            "is `skipped`.",
        ),
        "LogFilter",
    ),
    Route(
        *("GET", "/api/v2/jobs/{job}", READ, get_job),
        {
            "operationId": "getJob",
            "summary": "How far something has come that goes on by itself.",
            "tags": ["jobs"],
            "parameters": [_JOB],
            "responses": {"200": _ok("It.", "Job"), "404": _NO_JOB},
        },
    ),
    Route(
        *("DELETE", "/api/v2/jobs/{job}", WRITE, stop_job),
        {
            "operationId": "stopJob",
            "summary": "Stop it: what it has done stays done.",
            "tags": ["jobs"],
            "parameters": [_JOB],
            "responses": {"200": _ok("It.", "Job"), "404": _NO_JOB},
        },
    ),
)
