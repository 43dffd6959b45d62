/** What a body looks like: its format, the encoding of payloads, a template of one's own. */

import { h } from "../dom.js";
import { bound } from "./bound.js";

const FORMATS = [
  ["", "As fits the events: MachShop's for business events alone, else NanoMQ's"],
  ["nanomq", "NanoMQ"],
  ["emqx", "EMQX"],
  ["cloudevents", "CloudEvents"],
  ["template", "My own template"],
  ["mes", "MachShop MES"],
  ["eryxon", "Eryxon"],
];

/**
 * @param {any} document
 * @param {() => void} onchange
 */
export function bodyPart(document, onchange) {
  const format = bound({ path: "/format", label: "Format", kind: "select", options: FORMATS, initial: "" }, document, changed);
  const encoding = bound(
    {
      path: "/body/encoding",
      label: "Payload in it",
      kind: "select",
      options: [["plain", "As text"], ["json", "As JSON, where it is JSON"], ["base64", "Base64"], ["base62", "Base62"]],
      initial: "plain",
    },
    document,
    onchange,
  );
  const template = bound(
    {
      path: "/body/template",
      label: "Template",
      kind: "area",
      placeholder: '{ "device": "${clientid}", "temperature": ${payload.temp} }',
      hint: "Placeholders such as ${clientid}, ${topic}, ${payload.temp}.",
    },
    document,
    onchange,
  );
  const type = bound(
    { path: "/body/type", label: "Values are escaped for", kind: "select", options: [["json", "JSON"], ["text", "Plain text"], ["form", "A form"]], initial: "json" },
    document,
    onchange,
  );
  const mode = bound(
    {
      path: "/cloudevents/mode",
      label: "CloudEvents mode",
      kind: "select",
      options: [["structured", "Structured: all in the body"], ["binary", "Binary: attributes as headers"]],
      initial: "structured",
    },
    document,
    onchange,
  );
  const source = bound({ path: "/cloudevents/source", label: "CloudEvents source", placeholder: "/hookmq/ and the node's name", optional: true }, document, onchange);
  const include = bound({ path: "/include", label: "Only these keys", kind: "list", placeholder: "all", optional: true, hint: "Such as clientid, topic, payload." }, document, onchange);
  const exclude = bound({ path: "/exclude", label: "Without these keys", kind: "list", placeholder: "none", optional: true }, document, onchange);

  function shown() {
    const chosen = format.control.value;
    template.element.hidden = type.element.hidden = chosen !== "template";
    mode.element.hidden = source.element.hidden = chosen !== "cloudevents";
    encoding.element.hidden = ["template", "mes", "eryxon"].includes(chosen);
    include.element.hidden = exclude.element.hidden = ["template", "mes", "eryxon", "cloudevents"].includes(chosen);
  }
  function changed() {
    shown();
    onchange();
  }
  shown();
  const all = [format, encoding, template, type, mode, source, include, exclude];
  return {
    element: h("div", { class: "form-grid" }, all.map((one) => one.element)),
    fields: all,
    /** What is not shown has no say. */
    write(target) {
      for (const one of all) {
        one.write(target);
        if (one.element.hidden) drop(target, one);
      }
    },
  };
}

function drop(target, one) {
  const control = one.control.value;
  one.control.value = one.control.tagName === "SELECT" ? one.control.options[0].value : "";
  one.write(target);
  one.control.value = control;
}
