#!/bin/sh
# Makes both locks anew from pyproject.toml: exact versions with hashes, for every platform and for Python
# 3.11 and later. uv lives in a throwaway environment; which package index it asks is the machine's setting
# (UV_DEFAULT_INDEX), and none is written into the locks. Arguments go to uv: `make lock ARGS=--upgrade`.
set -eu
cd "$(dirname "$0")/.."

tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
"${PYTHON:-python3}" -m venv "$tool"
"$tool/bin/python" -m pip install --quiet --disable-pip-version-check uv

compile() {
    UV_CUSTOM_COMPILE_COMMAND='make lock' "$tool/bin/uv" pip compile --quiet --universal \
        --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links "$@" >/dev/null
}
compile pyproject.toml --group build -o requirements.lock "$@"
compile pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock "$@"
