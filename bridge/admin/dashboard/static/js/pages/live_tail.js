/** Live tail: events as they come. Pausing keeps the place: what comes meanwhile is counted, and shown after. */

import * as api from "../api.js";
import { fill, h, setText } from "../dom.js";
import { field, input, topicFilterFault } from "../form.js";
import * as f from "../format.js";
import { stream } from "../sse.js";
import { suggestTypes } from "../suggest.js";
import { button, chip, codeBlock, emptyState, facts, failure } from "../ui.js";
import { openDialog } from "../dialog.js";

const MOST = 500;
const DRAW_MS = 100;

export async function page(ctx) {
  const pause = button("Pause", { kind: "primary", mark: "pause", onclick: () => setPaused(!paused) });
  const clear = button("Clear", { onclick: () => empty() });
  ctx.head({ title: "Live tail", lead: "Events as they come, whether an endpoint wants them or not.", actions: [pause, clear] });

  const topic = field("Topic", input({ type: "search", value: ctx.query.get("topic") || "", placeholder: "plant/+/force", maxlength: 65535, oninput: () => changed() }));
  const type = field("Event type", input({ type: "search", value: ctx.query.get("type") || "", placeholder: "work_order.*", list: "live-types", maxlength: 128, oninput: () => changed() }));
  type.element.append(h("datalist", { id: "live-types" }));
  suggestTypes(type.control, ctx.signal);
  const state = h("span", { class: "tail-state", role: "status" });
  const held = h("span", { class: "muted" });
  const lost = h("span", { class: "tail-lost" });
  const body = h("tbody");
  const table = h(
    "table",
    { class: "table tail-table" },
    h("caption", { class: "visually-hidden" }, "Events, the latest first"),
    h("thead", null, h("tr", null, ["Time", "Event", "Client", "Topic", "Payload"].map((name) => h("th", { scope: "col" }, name)))),
    body,
  );
  const none = h("div", { class: "table-state" });
  const fault = h("div");
  const scroller = h("div", { class: "table-scroll tail-scroll", tabindex: "0", role: "region", "aria-label": "Events" }, table);
  ctx.root.append(
    h(
      "form",
      { class: "filters", role: "search", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
      h("div", { class: "filter filter-wide" }, topic.element),
      h("div", { class: "filter filter-wide" }, type.element),
    ),
    fault,
    h("div", { class: "card card-flush" }, h("div", { class: "tail-bar" }, state, held, lost), scroller, none),
  );

  let paused = false;
  let waiting = []; // the latest first
  let seen = 0;
  let skipped = 0;
  let dropped = 0;
  let timer = 0;
  let drawing = 0;

  function wait() {
    fill(none, body.children.length ? null : emptyState("Waiting for events", "Publish a message, connect a client, or send a business event: it appears here at once."));
    scroller.hidden = body.children.length === 0;
  }

  function take(data) {
    seen += 1;
    waiting.unshift(data);
    if (waiting.length > MOST) {
      skipped += waiting.length - MOST;
      waiting.length = MOST;
    }
    if (!drawing) drawing = setTimeout(draw, DRAW_MS);
  }

  function draw() {
    drawing = 0;
    if (paused) {
      setText(held, waiting.length ? `${f.plural(waiting.length, "event")} since${skipped ? `, and ${f.count(skipped)} more that are not kept` : ""}` : "");
      return;
    }
    const next = waiting;
    waiting = [];
    skipped = 0;
    setText(held, `${f.plural(seen, "event")} seen`);
    if (next.length) body.prepend(...next.map(row));
    while (body.children.length > MOST) body.lastElementChild.remove();
    wait();
  }

  function setPaused(on) {
    paused = on;
    setText(pause.lastElementChild, on ? "Go on" : "Pause");
    pause.setAttribute("aria-pressed", String(on));
    fill(state, on ? chip("warn", "Paused") : chip("ok", "Live"));
    draw();
  }

  function empty() {
    waiting = [];
    skipped = 0;
    seen = 0;
    dropped = 0;
    setText(lost, "");
    fill(body);
    draw();
    wait();
  }

  const source = stream(
    (after) => api.paths.liveEvents + api.query({ ...wanted(), after }),
    {
      rest: false, // nobody wants to miss what came while another tab was looked at
      check: refused,
      events: {
        event: take,
        dropped: ({ count }) => {
          dropped += count || 0;
          setText(lost, count === null ? "Some are missing here" : `${f.plural(dropped, "event")} left out: more come than can be shown`);
        },
      },
      onstate: (text) => {
        if (text === "open") fill(fault);
        if (paused) return;
        const words = { open: ["ok", "Live"], connecting: ["info", "Connecting"], broken: ["warn", "Reconnecting"] };
        const found = words[text];
        if (found) fill(state, chip(...found));
      },
    },
  );
  ctx.onleave(() => {
    clearTimeout(timer);
    clearTimeout(drawing);
    source.close();
  });

  function wanted() {
    return { topic: topic.control.value.trim(), type: type.control.value.trim() };
  }

  /** The stream was refused; a stream does not say why, a call does. */
  async function refused() {
    try {
      await api.get(api.paths.liveEvents + api.query({ ...wanted(), seconds: 1 }), { signal: ctx.signal });
    } catch (error) {
      if (api.aborted(error)) return;
      const wrong = error.errors[0];
      if (wrong && wrong.path === "/topic") topic.fault(wrong.message);
      else if (wrong && wrong.path === "/type") type.fault(wrong.message);
      else fill(fault, failure(error));
    }
  }

  function changed() {
    type.fault("");
    topic.fault(topic.control.value.trim() ? topicFilterFault(topic.control.value.trim()) : "");
    clearTimeout(timer);
    if (topic.wrong) return;
    timer = setTimeout(() => {
      ctx.setQuery(wanted());
      empty();
      source.restart();
    }, 300);
  }

  wait();
}

function row(one) {
  const open = () => show(one);
  return h(
    "tr",
    { class: "row-open", onclick: (event) => { if (!event.target.closest("button") && !String(getSelection())) open(); } },
    h("th", { scope: "row", class: "cell-time" }, h("button", { type: "button", class: "link-button", onclick: open }, f.when(one.at, { millis: true }))),
    h("td", { class: "cell-type" }, one.type),
    h("td", null, h("span", { class: "cell-clip tail-client", title: one.clientid }, one.clientid)),
    h("td", null, h("span", { class: "cell-clip", title: one.topic }, one.topic)),
    h("td", null, h("code", { class: "cell-clip tail-payload" }, (one.payload || "").slice(0, 200))),
  );
}

function show(one) {
  const dialog = openDialog(one.type, { sheet: true });
  const cut = one.payload_encoding === "plain" ? one.payload_bytes > new TextEncoder().encode(one.payload).length : one.payload_bytes > 4096;
  const parts = [`${f.bytes(one.payload_bytes)}`, one.payload_encoding === "base64" ? "no text, so in base64" : "", cut ? "the beginning" : ""];
  fill(
    dialog.body,
    facts([
      ["Time", f.when(one.at, { millis: true })],
      ["Type", h("code", null, one.type)],
      one.clientid ? ["Client", h("span", { class: "wrap" }, one.clientid)] : null,
      one.username ? ["User name", h("span", { class: "wrap" }, one.username)] : null,
      one.peername ? ["Address", one.peername] : null,
      one.topic ? ["Topic", h("code", { class: "wrap" }, one.topic)] : null,
      one.topic ? ["QoS", `${one.qos}${one.retain ? ", retained" : ""}`] : null,
    ]),
    one.payload_bytes ? codeBlock(`Payload (${parts.filter(Boolean).join(", ")})`, one.payload_encoding === "plain" && !cut ? f.pretty(one.payload) : one.payload, { label: "Payload" }) : null,
    Object.keys(one.data).length ? codeBlock("More", JSON.stringify(one.data, null, 2)) : null,
  );
  fill(dialog.foot, button("Close", { onclick: () => dialog.close() }));
}
