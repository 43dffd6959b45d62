/** The settings of delivery, by topic, with their defaults as placeholders (docs/configuration.md). */

const YES_NO_ORDER = [
  ["none", "None: each on its own"],
  ["client", "Events of one client in order"],
  ["topic", "Events of one topic in order"],
  ["endpoint", "All in order"],
];

/** @type {{title: string, hint: string, fields: import("./bound.js").Spec[]}[]} */
export const POLICY = [
  {
    title: "Attempts",
    hint: "When an attempt that failed is made again, and what counts as taken.",
    fields: [
      { path: "/cancel_timeout", label: "Time limit of an attempt", placeholder: "5s", kind: "number", hint: "A number without a unit counts in milliseconds." },
      { path: "/success", label: "Statuses that mean “taken”", placeholder: "2xx", kind: "list", hint: "Such as 200, 304 or 200-204." },
      { path: "/retry/jitter", label: "Chance added to a wait", placeholder: "0.1", kind: "number", hint: "As a share of it, 0 to 1." },
      { path: "/retry/max_retry_after", label: "Obey Retry-After up to", placeholder: "1d", kind: "number" },
    ],
  },
  {
    title: "Pace and order",
    hint: "How much goes to the receiver at once, and which events wait for one another.",
    fields: [
      { path: "/pool_size", label: "Connections", placeholder: "32", kind: "number", hint: "1 to 4096." },
      { path: "/max_in_flight", label: "Events under way at once", placeholder: "as many as connections", kind: "number" },
      { path: "/rate_limit/per_second", label: "Events per second", placeholder: "no limit", kind: "number" },
      { path: "/rate_limit/burst", label: "At once after a pause", placeholder: "1", kind: "number" },
      { path: "/ordering", label: "Order", kind: "select", options: YES_NO_ORDER, initial: "none" },
      { path: "/max_parked", label: "Events that wait behind a failed one", placeholder: "10000", kind: "number" },
    ],
  },
  {
    title: "While the receiver is down",
    hint: "How much may wait, and when the endpoint is tried less often or switched off.",
    fields: [
      { path: "/backlog/max_bytes", label: "Backlog, at most", placeholder: "1GB", kind: "number" },
      { path: "/backlog/max_age", label: "Backlog, at the longest", placeholder: "7d", kind: "number" },
      {
        path: "/backlog/on_full",
        label: "When it is full",
        kind: "select",
        options: [["expire", "Give up the oldest events"], ["refuse", "Refuse publishers"]],
        initial: "expire",
      },
      { path: "/breaker/failures", label: "Failures in a row until one at a time", placeholder: "10", kind: "number" },
      { path: "/breaker/probe_interval", label: "Time between two tries then", placeholder: "15s", kind: "number" },
      { path: "/breaker/disable_after", label: "Switch it off after failing for", placeholder: "never", kind: "number" },
      { path: "/dead/max_bytes", label: "Dead letters, at most", placeholder: "1GB", kind: "number" },
      { path: "/dead/max_age", label: "Dead letters, at the longest", placeholder: "30d", kind: "number" },
    ],
  },
  {
    title: "Several events in one request",
    hint: "",
    fields: [
      { path: "/batch/enable", label: "Send several events in one request", kind: "check", initial: "false" },
      { path: "/batch/max_events", label: "Events, at most", placeholder: "100", kind: "number" },
      { path: "/batch/max_wait", label: "An event waits for others, at most", placeholder: "100ms", kind: "number" },
      { path: "/batch/format", label: "As", kind: "select", options: [["array", "A JSON array"], ["cloudevents-batch", "A CloudEvents batch"]], initial: "array" },
    ],
  },
];

/** Where each schedule tries again, in words. */
export const SCHEDULES = [
  ["standard", "Standard Webhooks: 5 s, 5 min, 30 min, 2 h … 24 h"],
  ["mes", "MachShop: 5 s, 30 s, 5 min, 30 min, then daily for 7 days"],
  ["exponential", "Exponential: each wait is a multiple of the one before"],
  ["own", "My own list of waits"],
];

export const EXPONENTIAL = [
  { path: "/retry/exponential/base", label: "First wait", placeholder: "5s", kind: "number" },
  { path: "/retry/exponential/factor", label: "Factor", placeholder: "2", kind: "number" },
  { path: "/retry/exponential/max_attempts", label: "Attempts, at most", placeholder: "10", kind: "number" },
  { path: "/retry/exponential/max_age", label: "None later than", placeholder: "no limit", kind: "number" },
];
