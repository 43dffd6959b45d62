/** One event at one endpoint, at the side: payload, attempts with requests and responses, times to come. */

import * as api from "./api.js";
import { openDialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import * as f from "./format.js";
import { endpointLink, know } from "./names.js";
import { busy, button, codeBlock, copyButton, deliveryChip, emptyState, facts, failure, notice, outcomeChip, skeleton, toast } from "./ui.js";

const REFRESH_MS = 3000;

/** Open it; the result has `close`. */
export function openDelivery(ctx, endpoint, delivery, { onclose = () => {}, onretry = () => {} } = {}) {
  let timer = 0;
  const dialog = openDialog("Event", {
    sheet: true,
    onclose: () => {
      clearInterval(timer);
      onclose();
    },
  });
  const place = h("div", null, skeleton(5));
  fill(dialog.body, place);
  const retry = button("Retry now", { kind: "primary", mark: "refresh" });
  retry.addEventListener("click", () =>
    busy(retry, async () => {
      try {
        await api.post(`${api.paths.delivery(endpoint, delivery)}/retry`, {});
        toast("ok", "It will be sent again.");
        await load();
        onretry();
      } catch (error) {
        toast("bad", error.message);
      }
    }),
  );
  let last = "";

  async function load() {
    try {
      const found = await api.get(api.paths.delivery(endpoint, delivery), { signal: ctx.signal });
      await know([found.endpoint], ctx.signal);
      const text = JSON.stringify(found);
      if (text === last) return;
      const opened = new Set([...place.querySelectorAll("details[open]")].map((one) => one.dataset.at));
      last = text;
      dialog.heading.textContent = found.attempts.length ? found.attempts[0].type : "Event";
      fill(place, shown(found, opened));
      fill(dialog.foot, ctx.may("endpoints:write") ? retry : null, button("Close", { onclick: () => dialog.close() }));
    } catch (error) {
      if (api.aborted(error)) return;
      clearInterval(timer);
      fill(place, error.status === 404 ? emptyState("Nothing is known of it any more", "Its attempts and its payload have gone from the store, as its retention says.") : failure(error, load));
    }
  }

  load();
  timer = setInterval(load, REFRESH_MS);
  return dialog;
}

function shown(found, opened) {
  const first = found.attempts[found.attempts.length - 1];
  const latest = found.attempts[0];
  return [
    facts([
      ["State", deliveryChip(found.state)],
      ["Endpoint", endpointLink(found.endpoint)],
      ["Webhook id", h("span", { class: "with-copy" }, h("code", null, found.id), copyButton(found.id))],
      latest && latest.clientid ? ["Client", h("span", { class: "wrap" }, latest.clientid)] : null,
      latest && latest.topic ? ["Topic", h("code", { class: "wrap" }, latest.topic)] : null,
      first ? ["First sent", f.when(first.at, { millis: true })] : null,
      found.dead_since ? ["Dead letter since", f.when(found.dead_since)] : null,
    ]),
    upcoming(found),
    found.payload_error ? notice("warn", `No body can be made of it now: ${found.payload_error}`) : null,
    codeBlock("Payload", found.payload === null ? "" : f.pretty(found.payload), {
      none: "The store has this event no more; its attempts are kept longer.",
    }),
    h("h3", null, "Attempts"),
    found.attempts.length
      ? h("ol", { class: "attempts" }, found.attempts.map((one, at) => attempt(one, opened.size ? opened.has(one.at) : at === 0)))
      : h("p", { class: "muted" }, "None is in the log."),
  ];
}

function upcoming(found) {
  const times = found.next_attempts || [];
  if (times.length === 0) return null;
  return h(
    "section",
    { class: "upcoming", "aria-label": "Attempts to come" },
    h("h3", null, "Next attempts"),
    h(
      "ol",
      { class: "upcoming-list" },
      times.map(({ attempt: number, at }) => h("li", null, h("span", { class: "muted" }, `Attempt ${number}`), f.when(at), h("span", { class: "muted" }, f.ago(at)))),
    ),
  );
}

function attempt(one, open) {
  return h(
    "li",
    { class: one.ok ? "attempt" : "attempt attempt-bad" },
    h(
      "details",
      { open, "data-at": one.at },
      h(
        "summary",
        null,
        outcomeChip(one),
        h("span", null, `Attempt ${one.attempt}`),
        f.when(one.at, { millis: true }),
        h("span", { class: "muted num" }, f.millis(one.took_ms)),
      ),
      h(
        "div",
        { class: "attempt-body" },
        one.error ? notice("bad", one.error) : null,
        facts([
          one.address ? ["Address", h("code", null, one.address)] : null,
          one.events > 1 ? ["Events in this request", f.count(one.events)] : null,
        ]),
        one.request ? codeBlock("Request", one.request.trim(), { json: false }) : null,
        one.response && one.response.head ? codeBlock("Response", one.response.head.trim(), { json: false }) : null,
        one.response && one.response.body ? codeBlock("Response body", f.pretty(one.response.body)) : null,
        one.response && !one.response.head && !one.ok ? h("p", { class: "muted" }, "There was no response.") : null,
      ),
    ),
  );
}

