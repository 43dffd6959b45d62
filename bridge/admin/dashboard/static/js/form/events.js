/** Which events an endpoint gets: events of the broker with topic filters, and business events by type. */

import { fill, h } from "../dom.js";
import { checkbox, field, input, rows, select, topicFilterFault } from "../form.js";
import { BROKER_EVENTS } from "../suggest.js";

/** Events that have a topic, and so may have a filter. */
const WITH_TOPIC = /^on_(message_|client_subscribe|client_unsubscribe|session_subscribed|session_unsubscribed|client_check_authz)/;
const KNOWN = new Set(BROKER_EVENTS);

/**
 * @param {any} document its `events` are read
 * @param {{type: string, description: string}[]} catalogue
 * @param {() => void} onchange
 */
export function eventsPart(document, catalogue, onchange) {
  const given = document.events || [];
  const broker = given.filter((one) => typeof one !== "string" || KNOWN.has(one));
  const types = new Set(given.filter((one) => typeof one === "string" && !KNOWN.has(one)));

  const list = rows({
    label: "Event",
    add: "Add an event of the broker",
    none: "None: no connection, no message goes to it.",
    values: broker.map((one) => (typeof one === "string" ? { event: one } : one)),
    make: (value) => ruleRow(value, onchange),
    onchange,
  });
  const chosen = typesPart(types, catalogue, onchange);
  const error = h("p", { class: "field-error", "aria-live": "polite" });
  return {
    element: h(
      "div",
      { class: "form-grid" },
      h("fieldset", { class: "form-wide" }, h("legend", { class: "legend" }, "Messages, clients and sessions"), list.element),
      h("fieldset", { class: "form-wide" }, h("legend", { class: "legend" }, "Business events"), chosen.element),
      error,
    ),
    /** As the document has them. */
    values: () => [...list.values(), ...chosen.values()],
    /** Faults of this part: /events, /events/3/topic, /types … */
    fault(path, text) {
      const match = /^\/events\/(\d+)/.exec(path);
      const entry = match && list.entries[Number(match[1])];
      if (entry) entry.fault(text);
      else error.textContent = text;
    },
    clear() {
      error.textContent = "";
      for (const entry of list.entries) entry.fault("");
    },
    wrong: () => list.entries.some((entry) => entry.wrong),
  };
}

function ruleRow(value, onchange) {
  const kind = select(BROKER_EVENTS.map((one) => [one, one]), value ? value.event : "on_message_publish", { "aria-label": "Event", onchange: () => changed() });
  const topic = field("Topic filter", input({ value: (value && value.topic) || "", placeholder: "all topics", maxlength: 65535, oninput: () => changed() }), { hideLabel: true });
  function check() {
    const text = topic.control.value;
    topic.fault(text === "" || !withTopic() ? "" : topicFilterFault(text));
  }
  function changed() {
    topic.element.hidden = !withTopic();
    check();
    onchange();
  }
  const withTopic = () => WITH_TOPIC.test(kind.value);
  topic.element.hidden = !withTopic();
  return {
    element: h("div", { class: "rule-row" }, kind, topic.element),
    value: () => (withTopic() && topic.control.value ? { event: kind.value, topic: topic.control.value } : { event: kind.value }),
    fault(text) {
      if (text) topic.fault(text);
      else check();
    },
    get wrong() {
      return topic.wrong;
    },
  };
}

function typesPart(given, catalogue, onchange) {
  const groups = new Map();
  for (const { type, description } of catalogue) {
    const group = type.split(".")[0];
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push({ type, description });
  }
  const boxes = new Map();
  const known = new Set(catalogue.map((one) => one.type));
  for (const group of groups.keys()) known.add(`${group}.*`);
  const others = [...given].filter((one) => !known.has(one));
  const more = field("Other types or patterns", input({ value: others.join(", "), placeholder: "quality.*, my.type", oninput: () => { check(); onchange(); } }), {
    optional: true,
    hint: "Separated by commas; * stands for any characters.",
  });
  const summary = h("span", { class: "muted" });

  function check() {
    const bad = extra().find((one) => !/^[A-Za-z0-9_.*?![\]-]{1,128}$/.test(one));
    more.fault(bad ? `“${bad}”: expected a type or a pattern such as work_order.*` : "");
  }
  const extra = () => more.control.value.split(/[\s,]+/).filter(Boolean);

  function box(type, label, hint) {
    const made = checkbox(label, {
      hint,
      checked: given.has(type),
      onchange: () => {
        shown();
        onchange();
      },
    });
    boxes.set(type, made.control);
    return made.element;
  }

  const list = h(
    "div",
    { class: "type-groups" },
    [...groups].map(([group, members]) =>
      h(
        "div",
        { class: "type-group", role: "group", "aria-label": group },
        box(`${group}.*`, h("strong", null, `${group}.*`), ""),
        h("div", { class: "type-members" }, members.map(({ type, description }) => box(type, type, description))),
      ),
    ),
  );

  function shown() {
    for (const [group, members] of groups) {
      const all = boxes.get(`${group}.*`).checked;
      for (const { type } of members) boxes.get(type).disabled = all;
    }
    const n = values().length;
    fill(summary, n === 0 ? "none chosen" : n === 1 ? "1 chosen" : `${n} chosen`);
  }

  function values() {
    const made = [];
    for (const [type, control] of boxes) if (control.checked && !control.disabled) made.push(type);
    return [...made, ...extra()];
  }
  shown();
  return {
    element: h(
      "div",
      null,
      h("details", { class: "fold", open: given.size > others.length }, h("summary", null, "Choose from the catalogue ", summary), list),
      h("div", { class: "form-gap" }, more.element),
    ),
    values,
  };
}
