/** The request for a sample event while one types, made by the code that delivers. */

import * as api from "../api.js";
import { fill, h } from "../dom.js";
import { field, input, select, textarea } from "../form.js";
import * as f from "../format.js";
import { codeBlock, failure, notice } from "../ui.js";

const WAIT_MS = 250;
const IS_MESSAGE = /^on_message_/;

/**
 * @param {{signal: AbortSignal, draft: () => any, types: () => string[], filter: (type: string) => string,
 *   onfaults: (faults: any[]) => void}} options
 *   `draft`: the settings, and the id of the one that they are a patch of; `types`: those to choose a sample
 *   from; `filter`: the topic filter that the endpoint has for one
 */
export function previewPanel({ signal, draft, types, filter, onfaults }) {
  const choice = select([], "", { onchange: () => soon() });
  const kind = field("Sample event", choice);
  const topic = field("Its topic", input({ maxlength: 65535, oninput: () => soon() }));
  const payload = field("Its payload", textarea({ rows: 2, maxlength: 65536, placeholder: '{"message":"This is a test of HookMQ.","temp":21.5}', oninput: () => soon() }));
  const place = h("div", { class: "preview-request" });
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
    topic.element.hidden = payload.element.hidden = !IS_MESSAGE.test(choice.value);
    topic.control.placeholder = example(filter(choice.value));
  }

  /** What the sample is, beside its type: such as the endpoint's own filter has it. */
  function sample() {
    if (!IS_MESSAGE.test(choice.value)) return undefined;
    const made = { topic: topic.control.value || topic.control.placeholder };
    if (payload.control.value) made.payload = payload.control.value;
    return made;
  }

  /** What a call that tries the settings is sent. */
  function body() {
    choose();
    return { ...draft(), type: choice.value || undefined, sample: sample() };
  }

  async function ask() {
    const mine = ++running;
    try {
      const found = await api.post(api.paths.preview, body(), { signal });
      if (mine !== running) return;
      topic.fault("");
      onfaults(found.faults);
      show(found);
    } catch (error) {
      if (api.aborted(error) || mine !== running) return;
      if (error.status === 422 && error.errors.some((one) => one.path.startsWith("/sample"))) topic.fault(error.message);
      else fill(place, failure(error));
    }
  }

  function show({ request, faults, warnings, wanted, error }) {
    if (!request) {
      fill(place, h("p", { class: "muted" }, whyNot(faults, error)));
      return;
    }
    const head = [`${request.method} ${request.url}`, ...request.headers.map(({ name, value }) => `${name}: ${value}`)].join("\n");
    const more = request.body_bytes > 4 * request.body.length ? `\n… ${f.bytes(request.body_bytes)} in all` : "";
    fill(
      place,
      wanted ? null : notice("warn", "It is not sent this event: its events, topics or condition do not want it."),
      warnings.length ? notice("warn", h("ul", null, warnings.map(({ path, message }) => h("li", null, path ? `${path}: ${message}` : message)))) : null,
      codeBlock("Body", request.body ? f.pretty(request.body) + more : "", { none: "No body." }),
      codeBlock("Request", head, { json: false }),
    );
  }

  function whyNot(faults, error) {
    if (draft().endpoint.url === "") return "Enter a URL: the request stands here as you type.";
    return faults.length ? "Mend what is marked to see the request." : `No request can be made of this event: ${error}.`;
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    element: h(
      "section",
      { class: "card preview", "aria-label": "Live preview" },
      h("div", { class: "card-head" }, h("h2", null, "Live preview")),
      h("div", { class: "card-body preview-body" }, kind.element, topic.element, payload.element, place),
    ),
    soon,
    now: ask,
    body,
  };
}

/** A topic that a filter has: plant/+/force → plant/1/force. */
function example(topicFilter) {
  if (!topicFilter) return "hookmq/test";
  return topicFilter
    .split("/")
    .map((level) => (level === "+" || level === "#" ? "1" : level))
    .join("/");
}
