/** Sending the events of a time again, and how far it has come. */

import * as api from "./api.js";
import { openDialog } from "./dialog.js";
import { fill, h, setText } from "./dom.js";
import { field, input } from "./form.js";
import * as f from "./format.js";
import { busy, button, card, chip, failure, notice, toast } from "./ui.js";

const QUICK = [
  ["15 min", 15 * 60],
  ["1 h", 3600],
  ["24 h", 86400],
  ["7 days", 7 * 86400],
];

/** Ask from when to when; `done` is called when it has begun. */
export function openReplay(id, signal, done) {
  const dialog = openDialog("Replay", {
    describe: "Sends all events of a time again, with their ids, dead letters included. New events go on beside it.",
  });
  const local = (seconds) => f.toLocalInput(new Date(Date.now() - seconds * 1000));
  const since = field("From", input({ type: "datetime-local", step: "1", value: local(3600), "data-autofocus": true }));
  const until = field("To", input({ type: "datetime-local", step: "1" }), { optional: true, hint: "Empty: until now." });
  const quick = h(
    "div",
    { class: "quick", role: "group", "aria-label": "Since" },
    QUICK.map(([text, seconds]) => button(`Last ${text}`, { kind: "quiet", onclick: () => { since.control.value = local(seconds); } })),
  );
  const faults = h("div");
  const go = button("Replay", { kind: "primary" });
  go.addEventListener("click", () =>
    busy(go, async () => {
      since.fault(since.control.value ? "" : "Expected a time.");
      until.fault("");
      if (since.wrong) return;
      const body = { since: f.fromLocalInput(since.control.value) };
      if (until.control.value) body.until = f.fromLocalInput(until.control.value);
      // It answers when all is handed over, or after 2 s: the bar is there meanwhile.
      const answer = api.post(`${api.paths.endpoint(id)}/replay`, body, { signal });
      const soon = new Promise((resolve) => setTimeout(resolve, 300, null));
      try {
        const found = await Promise.race([answer, soon]);
        dialog.close();
        done(found);
        const last = found || (await answer);
        if (last.state === "done") toast("ok", `Replayed: ${f.plural(last.taken, "event")} handed over.`);
        done(last);
      } catch (error) {
        if (api.aborted(error)) return;
        const wrong = error.errors[0];
        if (dialog.element.isConnected && wrong && wrong.path === "/until") until.fault(wrong.message);
        else if (dialog.element.isConnected) fill(faults, failure(error));
        else toast("bad", error.message);
      }
    }),
  );
  fill(dialog.body, quick, since.element, until.element, faults);
  fill(dialog.foot, button("Cancel", { onclick: () => dialog.close() }), go);
  dialog.focus();
}

const STATES = { running: ["info", "Running"], done: ["ok", "Done"], stopped: ["off", "Stopped"], failed: ["bad", "Failed"] };

/** The bar of an endpoint's replay; `set` takes `stats.replay`. */
export function replayCard(id, { may, onstop }) {
  const bar = h("progress", { class: "meter meter-big", max: 1, value: 0, "aria-label": "Replay" });
  const text = h("p", { class: "replay-text", role: "status" });
  const more = h("div");
  const state = h("span");
  const stop = button("Stop", {
    onclick: () =>
      busy(stop, async () => {
        try {
          await api.del(`${api.paths.endpoint(id)}/replay`);
          onstop();
        } catch (error) {
          toast("bad", error.message);
        }
      }),
  });
  const element = card("Replay", { actions: [state, may ? stop : null] }, h("div", { class: "card-body replay-body" }, bar, text, more));
  element.hidden = true;
  return {
    element,
    set(job) {
      element.hidden = !job;
      if (!job) return;
      const [kind, word] = STATES[job.state] || ["info", job.state];
      const part = job.state === "done" ? 1 : job.total ? job.done / job.total : 0;
      bar.max = 1;
      bar.value = Math.min(1, part);
      bar.setAttribute("aria-valuetext", `${Math.floor(part * 100)} %`);
      fill(state, chip(kind, word));
      stop.hidden = job.state !== "running";
      setText(
        text,
        [
          `${Math.floor(part * 100)} %`,
          `${f.plural(job.taken, "event")} handed over`,
          job.under_way ? `${f.count(job.under_way)} under way anyway` : "",
          job.gone ? `${f.count(job.gone)} the store has no more` : "",
          job.waiting ? "waiting for room" : "",
        ]
          .filter(Boolean)
          .join(" · "),
      );
      fill(
        more,
        job.error ? notice("bad", job.error) : null,
        job.kept_since ? notice("warn", "The store does not reach back that far: it has events since ", f.when(job.kept_since), ".") : null,
      );
    },
  };
}
