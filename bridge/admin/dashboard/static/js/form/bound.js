/** Fields that stand for a place in a document (a JSON Pointer), so that faults find their field. */

import { at, checkbox, field, input, put, select, textarea } from "../form.js";

/**
 * @typedef {object} Spec
 * @property {string} path JSON Pointer
 * @property {string} label
 * @property {"text"|"select"|"number"|"check"|"list"|"area"|"password"} [kind]
 * @property {[string, string][]} [options]
 * @property {string} [hint]
 * @property {string} [placeholder]
 * @property {boolean} [optional]
 * @property {string} [initial] what stands there when the document says nothing
 */

/**
 * A field for a spec. `write(document)` puts its value in, or takes it out where it is the default;
 * `fault(text)` shows what is wrong.
 * @param {Spec} spec
 * @param {any} document
 * @param {() => void} onchange
 */
export function bound(spec, document, onchange) {
  const value = at(document, spec.path);
  if (spec.kind === "check") return boundCheck(spec, value, onchange);
  const text = value === undefined || value === null ? (spec.initial ?? "") : Array.isArray(value) ? value.join(", ") : String(value);
  const control = made(spec, text, onchange);
  const one = field(spec.label, control, { hint: spec.hint, optional: spec.optional, className: spec.className || "" });
  return {
    path: spec.path,
    element: one.element,
    control,
    fault: one.fault,
    get wrong() {
      return one.wrong;
    },
    write(target) {
      if (control.value !== text) put(target, spec.path, read(spec, control.value));
    },
  };
}

function made(spec, text, onchange) {
  if (spec.kind === "select") {
    const control = select(spec.options, text, { onchange });
    if (control.value !== text) {
      control.append(new Option(text, text));
      control.value = text;
    }
    return control;
  }
  if (spec.kind === "area") return textarea({ value: text, rows: 6, placeholder: spec.placeholder, oninput: onchange });
  return input({
    type: spec.kind === "password" ? "password" : "text",
    inputmode: spec.kind === "number" ? "decimal" : null,
    autocomplete: spec.kind === "password" ? "new-password" : "off",
    value: text,
    placeholder: spec.placeholder,
    oninput: onchange,
  });
}

function read(spec, raw) {
  const text = spec.kind === "area" || spec.kind === "password" ? raw : raw.trim();
  if (text === "" || (spec.kind === "select" && text === spec.initial)) return undefined;
  if (spec.kind === "list") {
    return text
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(number);
  }
  // A number with a unit stays a text; what is no number at all goes to the server, which says so.
  return spec.kind === "number" ? number(text) : text;
}

const number = (text) => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text);

function boundCheck(spec, value, onchange) {
  const initial = spec.initial === "true";
  const one = checkbox(spec.label, { hint: spec.hint, checked: value === undefined || value === null ? initial : Boolean(value), onchange });
  return {
    path: spec.path,
    element: one.element,
    control: one.control,
    fault(text) {
      one.control.setCustomValidity(text || "");
    },
    wrong: false,
    write(target) {
      const is = one.control.checked;
      put(target, spec.path, is === initial && value !== is ? undefined : is);
    },
  };
}
