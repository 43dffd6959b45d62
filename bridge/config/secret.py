"""Secrets: read from where the settings say they are, and checked without ever being shown.

The forms of Standard Webhooks 1.0.0: `whsec_` and base64 of 24 to 64 bytes (HMAC-SHA256), `whsk_` and base64
of an ed25519 private key (its seed of 32 bytes, or seed and public key, 64).
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bridge.config.settings import Secret

FILE_URL = "file://"
MAX_BYTES = 65536
"""Of a file that holds a secret."""
HMAC_PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
STANDARD_FORM = "whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an ed25519 private key"

Source = Literal["value", "env", "file"]


class SecretError(Exception):
    """A secret that cannot be used. The text is one line that holds no secret; the key goes in front of it.

    `source` is the member of `Secret` that is at fault.
    """

    def __init__(self, text: str, source: Source = "value") -> None:
        super().__init__(text)
        self.source: Source = source


def reveal(secret: Secret, environ: Mapping[str, str] = os.environ) -> str:
    """The secret itself: as given, from its environment variable, or from its file.

    A file is text in UTF-8; one line end at its end is not part of the secret. Raises SecretError.
    """
    given = [name for name in ("value", "env", "file") if getattr(secret, name) is not None]
    if len(given) != 1:
        raise SecretError(f"found {' and '.join(given) or 'nothing'}, expected one of value, env and file")
    if secret.value is not None:
        text = secret.value.get_secret_value()
        source: Source = "value"
    elif secret.env is not None:
        source = "env"
        if secret.env not in environ:
            raise SecretError(f"the environment variable {secret.env} is not set", source)
        text = environ[secret.env]
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise SecretError(f"{place(secret)} is not UTF-8 text", source)
    else:
        source = "file"
        text = _file(secret)
    if not text:
        raise SecretError(f"{place(secret)} is empty", source)
    return text


def resolve(text: str) -> str:
    """A secret as it stands, or what the file of `file:///path` holds. Raises SecretError."""
    path = file_of(text)
    return text if path is None else reveal(Secret(file=path))


def file_of(text: str) -> Path | None:
    """The path of `file:///path`, EMQX's way to name a file that holds a secret; None: it is another text."""
    path = text.removeprefix(FILE_URL)
    return Path(path) if path != text and path and "\x00" not in path else None


def place(secret: Secret) -> str:
    """Where a secret is, for a message: `the secret`, `the environment variable X`, `the file X`."""
    if secret.env is not None:
        return f"the environment variable {secret.env}"
    return "the secret" if secret.file is None else f"the file {secret.file}"


def _file(secret: Secret) -> str:
    path = secret.file
    assert path is not None  # noqa: S101  the caller has looked
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise SecretError(f"cannot read {path}: not a regular file", "file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise SecretError(f"cannot read {path}: {e.strerror or e}", "file") from None
    except ValueError:
        raise SecretError("cannot read the file: a NUL character in its path", "file") from None
    if len(data) > MAX_BYTES:
        raise SecretError(f"{path} is larger than {MAX_BYTES >> 10}KB, which no secret is", "file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SecretError(f"{path} is not UTF-8 text", "file") from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def check_standard(text: str) -> None:
    """Raises SecretError, with what is wrong, for a secret that cannot sign as Standard Webhooks has it."""
    if text.startswith(PUBLIC_PREFIX):
        raise SecretError("it begins with whpk_: that is the receivers' public key, expected whsk_")
    prefix = next((p for p in (HMAC_PREFIX, PRIVATE_PREFIX) if text.startswith(p)), None)
    if prefix is None:
        raise SecretError(f"it begins with neither whsec_ nor whsk_, expected {STANDARD_FORM}")
    try:
        size = len(b64decode(text[len(prefix) :], validate=True))
    except ValueError:  # binascii.Error, and characters outside ASCII
        raise SecretError(
            f"what follows {prefix} is not base64 (padded, in quotes, no spaces), expected {STANDARD_FORM}"
        ) from None
    if prefix == HMAC_PREFIX and not 24 <= size <= 64:
        raise SecretError(f"whsec_ is followed by the base64 of {size} bytes, expected 24 to 64")
    if prefix == PRIVATE_PREFIX and size not in (32, 64):
        raise SecretError(
            f"whsk_ is followed by the base64 of {size} bytes, expected an ed25519 key of 32 or 64"
        )


def is_standard(text: str) -> bool:
    """Whether a secret says by its beginning that it is one of Standard Webhooks."""
    return text.startswith((HMAC_PREFIX, PRIVATE_PREFIX))
