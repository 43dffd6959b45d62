/** The request for a sample event while one types, made by the code that delivers. */

import * as api from "../api.js";
import { fill, h } from "../dom.js";
import { field, select } from "../form.js";
import * as f from "../format.js";
import { codeBlock, failure } from "../ui.js";

const WAIT_MS = 250;

/**
 * @param {{signal: AbortSignal, document: () => any, types: () => string[], onfaults: (faults: any[]) => void}} options
 *   `types`: those to choose a sample from
 */
export function previewPanel({ signal, document, types, onfaults }) {
  const choice = select([], "", { onchange: () => soon() });
  const kind = field("Sample event", choice);
  const place = h("div", { class: "preview-request", "aria-live": "off" });
  let timer = 0;
  let running = 0;

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  }

  function choose() {
    const names = types();
    const before = choice.value;
    const now = [...choice.options].map((one) => one.value).join("\n");
    if (now !== names.join("\n")) {
      fill(choice, names.map((name) => h("option", { value: name }, name)));
      choice.value = names.includes(before) ? before : names[0] || "";
    }
  }

  async function ask() {
    choose();
    const mine = ++running;
    try {
      const found = await api.post(api.paths.preview, { endpoint: document(), type: choice.value || undefined }, { signal });
      if (mine !== running) return;
      onfaults(found.faults || []);
      show(found.request, found.faults || []);
    } catch (error) {
      if (api.aborted(error) || mine !== running) return;
      if (error.status === 422 && error.errors.length) onfaults(error.errors);
      else fill(place, failure(error));
    }
  }

  function show(request, faults) {
    if (!request) {
      fill(place, h("p", { class: "muted" }, faults.length ? "Mend what is marked to see the request." : "No request can be made of this event."));
      return;
    }
    const headers = Array.isArray(request.headers) ? request.headers : Object.entries(request.headers || {});
    const head = [`${request.method} ${request.url}`, ...headers.map(([name, value]) => `${name}: ${value}`)].join("\n");
    fill(place, codeBlock("Request", head, { json: false }), codeBlock("Body", request.body ? f.pretty(request.body) : "", { none: "No body." }));
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    element: h("section", { class: "card preview", "aria-label": "Live preview" }, h("div", { class: "card-head" }, h("h2", null, "Live preview")), h("div", { class: "card-body" }, kind.element, place)),
    soon,
    now: ask,
  };
}
