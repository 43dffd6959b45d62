/** Making and changing an endpoint, in a form that is checked while one types. */

import * as api from "../api.js";
import { add, fill, h } from "../dom.js";
import { field, input, mergePatch, select, urlFault } from "../form.js";
import { bodyPart } from "../form/body.js";
import { bound } from "../form/bound.js";
import { eventsPart } from "../form/events.js";
import { EXPONENTIAL, POLICY, SCHEDULES } from "../form/policy.js";
import { previewPanel } from "../form/preview.js";
import { credentialsPart, headersPart, signaturePart } from "../form/security.js";
import { showSecret } from "../secret.js";
import { BROKER_EVENTS } from "../suggest.js";
import { sendDraft, testButton } from "../trial.js";
import { announce, busy, button, card, failure, notice, skeleton, toast } from "../ui.js";

const NOT_SETTINGS = ["id", "source", "trust", "created", "changed", "created_by", "state", "reason", "old_secret_expires", "figures", "warnings"];

export async function page(ctx) {
  const { id } = ctx.params;
  const isNew = !id;
  const back = isNew ? ["Endpoints", "#/endpoints"] : ["Endpoint", `#/endpoints/${encodeURIComponent(id)}`];
  ctx.head({ title: isNew ? "Create endpoint" : "Edit endpoint", back });
  const waiting = skeleton(6);
  ctx.root.append(waiting);
  let etag = null;
  const [catalogue, given] = await Promise.all([
    api.get(api.paths.types, { signal: ctx.signal }).then((found) => found.data),
    isNew ? {} : api.get(api.paths.endpoint(id), { signal: ctx.signal, etag: (value) => (etag = value) }),
  ]);
  waiting.remove();
  if (given.source === "file") {
    ctx.root.append(notice("info", "This endpoint stands in the configuration file and is changed there alone."));
    return;
  }
  const original = structuredClone(given);
  for (const name of NOT_SETTINGS) delete original[name];
  if (!isNew) ctx.head({ title: `Edit ${given.description || id}`, back });

  // -- the parts --------------------------------------------------------------------------------------------

  let dirty = false;
  const changed = () => {
    dirty = true;
    preview.soon();
  };
  const url = field(
    "URL",
    input({ value: original.url || "", type: "text", inputmode: "url", placeholder: "https://erp.example/webhooks/mes", oninput: () => checkUrl(), "data-path": "/url" }),
    {
      hint: "http:// or https://. Path and query may hold placeholders such as ${topic}.",
      after: testButton(test, ctx.signal),
    },
  );
  const description = bound({ path: "/description", label: "Description", optional: true, placeholder: "ERP, line 7 …" }, original, changed);
  const method = bound({ path: "/method", label: "Method", kind: "select", options: ["POST", "PUT", "GET", "DELETE"].map((one) => [one, one]), initial: "POST" }, original, changed);
  const active = bound({ path: "/active", label: "Active: it is sent events", kind: "check", initial: "true" }, original, changed);
  const events = eventsPart(original, catalogue, changed);
  const where = bound(
    {
      path: "/where",
      label: "Only if",
      optional: true,
      placeholder: "payload.temp > 80 and topic =~ 'line/+/t'",
      hint: "A condition on payload and fields (docs/filters.md).",
    },
    original,
    changed,
  );
  const body = bodyPart(original, changed);
  const headers = headersPart(original, changed);
  const signature = signaturePart(original, { isNew, onchange: changed });
  const credentials = credentialsPart(original, { onchange: changed });
  const retry = retryPart(original, changed);
  const policy = POLICY.map((group) => ({ ...group, fields: group.fields.map((spec) => bound(spec, original, changed)) }));
  const fields = [description, method, active, where, ...body.fields, ...signature.fields, ...credentials.fields, ...retry.fields, ...policy.flatMap((group) => group.fields)];

  function checkUrl() {
    url.fault(url.control.value.trim() === "" ? "" : urlFault(url.control.value.trim()));
    changed();
  }

  /** The document as it stands in the form. */
  function document() {
    const made = structuredClone(original);
    made.url = url.control.value.trim();
    for (const one of [description, method, active, where]) one.write(made);
    made.events = events.values();
    if (made.events.length === 0) delete made.events;
    body.write(made);
    headers.write(made);
    signature.write(made);
    credentials.write(made);
    retry.write(made);
    for (const group of policy) for (const one of group.fields) one.write(made);
    return made;
  }

  /** The settings for a call that only tries them: a patch where there is one already. */
  function draft() {
    return isNew ? { endpoint: document() } : { endpoint: change(), id };
  }

  /** The JSON Merge Patch from what the server has shown to what stands in the form. */
  function change() {
    const made = document();
    const patch = mergePatch(original, made);
    if (made.secret === null) patch.secret = null;
    return patch;
  }

  // -- what is wrong ----------------------------------------------------------------------------------------

  const faultPlace = h("div", { class: "form-faults" });

  function showFaults(faults, { whole = false } = {}) {
    const rest = [];
    for (const one of fields) one.fault("");
    events.clear();
    let first = null;
    url.fault(url.control.value.trim() === "" && !whole ? "" : urlFault(url.control.value.trim()));
    for (const fault of faults) {
      const path = fault.path || "";
      const text = capital(fault.message || `expected ${fault.expected}`);
      if (path === "/url" || (path === "" && /url/.test(text) && !url.control.value)) {
        if ((url.control.value.trim() || whole) && !url.wrong) url.fault(text);
        first ||= url.control;
      } else if (path.startsWith("/events") || path.startsWith("/types")) {
        events.fault(path, text);
      } else {
        const found = fields.find((one) => path === one.path || path.startsWith(`${one.path}/`));
        if (found && !found.element.hidden) {
          found.fault(text);
          openAround(found.element);
          first ||= found.control;
        } else rest.push(path ? `${path}: ${text}` : text);
      }
    }
    fill(faultPlace, rest.length && (whole || url.control.value) ? notice("bad", h("ul", null, rest.map((text) => h("li", null, text)))) : null);
    return first;
  }

  function openAround(element) {
    const fold = element.closest("details");
    if (fold) fold.open = true;
  }

  const preview = previewPanel({
    signal: ctx.signal,
    draft,
    types: () => sampleTypes(events.values(), catalogue),
    filter: (type) => (events.values().find((one) => one.event === type && one.topic) || {}).topic || "",
    onfaults: (faults) => showFaults(faults),
  });

  /** One request with the settings as they stand here. */
  async function test(signal) {
    try {
      return await sendDraft(preview.body(), signal);
    } catch (error) {
      if (error.status === 422) showFaults(error.errors, { whole: true });
      throw error;
    }
  }

  // -- saving -----------------------------------------------------------------------------------------------

  const save = button(isNew ? "Create endpoint" : "Save", { kind: "primary", type: "submit" });
  const form = h(
    "form",
    {
      class: "endpoint-form",
      novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        busy(save, submit);
      },
    },
    card(
      "Receiver",
      {},
      h(
        "div",
        { class: "card-body form-grid" },
        h("div", { class: "form-wide" }, url.element),
        description.element,
        method.element,
        h("div", { class: "form-wide" }, active.element),
      ),
    ),
    card("Events", {}, h("div", { class: "card-body" }, events.element, h("div", { class: "form-gap" }, where.element))),
    card("Body", {}, h("div", { class: "card-body" }, body.element)),
    card("Headers", {}, h("div", { class: "card-body" }, headers.element)),
    card("Signature", {}, h("div", { class: "card-body" }, signature.element)),
    fold("Credentials, TLS and proxy", "How HookMQ identifies itself, and checks the receiver.", credentials.element),
    fold("Retries", "When an attempt that failed is made again.", retry.element),
    policy.map((group) => fold(group.title, group.hint, h("div", { class: "form-grid" }, group.fields.map((one) => one.element)))),
    faultPlace,
    h("div", { class: "form-foot" }, save, h("a", { class: "button", href: back[1] }, "Cancel")),
  );
  add(ctx.root, [h("div", { class: "form-columns" }, form, preview.element)]);
  ctx.guard = () => dirty;

  async function submit() {
    const made = document();
    const wrong = urlFault(made.url);
    if (wrong) {
      url.fault(wrong);
      url.control.focus();
      return;
    }
    if (events.wrong()) {
      form.querySelector('[aria-invalid="true"]').focus();
      return;
    }
    try {
      const answer = isNew ? await api.post(api.paths.endpoints, made) : await api.patch(api.paths.endpoint(id), change(), { headers: etag ? { "If-Match": etag } : {} });
      dirty = false;
      ctx.guard = null;
      const there = `#/endpoints/${encodeURIComponent(answer.id)}`;
      toast("ok", isNew ? "The endpoint is made; it gets every event from now on." : "Saved.");
      for (const one of answer.warnings || []) toast("warn", `${one.path ? `${one.path}: ` : ""}${one.message}`);
      if (answer.secret) showSecret("The signing secret", answer, () => ctx.go(there));
      else ctx.go(there);
    } catch (error) {
      if (api.aborted(error)) return;
      if (error.status === 422 && error.errors.length) {
        const first = showFaults(error.errors, { whole: true });
        announce(`Not saved: ${error.message}`);
        if (first) first.focus();
        else faultPlace.scrollIntoView({ block: "center" });
      } else fill(faultPlace, error.status === 412 ? notice("bad", "Somebody else has changed this endpoint meanwhile. Load it again before you change it.") : failure(error));
    }
  }

  preview.now();
  if (isNew) url.control.focus();
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function fold(title, hint, content) {
  return h(
    "details",
    { class: "card fold" },
    h("summary", null, h("h2", null, title), h("span", { class: "muted" }, hint)),
    h("div", { class: "card-body" }, content),
  );
}

