/** Calls of the HTTP API with the session's cookie and its CSRF token. */

let csrf = "";
let signedOut = () => {};

/** What went wrong, in words: `message` is the problem's detail, `errors` its faults ({path, message}). */
export class ApiError extends Error {
  constructor(status, detail, body = {}) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.retryAfter = null;
  }
}

export const UNREACHABLE = "HookMQ cannot be reached: is it running, and is the network there?";

/** Called when a call finds that the session is over. */
export function onSignedOut(call) {
  signedOut = call;
}

/** Told by the session's document; unsafe calls carry it. */
export function setCsrf(value) {
  csrf = value || "";
}

/** A query string of what is not empty, with "?" before it. */
export function query(parameters) {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "" && value !== null && value !== undefined && value !== false) made.set(name, String(value));
  }
  const text = made.toString();
  return text ? `?${text}` : "";
}

/**
 * One call; the answer's JSON, null where it has none. Raises ApiError; AbortError when `signal` says so.
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {{signal?: AbortSignal, headers?: Record<string, string>, quiet?: boolean}} [options]
 */
export async function call(method, path, body, options = {}) {
  const headers = { Accept: "application/json", "X-Requested-With": "hookmq", ...options.headers };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: options.signal,
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, UNREACHABLE);
  }
  const text = await response.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = null;
  }
  if (response.ok) {
    if (options.etag) options.etag(response.headers.get("ETag"));
    return value;
  }
  const error = new ApiError(response.status, (value && value.detail) || response.statusText, value || {});
  error.retryAfter = Number(response.headers.get("Retry-After")) || null;
  if (response.status === 401 && !options.quiet) signedOut();
  throw error;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
export const patch = (path, body, options) => call("PATCH", path, body, options);
export const del = (path, options) => call("DELETE", path, undefined, options);

/** Whether an error only says that the page was left. */
export const aborted = (error) => error && error.name === "AbortError";

const ENDPOINTS = "/api/v2/webhooks/endpoints";
const PUBLISHERS = "/api/v2/mqtt/publishers";
/** How logs and dead letters call a publisher: by this and its id. */
export const PUBLISHER = "mqtt_publishers.";

function receiver(name) {
  if (name.startsWith(PUBLISHER)) return `${PUBLISHERS}/${encodeURIComponent(name.slice(PUBLISHER.length))}`;
  return `${ENDPOINTS}/${encodeURIComponent(name)}`;
}

/** Paths of the calls. */
export const paths = {
  session: "/api/v2/session",
  overview: "/api/v2/overview",
  endpoints: ENDPOINTS,
  endpoint: (id) => `${ENDPOINTS}/${encodeURIComponent(id)}`,
  /** An endpoint or a publisher, by the name that logs have for it. */
  receiver,
  delivery: (name, delivery) => `${receiver(name)}/deliveries/${encodeURIComponent(delivery)}`,
  preview: "/api/v2/webhooks/preview",
  test: "/api/v2/webhooks/test",
  logs: "/api/v2/webhooks/logs",
  retryLogs: "/api/v2/webhooks/logs/retry",
  types: "/api/v2/webhooks/event-types",
  dead: "/api/v2/dead-letters",
  deadGroups: "/api/v2/dead-letters/groups",
  job: (id) => `/api/v2/jobs/${encodeURIComponent(id)}`,
  clients: "/api/v4/clients",
  client: (id) => `/api/v4/clients/${encodeURIComponent(id)}`,
  subscriptions: "/api/v4/subscriptions",
  publishers: PUBLISHERS,
  liveOverview: "/api/v2/live/overview",
  liveEvents: "/api/v2/live/events",
};
