/** What is wrong now, in words; then figures and the last hour. */

import * as api from "../api.js";
import { fill, h, icon, patch, setText } from "../dom.js";
import * as f from "../format.js";
import { createPlot } from "../plot.js";
import { createTable } from "../table.js";
import { card, chip, emptyState, failure, skeleton, stateChip } from "../ui.js";

const STEP_MS = 5000;
const POINTS = 720;
const SHOWN = 10;
/** Problems that are shown until one asks for all. */
const FIRST = 5;

const PLOTS = [
  {
    title: "Per second",
    series: [
      { key: "messages_in_per_s", label: "Messages in", className: "series-a" },
      { key: "deliveries_per_s", label: "Deliveries", className: "series-b" },
    ],
    format: f.rate,
    floor: 1,
  },
  {
    title: "Failures per second",
    series: [{ key: "failures_per_s", label: "Failed attempts", className: "series-bad" }],
    format: f.rate,
    floor: 1,
  },
  { title: "Backlog", series: [{ key: "backlog", label: "Events waiting", className: "series-c" }], format: compact, floor: 10 },
  { title: "Clients", series: [{ key: "clients", label: "Clients", className: "series-b" }], format: compact, floor: 10 },
];

function compact(value) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

export async function page(ctx) {
  ctx.head({ title: "Overview" });
  const problems = problemPanel();
  const tiles = tilePanel();
  const plots = PLOTS.map(createPlot);
  ctx.onleave(() => plots.forEach((plot) => plot.close()));
  const endpoints = endpointPanel();
  const place = h("div", null, skeleton(6));
  ctx.root.append(place);
  let points = [];

  let first;
  try {
    first = await api.get(api.paths.overview, { signal: ctx.signal });
  } catch (error) {
    if (api.aborted(error)) return;
    fill(place, failure(error, () => page(ctx)));
    return;
  }
  points = ((first.history || {}).points || []).map(point);
  fill(
    place,
    problems.element,
    tiles.element,
    h("section", { class: "plots", "aria-label": "The last hour" }, plots.map((plot) => plot.element)),
    endpoints.element,
  );
  take(first);
  ctx.onleave(ctx.live.subscribe({ data: take }));

  function take(now) {
    const latest = point(now);
    const { t } = latest;
    const before = points[points.length - 1];
    // A point every five seconds, as the server keeps them; the last one moves until then.
    if (before && before.moving && t - before.from < STEP_MS) points[points.length - 1] = { ...latest, moving: true, from: before.from };
    else points.push({ ...latest, moving: true, from: t });
    if (points.length > POINTS) points = points.slice(-POINTS);
    problems.set(now.problems);
    tiles.set(now);
    endpoints.set(now);
    if (!document.hidden) for (const plot of plots) plot.set(points);
  }
}

function point(sample) {
  return {
    t: Date.parse(sample.at),
    messages_in_per_s: sample.messages_in_per_s,
    deliveries_per_s: sample.deliveries_per_s,
    failures_per_s: sample.failures_per_s,
    backlog: sample.backlog,
    clients: sample.clients,
  };
}

// -- what is wrong --------------------------------------------------------------------------------------------

const SEVERITY = { error: ["bad", "Error"], warning: ["warn", "Warning"], info: ["info", "Note"] };

function problemPanel() {
  const list = h("div", { class: "problems", role: "status" });
  const more = h("button", { type: "button", class: "button button-quiet", "aria-expanded": "false", hidden: true, onclick: () => show(!all) });
  const element = h("section", { class: "problem-panel", "aria-label": "What is wrong now" }, list, more);
  let all = false;
  let latest = [];

  function show(on) {
    all = on;
    set(latest);
  }

  function set(found) {
    latest = found;
    more.hidden = found.length <= FIRST;
    more.setAttribute("aria-expanded", String(all));
    setText(more, all ? "Show the first ones only" : `Show all ${found.length}`);
    draw(all ? found : found.slice(0, FIRST));
  }

  function draw(problems) {
      if (problems.length === 0) {
        patch(list, h("div", { class: "all-well" }, icon("check"), h("span", null, "Nothing is wrong.")));
        return;
      }
      patch(
        list,
        h(
          "ul",
          { class: "problem-list" },
          problems.map(({ severity, text, link, since }) => {
            const [kind, word] = SEVERITY[severity] || ["warn", severity];
            return h(
              "li",
              { class: `problem problem-${kind}` },
              chip(kind, word),
              h("span", { class: "problem-text" }, f.sentence(text), since ? h("span", { class: "muted" }, " Since ", f.when(since), ".") : null),
              link && link.startsWith("#/") ? h("a", { class: "problem-link", href: link }, "Show", h("span", { class: "visually-hidden" }, `: ${text}`), icon("chevron")) : null,
            );
          }),
        ),
      );
  }
  return { element, set };
}

