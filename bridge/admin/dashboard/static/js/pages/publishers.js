/** MQTT publishers: events as messages at this broker or another one; their state and last error. */

import * as api from "../api.js";
import { nameCell } from "../cells.js";
import { openDialog } from "../dialog.js";
import { add, fill, h } from "../dom.js";
import * as f from "../format.js";
import { createTable, cursorList } from "../table.js";
import { button, chip, codeBlock, emptyState, facts, failure, notice, skeleton, stateChip } from "../ui.js";

const REFRESH_S = 5;

export async function page(ctx) {
  ctx.head({ title: "MQTT publishers", lead: "Events as MQTT messages, at this broker or another one." });
  const table = createTable({
    caption: "MQTT publishers",
    rowKey: (row) => row.id,
    onopen: (row) => show(row.id),
    columns: [
      { key: "id", label: "Publisher", head: true, className: "cell-wide", cell: (row) => nameCell(nameButton(row), row, row.server === "embedded" ? "this broker" : row.server) },
      { key: "state", label: "State", cell: (row) => stateChip(row.state, row.reason) },
      { key: "connected", label: "Connection", cell: connection },
      { key: "last", label: "Last connected", cell: (row) => f.when((row.connection || {}).last_connected) },
      { key: "error", label: "Last error", className: "cell-error", cell: (row) => lastError(row) },
      { key: "waiting", label: "Waiting", className: "num", cell: (row) => f.count((row.figures || {}).queued) },
    ],
    empty: () => emptyState("There is no publisher", "A block mqtt_publishers.<name> in the file, or POST /api/v2/mqtt/publishers, makes events into MQTT messages (docs/unified-namespace.md)."),
  });
  function nameButton(row) {
    return h("button", { type: "button", class: "link-button", onclick: () => show(row.id) }, row.description || row.id);
  }

  function show(id) {
    const dialog = openDialog("MQTT publisher", { sheet: true });
    fill(dialog.body, skeleton(5));
    fill(dialog.foot, button("Close", { onclick: () => dialog.close() }));
    api
      .get(`${api.paths.publishers}/${encodeURIComponent(id)}`, { signal: ctx.signal })
      .then((row) => {
        dialog.heading.textContent = row.description || row.id;
        fill(dialog.body, details(row));
      })
      .catch((error) => {
        if (!api.aborted(error)) fill(dialog.body, failure(error));
      });
  }

  const list = cursorList({
    table,
    noun: ["publisher", "publishers"],
    signal: ctx.signal,
    load: (cursor, limit) => api.get(api.paths.publishers + api.query({ figures: true, limit, cursor }), { signal: ctx.signal }),
  });
  const box = h("div", { class: "card card-flush" }, table.element, list.pager.element);
  try {
    await api.get(api.paths.publishers + api.query({ limit: 1 }), { signal: ctx.signal });
  } catch (error) {
    if (error.status !== 404) throw error;
    add(ctx.root, [notice("info", "This version of HookMQ does not tell of its publishers over the API. On the machine itself, hookmq status shows them.")]);
    return;
  }
  ctx.root.append(box);
  if (ctx.params.id) show(ctx.params.id);
  await list.refresh();
  ctx.every(REFRESH_S, () => list.refresh({ quiet: true }));
}

function details(row) {
  const { id, source, state, reason, connection: there, figures, description, ...settings } = row;
  return [
    reason ? notice("bad", reason) : null,
    facts([
      ["State", stateChip(state, reason)],
      ["Id", h("code", null, id)],
      ["Made in", source === "file" ? "the configuration file" : "the API"],
      ["Topic", h("code", { class: "wrap" }, row.topic_pattern)],
      ["Server", row.server === "embedded" ? "this broker" : h("code", { class: "wrap" }, row.server)],
      ["Connection", connection(row)],
      there ? ["Since", f.when(there.since)] : null,
      there ? ["Last connected", f.when(there.last_connected)] : null,
      ["Last error", lastError(row)],
    ]),
    codeBlock("Settings that are not at their defaults", JSON.stringify(settings, null, 2)),
  ];
}

function connection(row) {
  if (!row.connection) return h("span", { class: "muted" }, row.server === "embedded" ? "needs none" : "–");
  return row.connection.connected ? chip("ok", "Connected") : chip(row.connection.last_error ? "bad" : "off", "Not connected");
}

function lastError(row) {
  const found = row.connection || {};
  if (!found.last_error) return h("span", { class: "muted" }, "none");
  return [h("span", { class: "wrap" }, found.last_error), h("span", { class: "cell-sub" }, f.when(found.last_error_at))];
}