/** Types that a sample can be made of: those that the endpoint wants, else all. */
function sampleTypes(events, catalogue) {
  const names = new Set();
  for (const one of events) {
    const name = typeof one === "string" ? one : one.event;
    if (/[*?[]/.test(name)) {
      const pattern = new RegExp(`^${name.replace(/[.+^${}()|\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".")}$`);
      for (const { type } of catalogue) if (pattern.test(type)) names.add(type);
    } else names.add(name);
  }
  const known = new Set([...BROKER_EVENTS, ...catalogue.map((one) => one.type)]);
  const made = [...names].filter((name) => known.has(name));
  return made.length ? made : ["on_message_publish", ...catalogue.map((one) => one.type)];
}

function retryPart(original, onchange) {
  const given = original.retry && original.retry.schedule;
  const mine = Array.isArray(given);
  const schedule = field("Schedule", select(SCHEDULES, mine ? "own" : given || "standard", { onchange: changed }), {});
  const list = field("Waits", input({ value: mine ? given.join(", ") : "", placeholder: "0s, 5s, 1m, 10m", oninput: onchange }), { hint: "The wait before each attempt, the first one included." });
  const more = EXPONENTIAL.map((spec) => bound(spec, original, onchange));
  function shown() {
    list.element.hidden = schedule.control.value !== "own";
    for (const one of more) one.element.hidden = schedule.control.value !== "exponential";
  }
  function changed() {
    shown();
    onchange();
  }
  shown();
  const self = { path: "/retry/schedule", element: schedule.element, control: schedule.control, fault: (text) => (list.element.hidden ? schedule : list).fault(text) };
  return {
    element: h("div", { class: "form-grid" }, h("div", { class: "form-wide" }, schedule.element), h("div", { class: "form-wide" }, list.element), more.map((one) => one.element)),
    fields: [self, ...more],
    write(target) {
      const chosen = schedule.control.value;
      target.retry = { ...(target.retry || {}) };
      if (chosen !== "exponential") delete target.retry.exponential;
      if (chosen === "own") target.retry.schedule = list.control.value.split(/[\s,]+/).filter(Boolean).map((one) => (/^\d+(\.\d+)?$/.test(one) ? Number(one) : one));
      else if (chosen === "standard") delete target.retry.schedule;
      else target.retry.schedule = chosen;
      if (chosen === "exponential") for (const one of more) one.write(target);
      if (Object.keys(target.retry).length === 0) delete target.retry;
    },
  };
}

