/** One endpoint: how it is doing, what it was sent, its settings, and what can be done with it. */

import * as api from "../api.js";
import { fromCell, timeCell } from "../cells.js";
import { openDelivery } from "../delivery.js";
import { confirm } from "../dialog.js";
import { add, fill, h, patch, setText } from "../dom.js";
import * as f from "../format.js";
import { openReplay, replayCard } from "../replay.js";
import { openRotate } from "../secret.js";
import { createTable, cursorList, filterBar, noMatch } from "../table.js";
import { openTest, sendTest, testButton } from "../trial.js";
import { busy, button, codeBlock, copyButton, deliveryChip, emptyState, facts, notice, outcomeChip, skeleton, stateChip, tabs, toast } from "../ui.js";
import { eventNames } from "./endpoints.js";
import { STATUSES } from "./logs.js";

const STATS_S = 2;
const REFRESH_S = 3;

export async function page(ctx) {
  const { id } = ctx.params;
  const path = api.paths.endpoint(id);
  const may = ctx.may("endpoints:write");
  ctx.head({ title: id, back: ["Endpoints", "#/endpoints"] });
  const waiting = skeleton(4);
  ctx.root.append(waiting);
  let endpoint;
  try {
    endpoint = await api.get(path, { signal: ctx.signal });
  } catch (error) {
    if (error.status !== 404) throw error;
    fill(ctx.root, emptyState("There is no such endpoint", "It was deleted, or the address is wrong.", h("a", { class: "button button-primary", href: "#/endpoints" }, "All endpoints")));
    return;
  } finally {
    waiting.remove();
  }
  const fromFile = endpoint.source === "file";

  const chipPlace = h("span");
  const reason = h("div");
  const figures = figureRow();
  const replay = replayCard(id, { may, onstop: () => refreshStats() });
  const toggle = button("Disable", { onclick: () => switchIt() });
  header();

  function header() {
    ctx.head({
      title: endpoint.description || id,
      back: ["Endpoints", "#/endpoints"],
      badge: [chipPlace, fromFile ? h("span", { class: "tag" }, "File") : null],
      actions: may
        ? [
            button("Send Test Event", { kind: "primary", onclick: () => openTest(id, firstType(endpoint), ctx.signal) }),
            button("Replay", { onclick: () => openReplay(id, ctx.signal, () => refreshStats()) }),
            toggle,
            fromFile ? null : button("Rotate secret", { onclick: () => openRotate(id, ctx.signal, () => reload()) }),
            fromFile ? null : h("a", { class: "button", href: `#/endpoints/${encodeURIComponent(id)}/edit` }, "Edit"),
            fromFile ? null : button("Delete", { kind: "danger", onclick: () => askDelete() }),
          ]
        : null,
    });
  }

  add(ctx.root, [
    fromFile ? notice("info", "This endpoint stands in the configuration file and is changed there alone. Testing, replaying, retrying and switching work here too.") : null,
    h(
      "div",
      { class: "url-row card" },
      h("span", { class: "url-method" }, endpoint.method || "POST"),
      h("code", { class: "url-text" }, endpoint.url),
      copyButton(endpoint.url),
      may ? testButton((signal) => sendTest(id, "", signal), ctx.signal) : null,
    ),
    reason,
    replay.element,
    figures.element,
    tabs(
      "About this endpoint",
      [
        { key: "deliveries", title: "Deliveries", show: (panel) => deliveries(ctx, id, panel) },
        { key: "settings", title: "Settings", show: (panel) => settings(endpoint, panel) },
      ],
      { selected: ctx.query.get("tab") || "deliveries", onselect: (tab) => ctx.setQuery({ tab: tab === "deliveries" ? "" : tab }) },
    ).element,
  ]);

  async function refreshStats() {
    try {
      const stats = await api.get(`${path}/stats`, { signal: ctx.signal });
      patch(chipPlace, stateChip(stats.state, stats.reason));
      patch(reason, why(stats));
      figures.set(stats);
      replay.set(stats.replay);
      const off = stats.state === "off" || stats.state === "inactive";
      setText(toggle.lastElementChild, off ? "Enable" : "Disable");
      toggle.dataset.to = off ? "enable" : "disable";
    } catch (error) {
      if (!api.aborted(error)) patch(reason, notice("bad", error.message));
    }
  }

  async function reload() {
    endpoint = await api.get(path, { signal: ctx.signal });
  }

  function switchIt() {
    return busy(toggle, async () => {
      const to = toggle.dataset.to;
      try {
        if (to === "enable" && endpoint.active === false && !fromFile) await api.patch(path, { active: true });
        else await api.post(`${path}/${to}`, {});
        toast("ok", to === "enable" ? "It is sent events again." : "It is off: its events wait.");
        await reload();
        await refreshStats();
      } catch (error) {
        toast("bad", error.message);
      }
    });
  }

  async function askDelete() {
    const done = await confirm({
      title: "Delete this endpoint?",
      text: "What waits for it and its dead letters go with it. This cannot be taken back.",
      action: "Delete",
      danger: true,
      work: () => api.del(path),
    });
    if (done) {
      toast("ok", "The endpoint is deleted.");
      ctx.go("#/endpoints");
    }
  }

  await refreshStats();
  ctx.every(STATS_S, refreshStats);
}

function why(stats) {
  if (!stats.reason) return null;
  return notice(stats.state === "failing" || stats.state === "off" ? "bad" : "warn", stats.reason);
}