// -- figures --------------------------------------------------------------------------------------------------

function tilePanel() {
  const made = [
    ["clients", "Clients", "#/clients?conn_state=connected", (now) => [f.count(now.clients), now.clients === null ? "needs clients:read" : "connected"]],
    ["messages", "Messages in", "#/live", (now) => [f.rate(now.messages_in_per_s), "per second"]],
    ["deliveries", "Deliveries", "#/logs?status=ok", (now) => [f.rate(now.deliveries_per_s), "per second"]],
    ["failures", "Failures", "#/logs?status=failed", (now) => [f.rate(now.failures_per_s), "attempts per second"]],
    ["backlog", "Backlog", "#/endpoints", (now) => [f.count(now.backlog), now.backlog === 1 ? "event waits" : "events wait"]],
    ["oldest", "Oldest waiting", "#/endpoints", (now) => (now.oldest_waiting_s === null || now.oldest_waiting_s === undefined ? ["–", "nothing waits"] : [f.duration(now.oldest_waiting_s), ""])],
    ["dead", "Dead letters", "#/dead", (now) => [f.count(now.dead), now.dead ? "to look at" : "none"]],
  ].map(([key, label, href, read]) => {
    const value = h("span", { class: "tile-value" });
    const unit = h("span", { class: "tile-unit" });
    const element = h("a", { class: "tile", href, "data-tile": key }, h("span", { class: "tile-label" }, label), value, unit);
    return {
      element,
      set(now) {
        const [text, below] = read(now);
        setText(value, text);
        setText(unit, below);
      },
    };
  });
  const store = storeTile();
  return {
    element: h("section", { class: "tiles", "aria-label": "Figures" }, [...made, store].map((tile) => tile.element)),
    set: (now) => [...made, store].forEach((tile) => tile.set(now)),
  };
}

function storeTile() {
  const value = h("span", { class: "tile-value" });
  const unit = h("span", { class: "tile-unit" });
  const meter = h("progress", { class: "meter", max: 1, value: 0, "aria-label": "The store's share of its bound" });
  return {
    element: h("div", { class: "tile", "data-tile": "store" }, h("span", { class: "tile-label" }, "Store"), value, unit, meter),
    set(now) {
      const { store_bytes: bytes, store_bound_bytes: bound } = now;
      setText(value, f.bytes(bytes));
      setText(unit, bound ? `of ${f.bytes(bound)}` : "");
      meter.hidden = !bound;
      if (bound) meter.value = Math.min(1, bytes / bound);
    },
  };
}

// -- endpoints ------------------------------------------------------------------------------------------------

function endpointPanel() {
  const table = createTable({
    caption: "Endpoints, those in trouble and the busiest first",
    rowKey: (row) => `${row.kind} ${row.id}`,
    columns: endpointColumns(),
    empty: () =>
      emptyState(
        "No endpoint yet",
        "An endpoint is a URL that HookMQ sends events to.",
        h("a", { class: "button button-primary", href: "#/endpoints/new" }, "Create an endpoint"),
      ),
  });
  const all = h("a", { class: "button button-quiet", href: "#/endpoints" }, "All endpoints");
  return {
    element: card("Endpoints", { actions: all }, table.element),
    set(now) {
      table.setRows(now.endpoints.slice(0, SHOWN).sort(byTrouble));
      setText(all, now.endpoints_total > SHOWN ? `All ${f.count(now.endpoints_total)} endpoints` : "All endpoints");
    },
  };
}

const TROUBLE = ["failing", "full", "off", "slow", "asking", "leaving", "on", "inactive"];

/** The server has chosen; what stays in its place is easier to read than what is sorted anew each second. */
function byTrouble(a, b) {
  return TROUBLE.indexOf(a.state) - TROUBLE.indexOf(b.state) || name(a).localeCompare(name(b));
}

const name = (row) => row.description || row.id;

function endpointColumns() {
  return [
    {
      key: "id",
      label: "Endpoint",
      head: true,
      cell: (row) =>
        h(
          "div",
          { class: "cell-line" },
          h("a", { class: "cell-main", href: `#/${row.kind}s/${encodeURIComponent(row.id)}` }, name(row)),
          row.kind === "publisher" ? h("span", { class: "tag" }, "MQTT") : null,
        ),
    },
    { key: "state", label: "State", cell: (row) => stateChip(row.state, row.reason) },
    { key: "rate", label: "Deliveries/s", className: "num", cell: (row) => f.rate(row.deliveries_per_s) },
    { key: "share", label: "Success", className: "num", cell: (row) => f.share(row.success_share) },
    { key: "backlog", label: "Waiting", className: "num", cell: (row) => f.count(row.backlog) },
    { key: "dead", label: "Dead", className: "num", cell: (row) => f.count(row.dead) },
  ];
}

