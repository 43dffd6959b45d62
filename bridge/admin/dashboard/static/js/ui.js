/** Small parts that every page uses: chips, buttons, notices, empty states, tabs, code, copying, toasts. */

import { fill, h, icon, setText, uid } from "./dom.js";
import { sentence } from "./format.js";

/** What an endpoint's state is called, how it looks, and what it means (docs/operating.md). */
const STATES = {
  on: ["ok", "On", "Events are delivered as they come."],
  slow: ["warn", "Slow", "It has asked for fewer requests, or answers slowly."],
  full: ["warn", "Full", "Its backlog has reached its bound."],
  asking: ["warn", "Asking", "HookMQ is asking the receiver whether it wants events."],
  failing: ["bad", "Failing", "Attempts fail; one request at a time tries whether it is back."],
  leaving: ["warn", "Leaving", "It is being taken out; what is in flight ends first."],
  off: ["off", "Off", "Switched off: its events wait."],
  inactive: ["off", "Inactive", "Not active: new events are not for it."],
};

const MARKS = { ok: "check", warn: "warn", bad: "cross", off: "pause", info: "info" };

/** A status with a mark and words; its colour only repeats them. */
export function chip(kind, text, title = "") {
  return h("span", { class: `chip chip-${kind}`, title: title || null }, icon(MARKS[kind] || "info", "chip-mark"), text);
}

/** The chip of an endpoint's state. */
export function stateChip(state, reason = "") {
  const [kind, text, meaning] = STATES[state] || ["off", state || "unknown", ""];
  return chip(kind, text, reason || meaning);
}

export const STATE_NAMES = Object.entries(STATES).map(([value, [, text]]) => [value, text]);

/** An attempt's outcome: its status, or the kind of its error. */
export function outcomeChip(attempt) {
  if (attempt.ok) return chip("ok", attempt.status ? String(attempt.status) : "ok", "Delivered");
  if (attempt.status) return chip("bad", String(attempt.status), attempt.error);
  return chip("bad", (attempt.error || "failed").split(":")[0].slice(0, 24), attempt.error);
}

/** A delivery's state. */
export function deliveryChip(state) {
  const kinds = { delivered: "ok", waiting: "warn", failed: "bad", dead: "bad" };
  const texts = { delivered: "Delivered", waiting: "Waiting", failed: "Failed", dead: "Dead letter" };
  return chip(kinds[state] || "info", texts[state] || state);
}

/**
 * A button. `kind`: primary, plain, quiet or danger.
 * @param {string} text
 * @param {{kind?: string, mark?: string, onclick?: (event: Event) => any} & Record<string, any>} [options]
 */
export function button(text, { kind = "plain", mark = "", onclick, ...props } = {}) {
  return h(
    "button",
    { type: "button", class: `button button-${kind}`, onclick, ...props },
    mark && icon(mark),
    h("span", null, text),
  );
}

/** A button that is nothing but a picture; `label` is its name. */
export function iconButton(label, mark, onclick, props = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...props }, icon(mark));
}

/** While `work` runs the button is busy and cannot be pressed again; focus comes back to it. */
export async function busy(element, work) {
  if (element.getAttribute("aria-busy") === "true") return undefined;
  element.setAttribute("aria-busy", "true");
  element.setAttribute("aria-disabled", "true");
  try {
    return await work();
  } finally {
    element.removeAttribute("aria-busy");
    element.removeAttribute("aria-disabled");
  }
}

/** A sentence about how something stands: kind ok, warn, bad or info. */
export function notice(kind, ...children) {
  return h(
    "div",
    { class: `notice notice-${kind}`, role: kind === "bad" ? "alert" : null },
    icon(MARKS[kind] || "info"),
    h("div", { class: "notice-text" }, ...children),
  );
}

/** What went wrong, with a way to try again. */
export function failure(error, retry) {
  const text = error.status === 403 ? `You may not see this: ${error.message}.` : sentence(error.message);
  return h(
    "div",
    { class: "notice notice-bad", role: "alert" },
    icon("cross"),
    h("div", { class: "notice-text" }, text),
    retry && button("Try again", { kind: "quiet", mark: "refresh", onclick: retry }),
  );
}

/** Nothing is here, and what to do about it. */
export function emptyState(title, text, action = null) {
  return h("div", { class: "empty" }, h("h2", null, title), h("p", null, text), action);
}

/** Grey bars where something will be. */
export function skeleton(rows = 3) {
  return h(
    "div",
    { class: "skeleton", role: "status" },
    h("span", { class: "visually-hidden" }, "Loading"),
    Array.from({ length: rows }, () => h("div", { class: "skeleton-row", "aria-hidden": "true" })),
  );
}

/** A card with a heading. */
export function card(title, { actions = null, level = "h2", className = "" } = {}, ...children) {
  const id = uid("card");
  return h(
    "section",
    { class: `card ${className}`, "aria-labelledby": id },
    h("div", { class: "card-head" }, h(level, { id }, title), actions && h("div", { class: "card-actions" }, actions)),
    children,
  );
}