/** The type that a test begins with: the first that the endpoint wants and that is no pattern. */
function firstType(endpoint) {
  for (const one of endpoint.events || []) {
    const name = typeof one === "string" ? one : one.event;
    if (!/[*?[]/.test(name)) return name;
  }
  return "";
}

function figureRow() {
  const made = [
    ["Delivered per second", (s) => f.rate(s.delivered_per_s)],
    ["Delivered", (s) => f.count(s.delivered)],
    ["Failed attempts", (s) => f.count(s.failed)],
    ["Waiting", (s) => f.count(s.queued)],
    ["In flight", (s) => f.count(s.in_flight)],
    ["To be retried", (s) => f.count(s.retrying)],
    ["Oldest waiting", (s) => (s.oldest_ms === null ? "–" : f.duration(s.oldest_ms / 1000))],
    ["Dead letters", (s) => f.count(s.dead)],
  ].map(([label, read]) => {
    const value = h("span", { class: "tile-value" }, "–");
    return { element: h("div", { class: "tile" }, h("span", { class: "tile-label" }, label), value), set: (s) => setText(value, read(s)) };
  });
  return {
    element: h("section", { class: "tiles tiles-small", "aria-label": "Figures since the start" }, made.map((one) => one.element)),
    set: (stats) => made.forEach((one) => one.set(stats)),
  };
}

// -- deliveries -----------------------------------------------------------------------------------------------

function deliveries(ctx, id, panel) {
  const filters = filterBar(
    ctx,
    [
      { name: "type", label: "Event type", placeholder: "work_order.*" },
      { name: "status", label: "Last attempt", kind: "select", options: STATUSES },
      { name: "since", label: "From", kind: "time", show: f.toLocalInput, read: f.fromLocalInput },
      { name: "until", label: "To", kind: "time", show: f.toLocalInput, read: f.fromLocalInput },
    ],
    () => list.restart(),
  );
  const open = (row) => openDelivery(ctx, id, row.id, { onretry: () => list.refresh({ quiet: true }) });
  const table = createTable({
    caption: "Deliveries",
    rowKey: (row) => row.id,
    onopen: open,
    columns: [
      { key: "at", label: "Last attempt", head: true, className: "cell-time", cell: (row) => timeCell(row.at, () => open(row)) },
      { key: "state", label: "State", cell: (row) => deliveryChip(row.state) },
      { key: "outcome", label: "Response", cell: (row) => outcomeChip(row) },
      { key: "type", label: "Event", className: "cell-type", cell: (row) => row.type },
      { key: "from", label: "Client and topic", className: "cell-from", cell: fromCell },
      { key: "attempt", label: "Attempts", className: "num", cell: (row) => f.count(row.attempt) },
      { key: "took", label: "Took", className: "num", cell: (row) => f.millis(row.took_ms) },
    ],
    rowClass: (row) => (row.ok ? "" : "row-bad"),
    empty: () => (filters.any() ? noMatch(filters) : emptyState("Nothing was sent to it yet", "Send a test event, or wait for the first event that it wants.")),
  });
  const list = cursorList({
    table,
    noun: ["delivery", "deliveries"],
    names: ["Newer", "Older"],
    signal: ctx.signal,
    load: (cursor, limit) => api.get(`${api.paths.endpoint(id)}/deliveries${api.query({ ...filters.values(), limit, cursor })}`, { signal: ctx.signal }),
  });
  fill(panel, filters.element, h("div", { class: "card card-flush" }, table.element, list.pager.element));
  list.refresh();
  ctx.every(REFRESH_S, () => {
    if (table.element.isConnected && list.first) list.refresh({ quiet: true });
  });
}

// -- settings -------------------------------------------------------------------------------------------------

const NOT_SETTINGS = new Set(["id", "source", "trust", "created", "changed", "created_by", "state", "reason", "old_secret_expires", "figures"]);

function settings(endpoint, panel) {
  const shown = Object.fromEntries(Object.entries(endpoint).filter(([name]) => !NOT_SETTINGS.has(name)));
  const rows = [
    ["Id", h("span", { class: "with-copy" }, h("code", null, endpoint.id), copyButton(endpoint.id))],
    ["Made in", endpoint.source === "file" ? "the configuration file" : `the API${endpoint.created_by ? ` by ${endpoint.created_by}` : ""}`],
    endpoint.created ? ["Made", f.when(endpoint.created)] : null,
    endpoint.changed ? ["Changed", f.when(endpoint.changed)] : null,
    endpoint.trust ? ["Whose", endpoint.trust] : null,
    endpoint.old_secret_expires ? ["Old secret signs until", f.when(endpoint.old_secret_expires)] : null,
    ["Format", endpoint.format],
    ["Signature", (endpoint.signature || []).map((one) => (typeof one === "string" ? one : one.scheme)).join(", ") || "none"],
  ];
  fill(
    panel,
    h(
      "div",
      { class: "columns" },
      h("section", { class: "card card-pad", "aria-label": "About it" }, facts(rows)),
      h(
        "section",
        { class: "card card-pad", "aria-label": "Events" },
        h("h3", null, "Events"),
        h("ul", { class: "event-list" }, eventNames(endpoint.events).map((name) => h("li", null, h("code", null, name)))),
      ),
    ),
    codeBlock("Settings that are not at their defaults", JSON.stringify(shown, null, 2)),
  );
}
