/** Tables whose rows come from the server page by page. */

import { fill, h, patch, uid } from "./dom.js";
import { plural } from "./format.js";
import { button, emptyState, failure, iconButton } from "./ui.js";

/**
 * @typedef {object} Column
 * @property {string} key
 * @property {string} label
 * @property {string} [className] such as "num" for figures
 * @property {(row: any) => any} cell text or node
 * @property {boolean} [head] the cell that names the row
 */

/**
 * A table. `setRows` keeps the rows that are still there (by `rowKey`) and changes only the cells that differ,
 * so that focus stays while figures move. Up and down arrows go from a row's first link or button to the next.
 * @param {{caption: string, columns: Column[], rowKey: (row: any) => string, onopen?: (row: any) => void,
 *   empty?: () => HTMLElement, rowClass?: (row: any) => string}} options
 */
export function createTable({ caption, columns, rowKey, onopen, empty, rowClass = () => "" }) {
  const body = h("tbody");
  const table = h(
    "table",
    { class: "table" },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", null, h("tr", null, columns.map((c) => h("th", { scope: "col", class: c.className }, c.label)))),
    body,
  );
  const scroller = h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
  const state = h("div", { class: "table-state" });
  const element = h("div", { class: "table-box", "aria-busy": "true" }, scroller, state);
  const known = new Map();

  body.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const row = event.target.closest("tr");
    if (!row || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const next = event.key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling;
    const target = next && next.querySelector("a, button");
    if (target) {
      event.preventDefault();
      target.focus();
    }
  });
  body.addEventListener("click", (event) => {
    if (!onopen || event.target.closest("a, button, input, label, select") || String(getSelection())) return;
    const row = event.target.closest("tr");
    const found = row && known.get(row.dataset.key);
    if (found) onopen(found.row);
  });

  function made(row, key) {
    const cells = columns.map((c) => h(c.head ? "th" : "td", { class: c.className, scope: c.head ? "row" : null }));
    const tr = h("tr", { "data-key": key, class: onopen ? "row-open" : null }, cells);
    return { tr, cells, row };
  }

  function setRows(rows) {
    element.setAttribute("aria-busy", "false");
    const keys = new Set();
    let before = null;
    for (const row of rows) {
      const key = rowKey(row);
      if (keys.has(key)) continue; // of two pages that overlap
      keys.add(key);
      let entry = known.get(key);
      if (!entry) {
        entry = made(row, key);
        known.set(key, entry);
      }
      entry.row = row;
      columns.forEach((c, at) => patch(entry.cells[at], c.cell(row)));
      entry.tr.className = `${onopen ? "row-open " : ""}${rowClass(row)}`.trim();
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== entry.tr) body.insertBefore(entry.tr, place);
      before = entry.tr;
    }
    for (const [key, entry] of known) {
      if (!keys.has(key)) {
        entry.tr.remove();
        known.delete(key);
      }
    }
    const none = rows.length === 0;
    scroller.hidden = none;
    fill(state, none && empty ? empty() : null);
  }

  function setLoading() {
    element.setAttribute("aria-busy", "true");
    if (known.size === 0) {
      scroller.hidden = true;
      fill(
        state,
        h("div", { class: "skeleton", role: "status" }, h("span", { class: "visually-hidden" }, "Loading"), [1, 2, 3, 4].map(() => h("div", { class: "skeleton-row", "aria-hidden": "true" }))),
      );
    }
  }

  function setError(error, retry) {
    element.setAttribute("aria-busy", "false");
    fill(state, failure(error, retry));
  }

  return { element, setRows, setLoading, setError, row: (key) => known.get(key)?.row };
}

/**
 * "Newer" and "Older", or pages by number: `onmove(+1 | -1)`. `set` says what is there.
 */
export function createPager({ onmove, names = ["Previous", "Next"] }) {
  const text = h("span", { class: "pager-text", role: "status" });
  const back = button(names[0], { kind: "quiet", onclick: () => press(back, -1) });
  const next = button(names[1], { kind: "quiet", onclick: () => press(next, 1) });
  function press(element, step) {
    if (element.getAttribute("aria-disabled") !== "true") onmove(step);
  }
  const element = h("nav", { class: "pager", "aria-label": "Pages" }, text, h("div", { class: "pager-buttons" }, back, next));
  return {
    element,
    set({ label = "", hasBack = false, hasNext = false }) {
      text.textContent = label;
      // Not `disabled`: the button that was pressed keeps focus on the last page.
      back.setAttribute("aria-disabled", String(!hasBack));
      next.setAttribute("aria-disabled", String(!hasNext));
      back.hidden = next.hidden = !hasBack && !hasNext;
      element.hidden = !label && !hasBack && !hasNext;
    },
  };
}

const MORE_TRIES = 5;

/** A list that is paged by `cursor` and `next`: load, page, refresh; `load(cursor)` gives {data, next, total}.
 * `noun`: its singular and its plural. */
