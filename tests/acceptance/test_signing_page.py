"""docs/signing.md: the receivers' code on it verifies what is signed, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from bridge.config.settings import Endpoint, Secret, Signature
from bridge.delivery.signing import make_signer
from bridge.verify import Verifier

PAGE = (Path(__file__).parents[2] / "docs" / "signing.md").read_text()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDZ6jTyqdiBlM="
BODY = '{"payload":"Grüße"}'.encode()


def block(language: str, marker: str) -> str:
    """The page's code block of a language that holds the marker."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [text for text in blocks if marker in text]
    return found


def headers(*secrets: str, at: int | None = None) -> dict[str, str]:
    endpoint = Endpoint(
        url="http://127.0.0.1/",
        signature=(Signature(),),
        secrets=tuple(Secret(value=secret) for secret in secrets),  # type: ignore[arg-type]
    )
    signer = make_signer(endpoint, b"msg_1_")
    assert signer is not None
    lines = signer.sign(b"0000000000000001", at if at is not None else int(time.time()), BODY).decode()
    found = dict(line.split(": ", 1) for line in lines.split("\r\n")[1:])
    return {"webhook-id": "msg_1_0000000000000001"} | found


Case = tuple[dict[str, str], bytes, bool]


def cases() -> list[Case]:
    """Headers and body, and whether they verify. Signed now: readers refuse what is five minutes old."""
    return [
        (headers(SECRET), BODY, True),
        (headers(OTHER, SECRET), BODY, True),
        (headers(SECRET, OTHER), BODY, True),
        (headers(OTHER), BODY, False),
        (headers(SECRET), BODY + b" ", False),
        (headers(SECRET, at=int(time.time()) - 1000), BODY, False),
        (headers(SECRET) | {"webhook-id": "msg_2"}, BODY, False),
    ]


@pytest.mark.parametrize("number", range(7))
def test_python(number: int) -> None:
    given, body, good = cases()[number]
    names: dict[str, Any] = {}
    exec(block("python", "def verify"), names)
    assert names["verify"](SECRET, given, body) is good


@pytest.mark.parametrize("number", range(7))
def test_python_with_the_library(number: int) -> None:
    given, body, good = cases()[number]
    code = block("python", "standardwebhooks")
    assert SECRET in code
    names = {"body": body, "headers": given}
    if good:
        exec(code, names)
    else:
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            exec(code, names)


def test_node(command: Callable[[str], str], tmp_path: Path) -> None:
    signed = cases()
    given = json.dumps([[headers, body.decode()] for headers, body, _ in signed])
    script = tmp_path / "verify.js"
    script.write_text(
        block("js", "function verify")
        + f"\nconst found = {given}.map(([h, b]) => verify('{SECRET}', h, Buffer.from(b)))\n"
        + "console.log(JSON.stringify(found))\n"
    )
    done = subprocess.run(
        [command("node"), str(script)], capture_output=True, text=True, check=True, timeout=20
    )
    assert json.loads(done.stdout) == [good for _, _, good in signed]


def test_the_pair_of_keys_that_the_page_makes_fits() -> None:
    code = re.search(r"<<'EOF'\n(.*?)EOF", PAGE, re.DOTALL)
    assert code
    printed: list[str] = []
    exec(code[1], {"print": printed.append})
    private, public = printed
    given = headers(private)
    (verdict,) = Verifier([public]).check(list(given.items()), BODY)
    assert verdict.ok
