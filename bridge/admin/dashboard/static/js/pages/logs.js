/** Attempts, the latest first, with all filters in the hash; an entry opens at the side. */

import * as api from "../api.js";
import { fromCell, timeCell } from "../cells.js";
import { confirm } from "../dialog.js";
import { h } from "../dom.js";
import { checkbox } from "../form.js";
import * as f from "../format.js";
import { createTable, cursorList, filterBar, noMatch } from "../table.js";
import { button, emptyState, outcomeChip } from "../ui.js";
import { openDelivery } from "../delivery.js";
import { followed, tell } from "../jobs.js";
import { endpointLink, know } from "../names.js";
import { suggestEndpoints, suggestTypes } from "../suggest.js";

const REFRESH_S = 5;
/** What an attempt can have come to. */
export const STATUSES = [
  ["", "Any"],
  ["ok", "Succeeded"],
  ["failed", "Failed"],
  ["2xx", "2xx"],
  ["3xx", "3xx"],
  ["4xx", "4xx"],
  ["5xx", "5xx"],
  ["timeout", "Timeout"],
  ["connect", "Connection refused"],
  ["dns", "Name not found"],
  ["tls", "TLS"],
];

export async function page(ctx) {
  const retryAll = ctx.may("endpoints:write") ? button("Retry all that match", { mark: "refresh", onclick: () => askRetryAll() }) : null;
  ctx.head({ title: "Logs", lead: "Every attempt to deliver an event, the latest first.", actions: retryAll });

  const time = { show: f.toLocalInput, read: f.fromLocalInput };
  const filters = filterBar(
    ctx,
    [
      { name: "endpoint", label: "Endpoint", placeholder: "id", list: [] },
      { name: "type", label: "Event type", placeholder: "work_order.*", list: [] },
      { name: "status", label: "Status", kind: "select", options: STATUSES },
      { name: "client", label: "Client", placeholder: "client id" },
      { name: "topic", label: "Topic", placeholder: "plant/+/force" },
      { name: "since", label: "From", kind: "time", ...time },
      { name: "until", label: "To", kind: "time", ...time },
    ],
    () => list.restart(),
  );
  suggestEndpoints(filters.element.querySelector("input"), ctx.signal);
  suggestTypes(filters.element.querySelectorAll("input")[1], ctx.signal);

  const table = createTable({
    caption: "Attempts",
    rowKey: (row) => `${row.delivery} ${row.endpoint} ${row.attempt} ${row.at}`,
    columns: columns(open),
    onopen: open,
    rowClass: (row) => (row.ok ? "" : "row-bad"),
    empty: () =>
      filters.any()
        ? noMatch(filters)
        : emptyState(
            "Nothing has been sent yet",
            "As soon as an event goes to an endpoint, each attempt stands here with its response.",
            h("a", { class: "button button-primary", href: "#/endpoints" }, "See the endpoints"),
          ),
  });
  const list = cursorList({
    table,
    noun: ["attempt", "attempts"],
    names: ["Newer", "Older"],
    signal: ctx.signal,
    load: async (cursor, limit) => {
      const page = await api.get(api.paths.logs + api.query({ ...filters.values(), limit, cursor }), { signal: ctx.signal });
      await know(page.data.map((row) => row.endpoint), ctx.signal);
      return page;
    },
  });
  const follow = checkbox("Refresh by itself", { checked: true });
  ctx.root.append(
    filters.element,
    h("div", { class: "card card-flush" }, table.element, h("div", { class: "card-bar" }, follow.element, list.pager.element)),
  );

  let opened = null;
  function open(row) {
    ctx.setQuery({ entry: row.delivery, of: row.endpoint });
    show(row.endpoint, row.delivery);
  }

  function show(endpoint, delivery) {
    opened = openDelivery(ctx, endpoint, delivery, {
      onclose: () => {
        opened = null;
        if (!ctx.signal.aborted) ctx.setQuery({ entry: "", of: "" });
      },
      onretry: () => list.refresh({ quiet: true }),
    });
  }

  function askRetryAll() {
    const values = filters.values();
    const chosen = Object.entries(values).filter(([, value]) => value);
    confirm({
      title: "Retry all that match?",
      text: h(
        "div",
        null,
        h("p", null, "Each event that the log shows with these filters is sent again, with its id, unless its last attempt succeeded or it is under way."),
        chosen.length
          ? h("dl", { class: "facts" }, chosen.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))))
          : h("p", null, h("strong", null, "No filter is set: this means everything that failed.")),
      ),
      action: "Retry them",
      work: async (place) => {
        tell(await followed(await api.post(api.paths.retryLogs, clean(values)), place), "will be sent again");
        list.refresh({ quiet: true });
      },
    });
  }

  await list.refresh();
  if (ctx.query.get("entry") && ctx.query.get("of")) show(ctx.query.get("of"), ctx.query.get("entry"));
  ctx.every(REFRESH_S, () => {
    if (follow.control.checked && list.first && !opened) list.refresh({ quiet: true });
  });
}

function clean(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value));
}

/** The columns of attempts; `open(row)` shows one. */
export function columns(open, { endpoint = true } = {}) {
  return [
    {
      key: "at",
      label: "Time",
      head: true,
      className: "cell-time",
      cell: (row) => timeCell(row.at, () => open(row)),
    },
    { key: "outcome", label: "Outcome", cell: (row) => outcomeChip(row) },
    {
      key: "type",
      label: "Event",
      cell: (row) => h("span", { class: "cell-type" }, row.type, row.events > 1 ? h("span", { class: "muted" }, ` ×${row.events}`) : null),
    },
    endpoint && {
      key: "endpoint",
      label: "Endpoint",
      className: "cell-endpoint",
      cell: (row) => endpointLink(row.endpoint),
    },
    {
      key: "from",
      label: "Client and topic",
      className: "cell-from",
      cell: fromCell,
    },
    { key: "attempt", label: "Attempt", className: "num", cell: (row) => f.count(row.attempt) },
    { key: "took", label: "Took", className: "num", cell: (row) => f.millis(row.took_ms) },
  ].filter(Boolean);
}

