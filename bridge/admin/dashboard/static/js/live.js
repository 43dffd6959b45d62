/** The overview's figures as they come, one stream for the whole page; where there is none, asked every 5 s. */

import * as api from "./api.js";
import { stream } from "./sse.js";

const POLL_MS = 5000;
const AFTER_FAILURES = 3;

/**
 * @param {string} streamUrl
 * @param {string} pollUrl
 * @param {() => void} check called when the stream is refused
 */
export function createLive(streamUrl, pollUrl, check) {
  const watchers = new Set();
  let latest = null;
  let state = "connecting";
  let broken = 0;
  let polling = 0;

  function take(data) {
    latest = data;
    for (const watcher of watchers) watcher.data(data);
  }

  function tell(next) {
    state = next;
    for (const watcher of watchers) if (watcher.state) watcher.state(next);
  }

  const source = stream(() => streamUrl, {
    events: { overview: take },
    check,
    onstate: (next) => {
      if (next === "open") {
        broken = 0;
        clearInterval(polling);
        polling = 0;
      }
      if (next === "broken" && ++broken >= AFTER_FAILURES && !polling) {
        polling = setInterval(poll, POLL_MS);
        poll();
      }
      if (!polling || next === "closed") tell(next);
    },
  });

  async function poll() {
    if (document.hidden) return;
    try {
      take(await api.get(pollUrl));
      tell("polling");
    } catch {
      tell("broken");
    }
  }

  return {
    /** `data(now)` at each change, `state(text)` when the stream opens or breaks; call the result to end. */
    subscribe(watcher) {
      watchers.add(watcher);
      if (watcher.state) watcher.state(state);
      if (latest) watcher.data(latest);
      return () => watchers.delete(watcher);
    },
    get latest() {
      return latest;
    },
    close() {
      clearInterval(polling);
      watchers.clear();
      source.close();
    },
  };
}
