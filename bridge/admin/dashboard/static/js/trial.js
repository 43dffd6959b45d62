/** Test requests: one press beside the URL, or a chosen type with request and response side by side. */

import * as api from "./api.js";
import { openDialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import { field, input } from "./form.js";
import * as f from "./format.js";
import { suggestTypes } from "./suggest.js";
import { announce, busy, button, chip, codeBlock, facts, failure, notice } from "./ui.js";

/** Send a test; gives the trial ({ok, type, took_ms, request, response, error}). Raises ApiError. */
export function sendTest(id, type, signal) {
  return api.post(`${api.paths.endpoint(id)}/test`, type ? { type } : {}, { signal });
}

/** Send a test with settings that are not saved. */
export function sendDraft(draft, signal) {
  return api.post(api.paths.test, draft, { signal });
}

/** What came of a test, in a few words. */
function trialChip(trial) {
  const status = trial.response.status;
  if (trial.ok) return chip("ok", `${status} in ${f.millis(trial.took_ms)}`);
  return chip("bad", status ? `${status} in ${f.millis(trial.took_ms)}` : "No response", trial.error);
}

/** Request and response of a test. */
function trialView(trial) {
  return h(
    "div",
    { class: "trial" },
    trial.ok ? notice("ok", `${trial.type} was taken: `, trialChip(trial)) : notice("bad", `It did not work: ${trial.error || "no response"}`),
    facts([
      ["Webhook id", h("code", null, trial.id)],
      trial.address ? ["Address", h("code", null, trial.address)] : null,
    ]),
    h(
      "div",
      { class: "trial-sides" },
      h("div", null, h("h3", null, "Request"), codeBlock("Head", trial.request.head.trim(), { json: false }), codeBlock("Body", f.pretty(trial.request.body))),
      h(
        "div",
        null,
        h("h3", null, "Response"),
        codeBlock("Head", trial.response.head.trim(), { json: false, none: "There was no response." }),
        codeBlock("Body", trial.response.body ? f.pretty(trial.response.body) : "", { none: "Empty." }),
      ),
    ),
  );
}

/** The Test button beside a URL, and the place where its outcome stands; `send(signal)` gives a trial. */
export function testButton(send, signal) {
  const place = h("span", { class: "test-result", role: "status" });
  const made = button("Test", {
    title: "Send one test event now",
    onclick: () =>
      busy(made, async () => {
        fill(place, h("span", { class: "muted" }, "Sending"));
        try {
          const trial = await send(signal);
          fill(place, trialChip(trial), button("Show", { kind: "quiet", onclick: () => showTrial(trial) }));
        } catch (error) {
          if (!api.aborted(error)) fill(place, chip("bad", error.message));
        }
      }),
  });
  return [made, place];
}

function showTrial(trial) {
  const dialog = openDialog("Test request", { wide: true });
  fill(dialog.body, trialView(trial));
  fill(dialog.foot, button("Close", { onclick: () => dialog.close() }));
}

/** "Send Test Event": choose a type, send, see both sides. */
export function openTest(id, type, signal) {
  const dialog = openDialog("Send Test Event", {
    wide: true,
    describe: "A made-up event of the type, sent as a real one would be. It is outside the order, the figures and the log.",
  });
  const control = input({ list: "test-types", value: type, "data-autofocus": true, maxlength: 128 });
  const send = button("Send", { kind: "primary", type: "submit" });
  const kind = field("Event type", control, { after: send, hint: "A type of the catalogue such as work_order.created, or an event of the broker such as on_message_publish." });
  const result = h("div", { "aria-live": "polite" });
  const form = h("form", {
    onsubmit: (event) => {
      event.preventDefault();
      busy(send, async () => {
        kind.fault("");
        try {
          const trial = await sendTest(id, control.value.trim(), signal);
          fill(result, trialView(trial));
          announce(trial.ok ? "The test event was taken" : "The test event failed");
        } catch (error) {
          if (error.status === 422) kind.fault(error.message);
          else if (!api.aborted(error)) fill(result, failure(error));
        }
      });
    },
  }, kind.element);
  form.append(h("datalist", { id: "test-types" }));
  fill(dialog.body, form, result);
  fill(dialog.foot, button("Close", { onclick: () => dialog.close() }));
  suggestTypes(control, signal);
  dialog.focus();
  control.select();
}
