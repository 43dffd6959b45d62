/**
 * Server-Sent Events with what EventSource leaves out: it is tried again with growing pauses after a refusal,
 * says how it stands, and rests while nobody sees the page. (A browser opens six connections to a server at
 * most, so a tab in the background must not hold one.)
 */

const FIRST_MS = 1000;
const MAX_MS = 15000;

/**
 * @param {(last: string) => string} url `last`: the id of the last event that came
 * @param {{events: Record<string, (data: any, event: MessageEvent) => void>, onstate?: (state: string) => void,
 *   rest?: boolean, check?: () => void}} options
 *   `rest`: close while the page is hidden; `check`: called when the server has refused (is the session over?)
 */
export function stream(url, { events, onstate = () => {}, rest = true, check = () => {} }) {
  let source = null;
  let timer = 0;
  let wait = FIRST_MS;
  let closed = false;
  let state = "";
  let last = "";

  function tell(next) {
    if (next !== state) {
      state = next;
      onstate(next);
    }
  }

  function open() {
    clearTimeout(timer);
    if (closed || source || (rest && document.hidden)) return;
    tell("connecting");
    source = new EventSource(url(last));
    source.onopen = () => {
      wait = FIRST_MS;
      tell("open");
    };
    source.onerror = () => {
      if (source && source.readyState === EventSource.CLOSED) {
        shut();
        check();
        timer = setTimeout(open, wait);
        wait = Math.min(MAX_MS, wait * 2);
      }
      tell("broken"); // else the browser tries again by itself
    };
    for (const [name, call] of Object.entries(events)) {
      source.addEventListener(name, (event) => {
        let data = null;
        try {
          data = JSON.parse(event.data);
        } catch {
          return;
        }
        last = event.lastEventId || last;
        call(data, event);
      });
    }
  }

  function shut() {
    if (source) source.close();
    source = null;
  }

  function seen() {
    if (!rest) return;
    if (document.hidden) {
      shut();
      tell("resting");
    } else {
      open();
    }
  }

  document.addEventListener("visibilitychange", seen);
  open();
  return {
    /** Begin again, for another URL. */
    restart() {
      shut();
      last = "";
      wait = FIRST_MS;
      open();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
      shut();
      tell("closed");
    },
  };
}
