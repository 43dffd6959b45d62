#!/bin/sh
# Installs the test peers that run on Node.js (tests/acceptance/package-lock.json); does nothing when they
# are up to date. Without node, npm or a network the tests that need them are skipped, so this never fails,
# but under HOOKMQ_CI=1 it does: CI skips nothing.
set -eu
cd "$(dirname "$0")/../tests/acceptance"

give_up() {
    printf '%s\n' "$*" >&2
    [ "${HOOKMQ_CI:-}" != 1 ]
    exit
}

stamp=node_modules/.hookmq
state=$(cksum <package-lock.json)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && exit 0
for command in node npm; do
    command -v "$command" >/dev/null 2>&1 || give_up "No $command here: the tests with MQTT.js will be skipped."
done
echo "Installing MQTT.js into tests/acceptance/node_modules (once)" >&2
npm ci --ignore-scripts --silent >/dev/null 2>npm-debug.log </dev/null || {
    tail -n 5 npm-debug.log >&2
    rm -f npm-debug.log
    give_up "npm could not install MQTT.js: the tests with it will be skipped."
}
rm -f npm-debug.log
printf '%s\n' "$state" >"$stamp"
