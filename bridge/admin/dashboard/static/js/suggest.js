/** Suggestions below an input, asked of the server while one types. */

import * as api from "./api.js";
import { fill, h } from "./dom.js";

const MOST = 20;

/** Endpoints whose id, description or URL holds what is typed. */
export function suggestEndpoints(input, signal) {
  suggest(input, signal, async (text) => {
    const page = await api.get(api.paths.endpoints + api.query({ q: text, limit: MOST }), { signal });
    return page.data.map((one) => [one.id, one.description || one.url]);
  });
}

let types = null;

/** Types of the catalogue, their patterns, and the broker's events. */
export function suggestTypes(input, signal) {
  suggest(input, signal, async () => {
    types ||= await api.get(api.paths.types, { signal });
    const names = types.data.map((one) => [one.type, one.description]);
    return [...BROKER_EVENTS.map((one) => [one, ""]), ...names];
  });
}

function suggest(input, signal, find) {
  const { list } = input;
  let timer = 0;
  async function ask() {
    try {
      const found = await find(input.value.trim());
      fill(list, found.map(([value, label]) => h("option", { value, label: label || null })));
    } catch {
      // Suggestions are a help; what is typed counts.
    }
  }
  input.addEventListener("focus", ask, { once: true });
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, 200);
  });
  signal.addEventListener("abort", () => clearTimeout(timer));
}

/** The broker's events as NanoMQ calls them, and whether they have a topic. */
export const BROKER_EVENTS = [
  "on_message_publish",
  "on_message_delivered",
  "on_message_acked",
  "on_message_dropped",
  "on_message_delivery_dropped",
  "on_client_connect",
  "on_client_connack",
  "on_client_connected",
  "on_client_disconnected",
  "on_client_subscribe",
  "on_client_unsubscribe",
  "on_client_check_authn_complete",
  "on_client_check_authz_complete",
  "on_client_ping",
  "on_session_created",
  "on_session_resumed",
  "on_session_subscribed",
  "on_session_unsubscribed",
  "on_session_terminated",
  "on_session_discarded",
  "on_session_takenover",
];
