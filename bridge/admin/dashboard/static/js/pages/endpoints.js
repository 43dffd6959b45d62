/** All endpoints: state, rate, success share, backlog; searched and paged on the server. */

import * as api from "../api.js";
import { nameCell } from "../cells.js";
import { h } from "../dom.js";
import * as f from "../format.js";
import { createTable, cursorList, filterBar, noMatch } from "../table.js";
import { emptyState, stateChip, STATE_NAMES } from "../ui.js";

const REFRESH_S = 5;

export async function page(ctx) {
  const create = ctx.may("endpoints:write")
    ? h("a", { class: "button button-primary", href: "#/endpoints/new" }, "Create endpoint")
    : null;
  ctx.head({ title: "Endpoints", lead: "Each gets the events it has asked for as POST requests.", actions: create });

  const filters = filterBar(
    ctx,
    [
      { name: "q", label: "Search", placeholder: "URL, description, id", wide: true },
      { name: "state", label: "State", kind: "select", options: [["", "Any"], ...STATE_NAMES] },
      { name: "source", label: "Made in", kind: "select", options: [["", "Any"], ["api", "Dashboard or API"], ["file", "File"]] },
    ],
    () => list.restart(),
  );
  const table = createTable({
    caption: "Endpoints",
    rowKey: (row) => row.id,
    columns: columns(),
    onopen: (row) => ctx.go(`#/endpoints/${encodeURIComponent(row.id)}`),
    empty: () =>
      filters.any()
        ? noMatch(filters)
        : emptyState(
            "No endpoint yet",
            "An endpoint is a URL that HookMQ sends events to. Create one here, or write a webhook block into the file.",
            ctx.may("endpoints:write") ? h("a", { class: "button button-primary", href: "#/endpoints/new" }, "Create an endpoint") : null,
          ),
  });
  const list = cursorList({
    table,
    noun: ["endpoint", "endpoints"],
    signal: ctx.signal,
    load: (cursor, limit) =>
      api.get(api.paths.endpoints + api.query({ ...filters.values(), figures: true, limit, cursor }), { signal: ctx.signal }),
  });
  ctx.root.append(filters.element, h("div", { class: "card card-flush" }, table.element, list.pager.element));
  await list.refresh();
  ctx.every(REFRESH_S, () => list.refresh({ quiet: true }));
}

function columns() {
  return [
    {
      key: "endpoint",
      label: "Endpoint",
      head: true,
      className: "cell-wide",
      cell: (row) =>
        nameCell(h("a", { class: "cell-main", href: `#/endpoints/${encodeURIComponent(row.id)}` }, row.description || row.id), row, row.url),
    },
    { key: "state", label: "State", cell: (row) => stateChip(row.state, row.reason) },
    { key: "events", label: "Events", className: "cell-events", cell: (row) => h("span", { class: "muted", title: eventNames(row.events).join("\n") }, brief(row.events)) },
    { key: "rate", label: "Per second", className: "num", cell: (row) => f.rate(figures(row).delivered_per_s) },
    { key: "share", label: "Success", className: "num", cell: (row) => f.share(figures(row).success_share) },
    { key: "waiting", label: "Waiting", className: "num", cell: (row) => f.count(figures(row).queued) },
    { key: "dead", label: "Dead", className: "num", cell: (row) => f.count(figures(row).dead) },
  ];
}

const figures = (row) => row.figures || {};

/** Names of what an endpoint wants, with topic filters. */
export function eventNames(events) {
  return (events || []).map((one) => (typeof one === "string" ? one : one.topic ? `${one.event} ${one.topic}` : one.event));
}

function brief(events) {
  const names = eventNames(events);
  if (names.length === 0) return "none";
  return names.length === 1 ? names[0] : `${names[0]} and ${names.length - 1} more`;
}
