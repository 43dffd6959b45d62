/** The catalogue of business events: each with its schema and an example. */

import * as api from "../api.js";
import { add, fill, h } from "../dom.js";
import { input } from "../form.js";
import * as f from "../format.js";
import { codeBlock, emptyState, skeleton } from "../ui.js";

export async function page(ctx) {
  ctx.head({ title: "Event types", lead: "The catalogue of business events. They come by POST /api/v2/events, or are made from MQTT messages." });
  const waiting = skeleton(6);
  ctx.root.append(waiting);
  const { data } = await api.get(api.paths.types, { signal: ctx.signal });
  waiting.remove();
  if (data.length === 0) {
    ctx.root.append(emptyState("The catalogue is empty", "events.catalogue names a file with types of your own; without it those of MachShop and Eryxon are known."));
    return;
  }
  const search = input({ type: "search", "aria-label": "Search the types", placeholder: "Search", value: ctx.query.get("q") || "", oninput: () => list() });
  const names = h("ul", { class: "catalogue-list" });
  const detail = h("div", { class: "catalogue-detail card" });
  const status = h("p", { class: "muted catalogue-count", role: "status" });
  ctx.root.append(h("div", { class: "catalogue" }, h("div", { class: "catalogue-side card" }, search, status, names), detail));
  let chosen = ctx.query.get("type") || data[0].type;

  function list() {
    const text = search.value.trim().toLowerCase();
    ctx.setQuery({ q: text });
    const found = data.filter((one) => `${one.type} ${one.description} ${one.sources.join(" ")}`.toLowerCase().includes(text));
    status.textContent = f.plural(found.length, "type");
    fill(
      names,
      found.map((one) =>
        h(
          "li",
          null,
          h(
            "button",
            { type: "button", class: "catalogue-item", "aria-current": one.type === chosen ? "true" : null, onclick: () => show(one.type) },
            h("span", { class: "catalogue-type" }, one.type),
            h("span", { class: "cell-sub" }, one.description),
          ),
        ),
      ),
    );
  }

  names.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const items = [...names.querySelectorAll("button")];
    const at = items.indexOf(document.activeElement);
    if (!step || at < 0 || !items[at + step]) return;
    event.preventDefault();
    items[at + step].focus();
  });

  function show(type) {
    chosen = type;
    ctx.setQuery({ type });
    for (const item of names.querySelectorAll("button")) {
      if (item.querySelector(".catalogue-type").textContent === type) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
    }
    draw();
  }

  function draw() {
    const one = data.find((entry) => entry.type === chosen) || data[0];
    fill(detail);
    add(detail, [
      h(
        "div",
        { class: "card-head" },
        h("h2", null, one.type),
        h(
          "div",
          { class: "card-actions" },
          one.sources.map((source) => h("span", { class: "tag" }, source)),
          h("a", { class: "button button-quiet", href: `#/live?type=${encodeURIComponent(one.type)}` }, "Watch them"),
        ),
      ),
      h(
        "div",
        { class: "card-body stack" },
        h("p", null, one.description),
        one.schema && one.schema.properties ? schemaTable(one.schema) : null,
        codeBlock("Example of its data", one.example ? JSON.stringify(one.example, null, 2) : "", { none: "It has none." }),
        codeBlock("Schema", one.schema ? JSON.stringify(one.schema, null, 2) : "", { none: "Any object will do." }),
      ),
    ]);
  }

  list();
  draw();
}

function schemaTable(schema) {
  const rows = [...members(schema, "", 0)];
  return h(
    "div",
    { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Members" },
    h(
      "table",
      { class: "table" },
      h("caption", { class: "visually-hidden" }, "Members of its data"),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Member"), h("th", { scope: "col" }, "Type"), h("th", { scope: "col" }, "Needed"), h("th", { scope: "col" }, "Meaning"))),
      h(
        "tbody",
        null,
        rows.map(({ name, type, needed, text }) => h("tr", null, h("th", { scope: "row" }, h("code", null, name)), h("td", null, type), h("td", null, needed ? "yes" : "no"), h("td", null, text))),
      ),
    ),
  );
}

const MAX_DEPTH = 6;

function* members(schema, prefix, depth) {
  if (depth > MAX_DEPTH) return;
  const needed = new Set(schema.required || []);
  for (const [name, member] of Object.entries(schema.properties || {})) {
    const type = member.enum ? member.enum.map(String).join(", ") : [].concat(member.type || "any").join(" or ");
    yield { name: prefix + name, type: member.format ? `${type} (${member.format})` : type, needed: needed.has(name), text: member.description || "" };
    if (member.properties) yield* members(member, `${prefix}${name}.`, depth + 1);
    if (member.items && member.items.properties) yield* members(member.items, `${prefix}${name}[].`, depth + 1);
  }
}
