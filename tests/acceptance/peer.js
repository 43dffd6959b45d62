// A test peer on MQTT.js. Takes one JSON argument and prints one JSON line for everything that happens:
//
//   node peer.js '{"library": "mqtt4", "host": "127.0.0.1", "port": 1883, "protocolVersion": 5,
//                  "options": {"clientId": "c1"}, "timeout": 10000, "actions": [
//     {"do": "connect"},
//     {"do": "subscribe", "topic": "a/#", "options": {"qos": 1}},
//     {"do": "publish", "topic": "a/b", "payload": "text", "options": {"qos": 1, "retain": false}},
//     {"do": "publish", "topic": "a/c", "base64": "AP8=", "count": 100, "parallel": true},
//     {"do": "wait", "messages": 1},
//     {"do": "wait", "event": "close"},
//     {"do": "unsubscribe", "topic": "a/#"},
//     {"do": "sleep", "ms": 100},
//     {"do": "stdin"},
//     {"do": "kill"},
//     {"do": "disconnect", "options": {"reasonCode": 4}, "force": false}]}'
//
// library: "mqtt4" (MQTT.js 4.3.7) or "mqtt" (the current one). Every client option of MQTT.js may stand in
// `options`; correlationData and a will's payload are given as base64 under "$base64": {"$base64": "AP8="}.
// `count` publishes so many, with the number in place of `{n}` in payload and topic; `parallel` does not wait
// for each acknowledgement; `repeat` makes a long payload of a short one. `wait` counts messages (and events)
// from the start. `stdin` prints {"event": "ready"} and goes on after a line, or the end, of standard input.
// `kill` drops the socket without DISCONNECT.
//
// Lines: {"event": "connack" | "suback" | "unsuback" | "published" | "message" | "disconnect" | "close" |
// "error" | "ready" | "end", ...}; payloads are base64. Exit code 0: all actions done; 1: one failed or the
// time was up ({"event": "failed", "reason": ...}); 2: the argument is wrong.
'use strict';

const { writeSync } = require('node:fs');

// Synchronous to the last byte: process.exit drops what a pipe has not taken yet.
function print(event, fields) {
  let rest = Buffer.from(JSON.stringify({ event, ...fields }) + '\n');
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

function die(code, reason) {
  print('failed', { reason });
  process.exit(code);
}

function revive(value) {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$base64 === 'string') return Buffer.from(value.$base64, 'base64');
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)]));
}

let plan;
try {
  plan = revive(JSON.parse(process.argv[2]));
} catch (error) {
  die(2, `no JSON argument: ${error.message}`);
}
if (!['mqtt', 'mqtt4'].includes(plan.library)) die(2, `library is ${plan.library}, expected mqtt or mqtt4`);
const mqtt = require(plan.library);
const timer = setTimeout(() => die(1, 'time is up'), plan.timeout ?? 10000);

let client;
const counts = { message: 0 };
const waiting = new Set(); // functions that look whether what they wait for has come

function happened(event, fields) {
  counts[event] = (counts[event] ?? 0) + 1;
  print(event, fields);
  for (const look of waiting) look();
}

function until(reached) {
  return new Promise((resolve) => {
    const look = () => reached() && (waiting.delete(look), resolve());
    waiting.add(look);
    look();
  });
}

const properties = (packet) =>
  JSON.parse(
    JSON.stringify(packet.properties ?? {}, (_key, value) =>
      value && value.type === 'Buffer' ? Buffer.from(value.data).toString('base64') : value,
    ),
  );

function connect() {
  client = mqtt.connect({
    host: plan.host ?? '127.0.0.1',
    port: plan.port,
    protocolVersion: plan.protocolVersion ?? 4,
    ...(plan.protocolVersion === 3 ? { protocolId: 'MQIsdp' } : {}),
    reconnectPeriod: 0,
    ...plan.options,
  });
  client.on('message', (topic, payload, packet) =>
    happened('message', {
      topic,
      payload: payload.toString('base64'),
      qos: packet.qos,
      retain: packet.retain,
      dup: packet.dup,
      properties: properties(packet),
    }),
  );
  client.on('disconnect', (packet) =>
    happened('disconnect', { reasonCode: packet.reasonCode, properties: properties(packet) }),
  );
  client.on('close', () => happened('close', {}));
  return new Promise((resolve, reject) => {
    client.once('connect', (packet) => {
      happened('connack', {
        reasonCode: packet.reasonCode ?? packet.returnCode,
        sessionPresent: packet.sessionPresent,
        properties: properties(packet),
      });
      resolve();
    });
    client.on('error', (error) => {
      happened('error', { message: error.message, code: error.code });
      reject(error);
    });
  });
}

const call = (method, ...args) =>
  new Promise((resolve, reject) =>
    client[method](...args, (error, result, packet) => (error ? reject(error) : resolve([result, packet]))),
  );

async function publish(action) {
  const count = action.count ?? 1;
  const one = async (n) => {
    const topic = action.topic.replaceAll('{n}', n);
    const payload =
      action.base64 === undefined
        ? (action.payload ?? '').replaceAll('{n}', n).repeat(action.repeat ?? 1)
        : Buffer.from(action.base64, 'base64');
    const [packet] = await call('publish', topic, payload, action.options ?? {});
    happened('published', { topic, n, reasonCode: packet?.reasonCode });
  };
  if (action.parallel) {
    await Promise.all(Array.from({ length: count }, (_, n) => one(n)));
  } else {
    for (let n = 0; n < count; n++) await one(n);
  }
}

const actions = {
  connect,
  publish,
  async subscribe(action) {
    const [granted] = await call('subscribe', action.topic, action.options ?? { qos: 0 });
    happened('suback', { granted: granted.map(({ topic, qos }) => ({ topic, qos })) });
  },
  async unsubscribe(action) {
    await call('unsubscribe', action.topic, action.options ?? {});
    happened('unsuback', { topic: action.topic });
  },
  wait: ({ messages, event }) =>
    until(() => (event === undefined ? counts.message >= messages : (counts[event] ?? 0) > 0)),
  sleep: ({ ms }) => new Promise((resolve) => setTimeout(resolve, ms)),
  stdin() {
    print('ready', {});
    return new Promise((resolve) => {
      const go = () => (process.stdin.pause(), resolve());
      process.stdin.once('data', go).once('end', go).resume(); // `pause` has outlived the listener before
    });
  },
  kill() {
    client.stream.destroy();
    return until(() => (counts.close ?? 0) > 0);
  },
  disconnect: (action) => call('end', action.force ?? false, action.options ?? {}),
};

(async () => {
  for (const action of plan.actions) {
    if (actions[action.do] === undefined) die(2, `no action ${action.do}; there are ${Object.keys(actions)}`);
    await actions[action.do](action);
  }
  clearTimeout(timer);
  print('end', {});
  process.exit(0);
})().catch((error) => die(1, error.message));
