/** Clients: connected ones and sessions that wait for theirs; searched on the server, and kicked. */

import * as api from "../api.js";
import { confirm, openDialog } from "../dialog.js";
import { fill, h } from "../dom.js";
import * as f from "../format.js";
import { numberedList } from "../numbered.js";
import { createTable, filterBar, noMatch } from "../table.js";
import { button, chip, emptyState, facts, failure, skeleton, toast } from "../ui.js";

const REFRESH_S = 5;
const VERSIONS = { 3: "3.1", 4: "3.1.1", 5: "5.0" };

export async function page(ctx) {
  ctx.head({ title: "Clients", lead: "Devices that are connected, and sessions that wait for theirs." });
  const filters = filterBar(
    ctx,
    [
      { name: "_like_clientid", label: "Client id", placeholder: "a part of it", wide: true },
      { name: "_like_username", label: "User name", placeholder: "a part of it" },
      { name: "ip_address", label: "Address", placeholder: "10.0.0.7" },
      { name: "conn_state", label: "State", kind: "select", options: [["", "Any"], ["connected", "Connected"], ["disconnected", "Away"]] },
      { name: "proto_ver", label: "MQTT", kind: "select", options: [["", "Any"], ["5", "5.0"], ["4", "3.1.1"], ["3", "3.1"]] },
    ],
    () => list.restart(),
  );
  const may = ctx.may("clients:write");
  const table = createTable({
    caption: "Clients",
    rowKey: (row) => row.clientid,
    onopen: (row) => show(row.clientid),
    columns: [
      { key: "clientid", label: "Client", head: true, className: "cell-wide", cell: clientCell },
      { key: "state", label: "State", cell: (row) => (row.connected ? chip("ok", "Connected") : chip("off", "Away")) },
      { key: "address", label: "Address", cell: (row) => h("span", { class: "nowrap" }, row.ip_address, row.port ? h("span", { class: "muted" }, `:${row.port}`) : null) },
      { key: "mqtt", label: "MQTT", cell: (row) => VERSIONS[row.proto_ver] || row.proto_ver },
      { key: "since", label: "Since", cell: (row) => h("span", { class: "nowrap" }, (row.connected ? row.connected_at : row.disconnected_at) || "–") },
      { key: "subs", label: "Subscriptions", className: "num", cell: (row) => f.count(row.subscriptions_cnt) },
      { key: "queue", label: "Queue", className: "num", cell: (row) => f.count(row.mqueue_len) },
      may && { key: "kick", label: "", className: "num", cell: (row) => button("Kick", { kind: "quiet", "aria-label": `Kick ${row.clientid}`, onclick: () => kick(row.clientid) }) },
    ].filter(Boolean),
    empty: () =>
      filters.any()
        ? noMatch(filters)
        : emptyState("No client has connected yet", "Point a device at this broker: any MQTT client, at the address that HookMQ said at its start."),
  });
  const list = numberedList({
    table,
    noun: ["client", "clients"],
    signal: ctx.signal,
    load: (number, limit) => api.get(api.paths.clients + api.query({ ...filters.values(), _page: number, _limit: limit }), { signal: ctx.signal }),
  });
  ctx.root.append(filters.element, h("div", { class: "card card-flush" }, table.element, list.pager.element));

  function clientCell({ clientid, username }) {
    return [
      h("button", { type: "button", class: "link-button cell-clip", title: clientid, onclick: () => show(clientid) }, clientid || "(empty)"),
      username ? h("span", { class: "cell-sub", title: username }, username) : null,
    ];
  }

  async function kick(clientid, after = () => {}) {
    const done = await confirm({
      title: "Kick this client?",
      text: h("div", null, h("p", { class: "wrap" }, h("strong", null, clientid)), h("p", null, "Its connection and its session end, its will is published. It may come back.")),
      action: "Kick",
      danger: true,
      work: () => api.del(api.paths.client(clientid)),
    });
    if (done) {
      toast("ok", "The client is disconnected.");
      after();
      list.refresh({ quiet: true });
    }
  }

  async function show(clientid) {
    const dialog = openDialog("Client", { sheet: true });
    fill(dialog.body, skeleton(5));
    try {
      const [found, subscriptions] = await Promise.all([
        api.get(api.paths.client(clientid), { signal: ctx.signal }),
        api.get(`${api.paths.subscriptions}/${encodeURIComponent(clientid)}?_limit=100`, { signal: ctx.signal }),
      ]);
      const row = found.data[0];
      if (!row) {
        fill(dialog.body, emptyState("This client has gone", "It is not connected any more, and its session has ended."));
        return;
      }
      dialog.heading.textContent = row.clientid || "(empty client id)";
      fill(dialog.body, clientFacts(row), h("h3", null, "Subscriptions"), subscriptionList(subscriptions, row));
      fill(dialog.foot, may ? button("Kick", { kind: "danger", onclick: () => kick(clientid, () => dialog.close()) }) : null, button("Close", { onclick: () => dialog.close() }));
    } catch (error) {
      if (!api.aborted(error)) fill(dialog.body, failure(error));
    }
  }

  await list.refresh();
  ctx.every(REFRESH_S, () => list.refresh({ quiet: true }));
}

function clientFacts(row) {
  return facts([
    ["State", row.connected ? chip("ok", "Connected") : chip("off", "Away")],
    ["User name", row.username || h("span", { class: "muted" }, "none")],
    ["Address", `${row.ip_address}${row.port ? `:${row.port}` : ""}`],
    ["Protocol", `${row.proto_name} ${VERSIONS[row.proto_ver] || row.proto_ver}`],
    ["Connected", row.connected_at || "–"],
    row.disconnected_at ? ["Away since", row.disconnected_at] : null,
    ["Keepalive", f.duration(row.keepalive)],
    ["Clean start", row.clean_start ? "yes" : "no"],
    ["Session outlives it by", row.expiry_interval >= 0xffffffff ? "for ever" : f.duration(row.expiry_interval)],
    row.will_topic ? ["Will", h("code", { class: "wrap" }, row.will_topic)] : null,
    ["Messages waiting", `${f.count(row.mqueue_len)} of ${f.count(row.max_mqueue)}`],
    ["Not acknowledged yet", `${f.count(row.inflight)} of ${f.count(row.max_inflight)}`],
    ["Dropped", f.count(row.mqueue_dropped)],
  ]);
}

function subscriptionList(found, row) {
  if (found.data.length === 0) return h("p", { class: "muted" }, "None.");
  return h(
    "div",
    null,
    h("ul", { class: "event-list" }, found.data.map((one) => h("li", null, h("code", { class: "wrap" }, one.topic), h("span", { class: "muted" }, ` QoS ${one.qos}`)))),
    row.subscriptions_cnt > found.data.length ? h("p", { class: "muted" }, `and ${f.count(row.subscriptions_cnt - found.data.length)} more`) : null,
  );
}
