/** Who has subscribed to what. */

import * as api from "../api.js";
import { h } from "../dom.js";
import { numberedList } from "../numbered.js";
import { createTable, filterBar, noMatch } from "../table.js";
import { emptyState } from "../ui.js";

const REFRESH_S = 5;
const RETAIN = ["Sent", "Sent if new", "Not sent"];

export async function page(ctx) {
  ctx.head({ title: "Subscriptions", lead: "Who gets which messages from this broker." });
  const filters = filterBar(
    ctx,
    [
      { name: "clientid", label: "Client", placeholder: "client id" },
      { name: "topic", label: "Topic filter", placeholder: "exactly this one" },
      { name: "_match_topic", label: "Gets messages of", placeholder: "plant/line1/press", wide: true },
      { name: "share", label: "Shared group", placeholder: "group" },
      { name: "qos", label: "QoS", kind: "select", options: [["", "Any"], ["0", "0"], ["1", "1"], ["2", "2"]] },
    ],
    () => list.restart(),
  );
  const table = createTable({
    caption: "Subscriptions",
    rowKey: (row) => `${row.clientid}\n${row.topic}`,
    columns: [
      { key: "topic", label: "Topic filter", head: true, className: "cell-wide", cell: (row) => h("code", { class: "wrap" }, row.topic) },
      { key: "client", label: "Client", className: "cell-wide", cell: clientLink },
      { key: "qos", label: "QoS", className: "num", cell: (row) => String(row.qos) },
      { key: "nl", label: "Own messages", cell: (row) => (row.nl ? "No" : "Yes") },
      { key: "rap", label: "Retain flag", cell: (row) => (row.rap ? "Kept" : "Cleared") },
      { key: "rh", label: "Retained messages", cell: (row) => RETAIN[row.rh] || String(row.rh) },
    ],
    empty: () =>
      filters.any()
        ? noMatch(filters)
        : emptyState("Nobody has subscribed yet", "Webhooks need no subscription: they get what their events say. A subscription is made by an MQTT client."),
  });
  const list = numberedList({
    table,
    noun: ["subscription", "subscriptions"],
    signal: ctx.signal,
    load: (number, limit) => api.get(api.paths.subscriptions + api.query({ ...filters.values(), _page: number, _limit: limit }), { signal: ctx.signal }),
  });
  ctx.root.append(filters.element, h("div", { class: "card card-flush" }, table.element, list.pager.element));
  await list.refresh();
  ctx.every(REFRESH_S, () => list.refresh({ quiet: true }));
}

function clientLink(row) {
  const href = `#/clients?_like_clientid=${encodeURIComponent(row.clientid)}`;
  return h("a", { class: "cell-clip", href, title: row.clientid }, row.clientid || "(empty)");
}
