/** Dead letters, grouped by endpoint and cause; shown, replayed, purged. */

import * as api from "../api.js";
import { fromCell, timeCell } from "../cells.js";
import { openDelivery } from "../delivery.js";
import { followed, tell } from "../jobs.js";
import { confirm } from "../dialog.js";
import { add, h } from "../dom.js";
import * as f from "../format.js";
import { createTable, cursorList, filterBar, noMatch } from "../table.js";
import { button, emptyState } from "../ui.js";
import { endpointLink, know, nameOf } from "../names.js";
import { suggestEndpoints } from "../suggest.js";

const REFRESH_S = 5;

export async function page(ctx) {
  if (ctx.query.get("cause") !== null && ctx.query.get("endpoint")) await letters(ctx);
  else await groups(ctx);
}

const groupHash = (group) => `#/dead${api.query({ endpoint: group.endpoint }) || "?"}&cause=${encodeURIComponent(group.cause)}`;

// -- groups ---------------------------------------------------------------------------------------------------

async function groups(ctx) {
  ctx.head({ title: "Dead letters", lead: "Events that had their last attempt. They are kept until they are sent again, purged, or too old." });
  const may = ctx.may("endpoints:write");
  const refresh = () => list.refresh({ quiet: true });
  const filters = filterBar(ctx, [{ name: "endpoint", label: "Endpoint", placeholder: "id", list: [] }], () => list.restart());
  suggestEndpoints(filters.element.querySelector("input"), ctx.signal);
  const table = createTable({
    caption: "Dead letters by endpoint and cause",
    rowKey: (row) => `${row.endpoint}\n${row.cause}`,
    onopen: (row) => ctx.go(groupHash(row)),
    columns: [
      { key: "cause", label: "Cause", head: true, className: "cell-wide", cell: (row) => h("a", { class: "cell-main", href: groupHash(row) }, row.cause || "unknown") },
      { key: "endpoint", label: "Endpoint", className: "cell-endpoint", cell: (row) => endpointLink(row.endpoint) },
      { key: "count", label: "Letters", className: "num", cell: (row) => f.count(row.count) },
      { key: "first", label: "First", cell: (row) => f.when(row.first) },
      { key: "last", label: "Last", cell: (row) => f.when(row.last) },
      may && {
        key: "actions",
        label: "",
        className: "num",
        cell: (row) =>
          h(
            "div",
            { class: "cell-actions" },
            groupButton("Replay", row, () => replay(ctx, chosen(row), row.count, refresh)),
            groupButton("Purge", row, () => purge(ctx, chosen(row), row.count, refresh)),
          ),
      },
    ].filter(Boolean),
    empty: () => (filters.any() ? noMatch(filters) : emptyState("No dead letters", "Every event was delivered, or still has attempts to come.")),
  });
  const list = cursorList({
    table,
    noun: ["group", "groups"],
    signal: ctx.signal,
    load: async (cursor, limit) => {
      const page = await api.get(api.paths.deadGroups + api.query({ ...filters.values(), limit, cursor }), { signal: ctx.signal });
      await know(page.data.map((row) => row.endpoint), ctx.signal);
      return page;
    },
  });
  ctx.root.append(filters.element, h("div", { class: "card card-flush" }, table.element, list.pager.element));
  await list.refresh();
  ctx.every(REFRESH_S, () => list.refresh({ quiet: true }));
}

function groupButton(word, row, onclick) {
  return button(word, { kind: "quiet", "aria-label": `${word} ${f.count(row.count)} of ${nameOf(row.endpoint)}: ${row.cause}`, onclick });
}

const chosen = (group) => ({ endpoint: group.endpoint, cause: group.cause });

/** Send the letters of a group or a selection again. */
function replay(ctx, what, n, after) {
  return confirm({
    title: "Replay these dead letters?",
    text: `${f.plural(n, "event")} will be sent again, with ${n === 1 ? "its id" : "their ids"}.`,
    action: "Replay",
    work: async (place) => {
      tell(await followed(await api.post(`${api.paths.dead}/replay`, what), place), "will be sent again");
      after();
    },
  });
}

/** Give the letters up for good. */
function purge(ctx, what, n, after) {
  return confirm({
    title: "Purge these dead letters?",
    text: `${f.plural(n, "event")} will never be delivered to this endpoint. This cannot be taken back.`,
    action: "Purge",
    danger: true,
    typed: n > 100 ? "purge" : "",
    work: async (place) => {
      tell(await followed(await api.post(`${api.paths.dead}/purge`, what), place), "purged", "dead letter");
      after();
    },
  });
}

// -- letters of a group ---------------------------------------------------------------------------------------

async function letters(ctx) {
  const endpoint = ctx.query.get("endpoint");
  const cause = ctx.query.get("cause");
  const what = { endpoint, cause };
  const may = ctx.may("endpoints:write");
  const picked = new Set();
  const replayButton = button("Replay all", { kind: "primary", onclick: () => act(replay) });
  const purgeButton = button("Purge all", { kind: "danger", onclick: () => act(purge) });
  await know([endpoint], ctx.signal);
  const lead = h("span", null, "Dead letters of ", endpointLink(endpoint));
  ctx.head({ title: cause || "unknown cause", lead, back: ["Dead letters", "#/dead"], actions: may ? [replayButton, purgeButton] : null });
  let total = null;

  function act(work) {
    const ids = [...picked];
    const target = ids.length ? { endpoint, ids } : what;
    work(ctx, target, ids.length || total || 0, () => {
      picked.clear();
      shown();
      list.restart();
    });
  }
  function shown() {
    replayButton.lastElementChild.textContent = picked.size ? `Replay ${picked.size}` : "Replay all";
    purgeButton.lastElementChild.textContent = picked.size ? `Purge ${picked.size}` : "Purge all";
  }

  const open = (row) => openDelivery(ctx, endpoint, row.id, { onretry: () => list.refresh({ quiet: true }) });
  const key = (row) => row.id;
  const table = createTable({
    caption: "Dead letters",
    rowKey: key,
    onopen: open,
    columns: [
      may && {
        key: "pick",
        label: "",
        className: "cell-pick",
        cell: (row) =>
          h("input", {
            type: "checkbox",
            "aria-label": `Choose ${key(row)}`,
            checked: picked.has(key(row)),
            onchange: (event) => {
              if (event.target.checked) picked.add(key(row));
              else picked.delete(key(row));
              shown();
            },
          }),
      },
      { key: "at", label: "Given up", head: true, className: "cell-time", cell: (row) => timeCell(row.at, () => open(row)) },
      { key: "type", label: "Event", className: "cell-type", cell: (row) => row.type },
      { key: "from", label: "Client and topic", className: "cell-from", cell: fromCell },
      { key: "attempts", label: "Attempts", className: "num", cell: (row) => f.count(row.attempts) },
      { key: "error", label: "Last error", className: "cell-error", cell: (row) => row.error },
    ].filter(Boolean),
    empty: () => emptyState("None is left", "They were sent again, purged, or have gone by age.", h("a", { class: "button", href: "#/dead" }, "All dead letters")),
  });
  const list = cursorList({
    table,
    noun: ["dead letter", "dead letters"],
    signal: ctx.signal,
    load: async (cursor, limit) => {
      const page = await api.get(api.paths.dead + api.query({ endpoint, limit, cursor }) + `&cause=${encodeURIComponent(cause)}`, { signal: ctx.signal });
      if (page.total !== undefined) total = page.total;
      else if (total === null) total = page.data.length;
      return page;
    },
  });
  add(ctx.root, [h("div", { class: "card card-flush" }, table.element, list.pager.element)]);
  await list.refresh();
}

