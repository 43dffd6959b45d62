/** Work on many events that goes on after its call was answered: a bar, and a way to stop it. */

import * as api from "./api.js";
import { fill, h, setText } from "./dom.js";
import * as f from "./format.js";
import { busy, button, toast } from "./ui.js";

const LOOK_MS = 700;

/**
 * Wait for a job's end with a bar at `place`; the job as it is then. Once nobody looks at the place any more it
 * goes on by itself.
 */
export async function followed(job, place) {
  let now = job;
  if (now.state !== "running") return now;
  const bar = h("progress", { class: "meter meter-big", "aria-label": "Progress", max: 1 });
  const text = h("p", { role: "status" });
  const stop = button("Stop", { onclick: () => busy(stop, () => api.del(api.paths.job(job.id))) });
  fill(place, bar, text, stop);
  while (now.state === "running") {
    if (now.total) bar.value = Math.min(1, now.done / now.total);
    else bar.removeAttribute("value");
    setText(text, `${f.count(now.done)}${now.total ? ` of ${f.count(now.total)}` : ""} looked at, ${f.count(now.affected)} done`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (!place.isConnected) return now;
    now = await api.get(api.paths.job(job.id));
  }
  return now;
}

/** Say what has come of a job; `did` is such as "will be sent again", `noun` what it was done with. */
export function tell(job, did, noun = "event") {
  if (job.state === "running") {
    toast("info", "It goes on.");
    return;
  }
  if (job.error) {
    toast("bad", f.sentence(job.error));
    return;
  }
  const parts = [job.affected ? `${f.plural(job.affected, noun)} ${did}.` : `No ${noun} ${did}.`];
  if (job.skipped) parts.push(`${f.plural(job.skipped, noun)} left out: on their way already, or gone.`);
  if (job.more) parts.push("There may be more: do it again.");
  if (job.state === "stopped") parts.push("Stopped before the end.");
  toast(job.affected ? "ok" : "info", parts.join(" "));
}