export function cursorList({ table, noun, load, names, signal, size = 50 }) {
  let cursors = [null];
  let at = 0;
  let running = 0;
  const pager = createPager({
    names,
    onmove: (step) => {
      at = Math.max(0, at + step);
      refresh().then(() => table.element.querySelector(".table-scroll")?.scrollTo(0, 0));
    },
  });

  async function refresh({ quiet = false } = {}) {
    const mine = ++running;
    if (!quiet) table.setLoading();
    try {
      let page = await load(cursors[at], size);
      // A search that takes long ends early, and says where it would go on.
      for (let tries = 0; page.data.length === 0 && page.next && tries < MORE_TRIES && mine === running; tries++) {
        page = await load(page.next, size);
      }
      if (mine !== running || signal.aborted) return null;
      cursors[at + 1] = page.next;
      cursors = cursors.slice(0, at + 2);
      table.setRows(page.data);
      pager.set({
        label: labelOf(page),
        hasBack: at > 0,
        hasNext: Boolean(page.next),
      });
      return page;
    } catch (error) {
      if (error.name === "AbortError" || mine !== running) return null;
      table.setError(error, () => refresh());
      return null;
    }
  }

  function labelOf({ data, next, total }) {
    if (data.length === 0) return next ? "Not found so far; more of the log can be looked through" : "";
    if (total === undefined || total === null) return `${at > 0 ? `Page ${at + 1}: ` : ""}${plural(data.length, ...noun)}`;
    const from = at * size + 1;
    return `${from.toLocaleString("en")}–${(from + data.length - 1).toLocaleString("en")} of ${plural(total, ...noun)}`;
  }

  return {
    pager,
    refresh,
    /** From the first page on, after a filter has changed. */
    restart() {
      cursors = [null];
      at = 0;
      return refresh();
    },
    get first() {
      return at === 0;
    },
  };
}

/**
 * A bar of filters that stand in the URL's hash.
 * @param {any} ctx the page's context
 * @param {{name: string, label: string, kind?: "text"|"select"|"time", options?: [string, string][],
 *   placeholder?: string, list?: string[], wide?: boolean}[]} fields
 * @param {() => void} onchange
 */
export function filterBar(ctx, fields, onchange) {
  const controls = new Map();
  let timer = 0;
  const clear = iconButton("Clear", "close", () => set({}), { class: "icon-button filter-clear" });
  const element = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Filter", onsubmit: (event) => { event.preventDefault(); changed(); } },
    fields.map((field) => {
      const id = uid("filter");
      const control = made(field, id);
      controls.set(field.name, { field, control });
      return h("div", { class: `filter ${field.wide ? "filter-wide" : ""}` }, h("label", { for: id }, field.label), control);
    }),
    clear,
  );

  function made(field, id) {
    const value = ctx.query.get(field.name) || "";
    if (field.kind === "select") {
      const select = h("select", { id, onchange: changed }, field.options.map(([v, text]) => h("option", { value: v }, text)));
      if (value && !field.options.some(([v]) => v === value)) select.append(h("option", { value }, value));
      select.value = value;
      return select;
    }
    const list = field.list ? uid("list") : null;
    const input = h("input", {
      id,
      type: field.kind === "time" ? "datetime-local" : "search",
      step: field.kind === "time" ? "1" : null,
      placeholder: field.placeholder,
      autocomplete: "off",
      spellcheck: "false",
      maxlength: field.kind === "time" ? null : 512,
      list,
      value: field.kind === "time" ? field.show(value) : value,
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(changed, 300);
      },
      onchange: changed,
    });
    if (!list) return input;
    return h("div", { class: "with-list" }, input, h("datalist", { id: list }, field.list.map((v) => h("option", { value: v }))));
  }

  const control = (name) => {
    const found = controls.get(name).control;
    return found.tagName === "DIV" ? found.firstElementChild : found;
  };

  function values() {
    const made = {};
    for (const [name, { field }] of controls) {
      const text = control(name).value.trim();
      made[name] = field.kind === "time" ? field.read(text) : text;
    }
    return made;
  }

  let last = JSON.stringify(values());
  function changed() {
    clearTimeout(timer);
    const now = values();
    const text = JSON.stringify(now);
    if (text === last) return;
    last = text;
    ctx.setQuery(now);
    shown();
    onchange();
  }

  function set(next) {
    for (const [name, { field }] of controls) {
      const value = next[name] || "";
      control(name).value = field.kind === "time" ? field.show(value) : value;
    }
    changed();
  }

  function shown() {
    // It keeps its place: nothing below moves under the pointer that is about to press.
    clear.classList.toggle("is-off", !Object.values(values()).some(Boolean));
  }
  shown();
  return { element, values, set, any: () => Object.values(values()).some(Boolean) };
}

/** Nothing matches the filters: say so, and offer to clear them. */
export function noMatch(filters) {
  return emptyState("Nothing matches", "No entry fits all of these filters.", button("Clear the filters", { mark: "close", onclick: () => filters.set({}) }));
}
