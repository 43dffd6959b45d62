#!/bin/sh
# Builds .venv from a lock of exact versions; does nothing when it is already what the lock says.
#   sh scripts/venv.sh run    what `hookmq` needs (requirements.lock)
#   sh scripts/venv.sh dev    that, and what the tests and linters need (requirements-dev.lock)
# PYTHON=python3.12 chooses an interpreter. pip's own settings work as ever: with PIP_NO_INDEX=1 and
# PIP_FIND_LINKS=<folder> everything comes from a folder (docs/install.md).
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

case "${1:-}" in
run) lock=requirements.lock ;;
dev) lock=requirements-dev.lock ;;
*) fail "usage: sh scripts/venv.sh run|dev" ;;
esac

venv=.venv
stamp=$venv/.hookmq-$1
case "$(uname -s)" in MINGW* | MSYS* | CYGWIN*) bin=$venv/Scripts ;; *) bin=$venv/bin ;; esac
# Where the checkout lies belongs to the state: the commands in .venv/bin name their interpreter in full.
state=$(pwd; cat "$lock" pyproject.toml | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && "$bin/python" -c '' 2>/dev/null; then
    exit 0
fi

# The first interpreter that is 3.11 or later and can make a virtual environment. A later entry of the
# list may be whole where an earlier one lacks ensurepip (Debian ships that as a package of its own).
find_python() {
    python= old= without_venv=
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if ! "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            old=${old:-$version}
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            without_venv=${without_venv:-$version}
        else
            python=$candidate
            return
        fi
    done
    if [ -n "$without_venv" ]; then
        fail "Python $without_venv is here but not its venv module: install it (Debian, Ubuntu:" \
            "\`apt install python3-venv\`), then run make again."
    elif [ -n "$old" ]; then
        fail "HookMQ needs Python 3.11 or later and found only Python $old: install a newer one (Debian 12," \
            "Ubuntu 24.04: \`apt install python3 python3-venv\`; macOS: \`brew install python\`), then run make again."
    fi
    fail "HookMQ needs Python 3.11 or later and found ${PYTHON:-none}${PYTHON:+ not to be one}: install it (Debian 12," \
        "Ubuntu 24.04: \`apt install python3 python3-venv\`; macOS: \`brew install python\`), then run make again."
}

# An environment that works is kept, whoever made it; one whose interpreter has gone is made anew.
if ! "$bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    find_python
    say "Making $venv with Python $version"
    "$python" -m venv --clear "$venv" || fail "Python $version could not make $venv: see the lines above."
fi

log=$venv/install.log
: >"$log"
pip() {
    "$bin/python" -m pip install --quiet --disable-pip-version-check "$@" >>"$log" 2>&1 && return
    grep -v '^WARNING: Retrying' "$log" | tail -n 20 >&2
    # What pip, urllib3 and the resolver of the system say when nothing can be reached.
    if grep -qiE 'failed to establish a new connection|name resolution|network is unreachable|connection refused|timed out|connection broken|proxyerror|getaddrinfo' "$log"; then
        fail "The packages of $lock could not be downloaded: is there a network? Without one, install from a" \
            "folder: docs/install.md, \"A gateway with no internet\"."
    fi
    fail "pip could not install $lock (its last lines are above, all of them in $log)."
}

say "Installing the packages of $lock into $venv (once)"
# The build tool comes from the lock too and before the rest: nothing is built with a version that is not
# written down, and a folder made with \`pip download\` needs nothing but what the lock names.
awk '/^[^ #]/ { in_tool = /^setuptools==/ } in_tool' "$lock" >"$venv/build-tool.lock"
pip --require-hashes --retries 2 -r "$venv/build-tool.lock"
pip --require-hashes --retries 2 --no-build-isolation -r "$lock"
pip --no-deps --no-build-isolation --no-index -e .

printf '%s\n' "$state" >"$stamp"
if [ "$1" = dev ]; then
    # The development lock holds the runtime lock's versions, so that is up to date as well.
    (pwd; cat requirements.lock pyproject.toml | cksum) >"$venv/.hookmq-run"
fi