/** A name and its value, in rows. Rows that are null are left out. */
export function facts(rows, className = "") {
  return h(
    "dl",
    { class: `facts ${className}` },
    rows.filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

/** Copies a text, and says so. */
export function copyButton(text, label = "Copy") {
  const made = button(label, { kind: "quiet", mark: "copy" });
  made.addEventListener("click", async () => {
    const done = await copyText(typeof text === "function" ? text() : text);
    setText(made.lastElementChild, done ? "Copied" : "Press Ctrl+C");
    announce(done ? "Copied" : "It could not be copied");
    setTimeout(() => setText(made.lastElementChild, label), 2000);
  });
  return made;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text); // only where the page came by HTTPS or from the machine itself
    return true;
  } catch {
    const area = h("textarea", { class: "visually-hidden", "aria-hidden": "true", tabindex: "-1", value: text });
    const holder = document.querySelector("dialog[open]") || document.body;
    const before = document.activeElement;
    holder.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (before instanceof HTMLElement) before.focus();
    return done;
  }
}

const HIGHLIGHT = 65536;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** A text as it is, in columns of equal width; JSON gets its keys and values in colours. */
export function code(text, { label = "", json = true, className = "" } = {}) {
  const made = h("pre", { class: `code ${className}`, tabindex: "0", role: "region", "aria-label": label || "Text" });
  const looks = json && text.length < HIGHLIGHT && /^\s*[[{"]/.test(text);
  if (!looks) {
    made.append(text);
    return made;
  }
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    made.append(text.slice(at, match.index));
    const kind = match[1] ? (match[2] ? "key" : "string") : match[3] ? "word" : "number";
    const token = match[1] && match[2] ? match[1] : match[0];
    made.append(h("span", { class: `code-${kind}` }, token));
    if (match[1] && match[2]) made.append(match[2]);
    at = match.index + match[0].length;
  }
  made.append(text.slice(at));
  return made;
}

/** A heading, a copy button and a text. */
export function codeBlock(title, text, options = {}) {
  return h(
    "div",
    { class: "code-block" },
    h("div", { class: "code-head" }, h("span", { class: "code-title" }, title), text ? copyButton(text) : null),
    text ? code(text, { label: options.label || title, ...options }) : h("p", { class: "muted code-none" }, options.none || "Nothing."),
  );
}

/**
 * Tabs with a roving focus (arrow keys, Home, End), as the ARIA Authoring Practices have them.
 * @param {string} label
 * @param {{key: string, title: string, show: (panel: HTMLElement) => void}[]} items
 */
export function tabs(label, items, { selected = items[0].key, onselect = (key) => key } = {}) {
  const panel = h("div", { class: "tab-panel", role: "tabpanel", id: uid("panel"), tabindex: "-1" });
  const buttons = items.map(({ key, title }) =>
    h(
      "button",
      { type: "button", role: "tab", class: "tab", id: uid("tab"), "aria-controls": panel.id, onclick: () => choose(key) },
      title,
    ),
  );
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label }, buttons);
  list.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = (to + buttons.length) % buttons.length;
    buttons[next].focus();
    choose(items[next].key);
  });
  let current = "";
  function choose(key) {
    if (key === current) return;
    current = key;
    items.forEach((item, at) => {
      const on = item.key === key;
      buttons[at].setAttribute("aria-selected", String(on));
      buttons[at].tabIndex = on ? 0 : -1;
      if (on) {
        panel.setAttribute("aria-labelledby", buttons[at].id);
        fill(panel);
        item.show(panel);
      }
    });
    onselect(key);
  }
  choose(items.some((item) => item.key === selected) ? selected : items[0].key);
  return { element: h("div", { class: "tabbed" }, list, panel), choose };
}

/** Say something to a screen reader. */
export function announce(text) {
  const place = document.getElementById("announcer");
  if (place) {
    place.textContent = "";
    requestAnimationFrame(() => {
      place.textContent = text;
    });
  }
}

const MAX_TOASTS = 4;

/** A notice that goes away by itself: kind ok, warn, bad or info. */
export function toast(kind, text) {
  const place = document.getElementById("toasts");
  if (!place) return;
  const made = h("div", { class: `toast toast-${kind}` }, icon(MARKS[kind] || "info"), h("span", null, text));
  const gone = () => made.remove();
  made.append(iconButton("Dismiss", "close", gone));
  place.append(made);
  while (place.children.length > MAX_TOASTS) place.firstElementChild.remove();
  // An open dialog is above all else of the page, so the notices join the top layer too.
  if (place.showPopover) {
    place.setAttribute("popover", "manual");
    if (place.matches(":popover-open")) place.hidePopover();
    place.showPopover();
  }
  setTimeout(gone, kind === "bad" ? 10000 : 5000);
}
