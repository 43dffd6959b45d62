"""`hookmq passwd`: adds, changes and deletes users in a file of passwords, as hashes."""

# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

MAX_BYTES = 65_535
"""Of a user name, and of a password (section 1.5.4)."""
BCRYPT_BYTES = 72
# OWASP's least for argon2id: tens of milliseconds and 19 MiB for each login that is not known yet.
TIME_COST, MEMORY_KIB, PARALLELISM = 2, 19_456, 1
BCRYPT_ROUNDS = 10
_ENTRY = re.compile(r'[ \t]*("(?:[^"\\\n]|\\.)*"|[^\s"#:={}\[\],]+)[ \t]*[:=][ \t]*\S')


class _Failed(Exception):
    """One line for the user."""


def passwd(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file, such as pwd.conf; made if need be.")
    ],
    user: Annotated[str, typer.Argument(metavar="USER", help="The user name.")],
    delete: Annotated[bool, typer.Option("--delete", "-D", help="Take the user out of the file.")] = False,
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="NAME", help="argon2id, or bcrypt for other brokers.")
    ] = "argon2id",
) -> int:
    """Add a user to a file of passwords, or change the password: as a hash.

    Asks for the password twice; where standard input is no terminal, reads it from its first line. The file
    is for auth.password = { include "FILE" }; a running HookMQ takes it up with hookmq reload.
    """
    try:
        _check_user(user)
        if algorithm not in ("argon2id", "bcrypt"):
            raise typer.BadParameter(
                f"found {algorithm!r}, expected argon2id or bcrypt.", param_hint="--algorithm"
            )
        change(file, user, None if delete else _hash(_ask(), algorithm))
    except _Failed as error:
        print(f"hookmq: {error}", file=sys.stderr)
        return 1
    return 0


def _check_user(user: str) -> None:
    if not user or len(user.encode("utf-8", "surrogateescape")) > MAX_BYTES or not user.isprintable():
        raise _Failed(f"the user name is empty, too long or not printable, expected 1 to {MAX_BYTES} bytes")


def _ask() -> str:
    """The password, from the terminal without echo, or the first line of standard input."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise _Failed("the two are not the same; nothing has changed")
    else:
        try:
            password = sys.stdin.buffer.readline(2 * MAX_BYTES).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise _Failed("the password is not UTF-8 text") from None
    if not password:
        raise _Failed("the password is empty; nothing has changed")
    if len(password.encode()) > MAX_BYTES:
        raise _Failed(f"the password is longer than {MAX_BYTES} bytes, which MQTT does not carry")
    return password


def _hash(password: str, algorithm: str) -> str:
    if algorithm == "argon2id":
        import argon2

        return argon2.PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM).hash(password)
    import bcrypt

    if len(password.encode()) > BCRYPT_BYTES or "\0" in password:
        raise _Failed(
            f"bcrypt takes passwords of up to {BCRYPT_BYTES} bytes without NUL; argon2id takes longer"
        )
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()


def change(file: Path, user: str, hashed: str | None) -> None:
    """Set the user's line of the file, or with None delete it; all other lines stay as they are."""
    try:
        real = file.resolve()
        text = real.read_text(encoding="utf-8-sig") if real.exists() else ""
        if hashed is None and not text:
            raise _Failed(f"{file}: there is no user {json.dumps(user, ensure_ascii=False)}")
        _write(real, _changed(file, text, user, hashed))
    except OSError as error:
        raise _Failed(f"{file}: {error.strerror or error}") from None
    except ValueError:
        raise _Failed(f"{file} is not UTF-8 text") from None


def _changed(file: Path, text: str, user: str, hashed: str | None) -> str:
    before = _users(file, text)
    if hashed is None and user not in before:
        raise _Failed(f"{file}: there is no user {json.dumps(user, ensure_ascii=False)}")
    lines = text.splitlines()
    at = [number for number, line in enumerate(lines) if _name(line) == user]
    if user in before and not at:
        raise _odd(file)
    if hashed is None:
        lines = [line for number, line in enumerate(lines) if number not in at]
    else:
        line = f"{json.dumps(user, ensure_ascii=False)} : {json.dumps(hashed)}"
        if at:
            lines[at[0]] = line
            lines = [one for number, one in enumerate(lines) if number not in at[1:]]
        else:
            lines.append(line)
    new = "".join([line + "\n" for line in lines])
    wanted = {name: secret for name, secret in before.items() if name != user}
    if hashed is not None:
        wanted[user] = hashed
    if _users(file, new) != wanted:  # two users in one line, say
        raise _odd(file)
    return new


def _odd(file: Path) -> _Failed:
    return _Failed(f'{file}: its form is another than "user" : "secret", one in a line; change it by hand')


def _name(line: str) -> str | None:
    """The user that a line sets."""
    from bridge.config.hocon import unquote

    match = _ENTRY.match(line)
    if match is None or line.lstrip().startswith("//"):
        return None
    try:
        return str(json.loads(match[1])) if match[1].startswith('"') else unquote(match[1])
    except ValueError:
        return unquote(match[1])


def _users(file: Path, text: str) -> dict[str, str | None]:
    """The users and secrets of the file, as HookMQ reads it."""
    from bridge.config.findings import Findings
    from bridge.config.hocon import read
    from bridge.config.units import plain

    if not text.strip():
        return {}
    findings = Findings()
    root = read(file, text, os.environ, findings)
    if root is None or findings.messages:
        where = findings.messages[0] if findings.messages else f"{file}: it cannot be read"
        raise _Failed(str(where))
    return {name: plain(child) for name, child in root.leaves()}


def _write(path: Path, text: str) -> None:
    """Put the text in the file's place, whole or not at all; only its owner may read it."""
    old = path.stat() if path.exists() else None
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if old is not None and hasattr(os, "fchown"):
                with contextlib.suppress(PermissionError):  # as root: whoever read it reads it still
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
