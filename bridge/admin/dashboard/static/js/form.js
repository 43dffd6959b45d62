/** Fields with a label, a hint and what is wrong with them, told to a screen reader as well. */

import { fill, h, uid } from "./dom.js";

/**
 * A field around one control.
 * @param {string} label
 * @param {HTMLElement} control
 * @param {{hint?: any, optional?: boolean, className?: string, after?: any, hideLabel?: boolean}} [options]
 */
export function field(label, control, { hint = "", optional = false, className = "", after = null, hideLabel = false } = {}) {
  if (!control.id) control.id = uid("field");
  const hintId = hint ? uid("hint") : "";
  const errorId = uid("error");
  const error = h("p", { class: "field-error", id: errorId, "aria-live": "polite" });
  const element = h(
    "div",
    { class: `field ${className}` },
    h(
      "label",
      { for: control.id, class: hideLabel ? "visually-hidden" : null },
      label,
      optional && h("span", { class: "optional" }, " optional"),
    ),
    after ? h("div", { class: "field-row" }, control, after) : control,
    hint && h("p", { class: "field-hint", id: hintId }, hint),
    error,
  );
  control.setAttribute("aria-describedby", [hintId, errorId].filter(Boolean).join(" "));
  return {
    element,
    control,
    /** Say what is wrong; "" for nothing. */
    fault(text) {
      if (error.textContent === (text || "")) return;
      error.textContent = text || "";
      if (text) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    },
    get wrong() {
      return error.textContent !== "";
    },
  };
}

/** A line of text. */
export function input(props = {}) {
  return h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...props });
}

/** A choice of few: [value, text]. */
export function select(options, value, props = {}) {
  const made = h("select", props, options.map(([v, text]) => h("option", { value: v }, text)));
  made.value = value;
  return made;
}

/** Several lines. */
export function textarea(props = {}) {
  return h("textarea", { spellcheck: "false", autocomplete: "off", ...props });
}

/** A box to tick, with its label beside it. */
export function checkbox(label, { hint = "", ...props } = {}) {
  const id = uid("check");
  const hintId = hint ? uid("hint") : null;
  const control = h("input", { type: "checkbox", id, "aria-describedby": hintId, ...props });
  const element = h(
    "div",
    { class: "check" },
    control,
    h("div", null, h("label", { for: id }, label), hint && h("p", { class: "field-hint", id: hintId }, hint)),
  );
  return { element, control };
}

/** Rows that can be added and removed; `make(value)` gives {element, value()}. */
export function rows({ label, add, make, values = [], onchange = () => {}, none = "" }) {
  const list = h("div", { class: "rows", role: "group", "aria-label": label });
  const empty = h("p", { class: "muted rows-none" }, none);
  const entries = [];
  function append(value, focus) {
    const entry = make(value, onchange);
    const remove = h("button", { type: "button", class: "icon-button", "aria-label": `Remove this ${label.toLowerCase()}`, title: "Remove" }, "×");
    const row = h("div", { class: "row" }, entry.element, remove);
    remove.addEventListener("click", () => {
      const at = entries.indexOf(entry);
      entries.splice(at, 1);
      row.remove();
      shown();
      onchange();
      (list.querySelectorAll("input, select")[0] || more).focus();
    });
    entries.push(entry);
    list.append(row);
    shown();
    if (focus) row.querySelector("input, select")?.focus();
  }
  const more = h("button", { type: "button", class: "button button-quiet", onclick: () => { append(undefined, true); onchange(); } }, `+ ${add}`);
  function shown() {
    empty.hidden = entries.length > 0 || !none;
  }
  for (const value of values) append(value, false);
  shown();
  return {
    element: h("div", null, list, empty, more),
    values: () => entries.map((entry) => entry.value()).filter((v) => v !== null),
    entries,
    append,
    clear() {
      entries.length = 0;
      fill(list);
      shown();
    },
  };
}

/**
 * What is wrong with an MQTT topic filter [MQTT-4.7.1-1..3], "" for nothing.
 * @param {string} text
 */
export function topicFilterFault(text) {
  if (text === "") return "Expected a topic filter such as plant/+/force or plant/#.";
  if (text.includes("\u0000")) return "A topic filter has no character U+0000.";
  if (new TextEncoder().encode(text).length > 65535) return "A topic filter has at most 65,535 bytes.";
  const levels = text.split("/");
  for (let at = 0; at < levels.length; at++) {
    const level = levels[at];
    if (level.includes("#") && level !== "#") return `“${level}”: # stands alone in its level, such as plant/#.`;
    if (level === "#" && at < levels.length - 1) return "# stands at the end only, such as plant/#.";
    if (level.includes("+") && level !== "+") return `“${level}”: + stands alone in its level, such as plant/+/force.`;
  }
  return "";
}

/** What is wrong with a receiver's URL, "" for nothing. Placeholders (${topic}) may stand in path and query. */
export function urlFault(text) {
  if (text === "") return "Expected the receiver: https://host/path.";
  if (/\s/.test(text)) return "A URL has no spaces.";
  if (!/^https?:\/\//i.test(text)) return "Expected http:// or https:// at its beginning.";
  try {
    const parsed = new URL(text.replace(/\$\{[^}]*\}/g, "x"));
    if (!parsed.hostname) return "Expected a host after //.";
  } catch {
    return "This is not a URL: expected https://host:port/path.";
  }
  return "";
}

/** The value at a JSON Pointer (RFC 6901), undefined where there is none. */
export function at(document, pointer) {
  let value = document;
  for (const part of parts(pointer)) {
    if (value === null || typeof value !== "object") return undefined;
    value = value[part];
  }
  return value;
}

/** Set the value at a JSON Pointer; undefined takes it out, and objects that are empty then. */
export function put(document, pointer, value) {
  const names = parts(pointer);
  const last = names.pop();
  const way = [document];
  for (const name of names) {
    const here = way[way.length - 1];
    if (here[name] === null || typeof here[name] !== "object") {
      if (value === undefined) return;
      here[name] = {};
    }
    way.push(here[name]);
  }
  if (value !== undefined) {
    way[way.length - 1][last] = value;
    return;
  }
  delete way[way.length - 1][last];
  for (let i = names.length - 1; i >= 0; i--) {
    if (Object.keys(way[i + 1]).length > 0) break;
    delete way[i][names[i]];
  }
}

function parts(pointer) {
  return pointer.split("/").slice(1).map((part) => part.replace(/~1/g, "/").replace(/~0/g, "~"));
}

/** The JSON Merge Patch (RFC 7396) from one document to another. */
export function mergePatch(from, to) {
  const made = {};
  for (const name of new Set([...Object.keys(from), ...Object.keys(to)])) {
    const before = from[name];
    const after = to[name];
    if (after === undefined) made[name] = null;
    else if (plain(before) && plain(after)) {
      const inner = mergePatch(before, after);
      if (Object.keys(inner).length > 0) made[name] = inner;
    } else if (JSON.stringify(before) !== JSON.stringify(after)) made[name] = after;
  }
  return made;
}

const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
