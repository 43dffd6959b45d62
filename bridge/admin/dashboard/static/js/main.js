/** The dashboard: who is signed in, the frame around the pages, and which page the URL's hash names. */

import * as api from "./api.js";
import { fill, h, icon, setText } from "./dom.js";
import { confirm } from "./dialog.js";
import { createLive } from "./live.js";
import { signInPage } from "./pages/signin.js";
import { announce, button, emptyState, failure, iconButton, skeleton, toast } from "./ui.js";

/** Path of the hash → page; a part in braces is a parameter. A page is loaded when it is first shown. */
const ROUTES = [
  ["overview", () => import("./pages/overview.js")],
  ["endpoints", () => import("./pages/endpoints.js")],
  ["endpoints/new", () => import("./pages/endpoint_form.js")],
  ["endpoints/{id}", () => import("./pages/endpoint.js")],
  ["endpoints/{id}/edit", () => import("./pages/endpoint_form.js")],
  ["logs", () => import("./pages/logs.js")],
  ["dead", () => import("./pages/dead.js")],
  ["live", () => import("./pages/live_tail.js")],
  ["clients", () => import("./pages/clients.js")],
  ["subscriptions", () => import("./pages/subscriptions.js")],
  ["events", () => import("./pages/events.js")],
  ["publishers", () => import("./pages/publishers.js")],
  ["publishers/{id}", () => import("./pages/publishers.js")],
];

const NAV = [
  ["", [["overview", "Overview", "overview"]]],
  [
    "Webhooks",
    [
      ["endpoints", "Endpoints", "endpoints"],
      ["logs", "Logs", "logs"],
      ["dead", "Dead letters", "dead"],
      ["live", "Live tail", "live"],
      ["events", "Event types", "events"],
    ],
  ],
  [
    "Broker",
    [
      ["clients", "Clients", "clients"],
      ["subscriptions", "Subscriptions", "subscriptions"],
      ["publishers", "MQTT publishers", "publishers"],
    ],
  ],
];

const SCOPES_WITHIN = { "endpoints:write": ["endpoints:read"], "clients:write": ["clients:read"] };
const app = document.getElementById("app");
const state = { session: null, live: null, page: null, frame: null, hash: "" };

async function start() {
  fill(app, h("div", { class: "boot" }, skeleton(2)));
  api.onSignedOut(() => {
    if (state.session) {
      leave();
      state.session = null;
      signIn("Your session is over. Sign in again.");
    }
  });
  try {
    signedIn(await api.get(api.paths.session, { quiet: true }));
  } catch (error) {
    if (error.status === 401) signIn("");
    else fill(app, h("main", { class: "boot" }, h("h1", null, "HookMQ"), failure(error, start)));
  }
}

function signIn(message) {
  closeFrame();
  document.title = "Sign in · HookMQ";
  signInPage(app, { message, done: signedIn });
}

function signedIn(session) {
  state.session = session;
  api.setCsrf(session.csrf);
  state.live = createLive(api.paths.liveOverview, api.paths.overview, () =>
    api.get(api.paths.session).catch(() => {}),
  );
  state.frame = frame(session);
  fill(app, state.frame.element);
  show(false);
}

function closeFrame() {
  if (state.live) state.live.close();
  state.live = null;
  state.frame = null;
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
}

async function signOut() {
  try {
    await api.del(api.paths.session, { quiet: true });
  } catch (error) {
    if (error.status !== 401) {
      toast("bad", `You are still signed in: ${error.message}`);
      return;
    }
  }
  leave();
  state.session = null;
  signIn("You are signed out.");
}

function may(scope) {
  const scopes = (state.session && state.session.scopes) || [];
  return scopes.some((one) => one === "admin" || one === scope || (SCOPES_WITHIN[one] || []).includes(scope));
}

// -- the frame ------------------------------------------------------------------------------------------------

function frame(session) {
  const main = h("main", { id: "main", class: "main", tabindex: "-1" });
  const links = new Map();
  const badges = new Map();
  const nav = h(
    "nav",
    { class: "nav", id: "nav", "aria-label": "Pages" },
    NAV.map(([title, items]) =>
      h(
        "div",
        { class: "nav-group" },
        title && h("h2", { class: "nav-title" }, title),
        h(
          "ul",
          null,
          items.map(([route, text, mark]) => {
            const badge = h("span", { class: "badge", hidden: true });
            const link = h("a", { class: "nav-link", href: `#/${route}` }, icon(mark), h("span", { class: "nav-text" }, text), badge);
            links.set(route, link);
            badges.set(route, badge);
            return h("li", null, link);
          }),
        ),
      ),
    ),
  );
  const menu = iconButton("Menu", "menu", () => open(!side.classList.contains("side-open")), {
    "aria-expanded": "false",
    "aria-controls": "nav",
    class: "icon-button menu-button",
  });
  const liveState = h("span", { class: "live-state", role: "status" });
  const theme = h(
    "select",
    { class: "theme-select", "aria-label": "Theme", onchange: () => window.hookmqTheme.set(theme.value) },
    [["auto", "System"], ["light", "Light"], ["dark", "Dark"]].map(([value, text]) => h("option", { value }, text)),
  );
  theme.value = window.hookmqTheme.get();
  const side = h(
    "header",
    { class: "side" },
    h(
      "div",
      { class: "brand" },
      h("a", { href: "#/overview", class: "brand-link", "aria-label": "HookMQ, overview" }, logo(), h("span", { "aria-hidden": "true" }, "HookMQ")),
      liveState,
      menu,
    ),
    nav,
    h(
      "div",
      { class: "side-foot" },
      h("div", { class: "who" }, h("span", { class: "who-name" }, session.anonymous ? "No sign-in needed" : session.username), h("span", { class: "muted" }, `HookMQ ${session.version || ""}`)),
      h("div", { class: "side-tools" }, theme, session.anonymous ? null : button("Sign out", { kind: "quiet", onclick: signOut })),
    ),
  );
  function open(on) {
    side.classList.toggle("side-open", on);
    menu.setAttribute("aria-expanded", String(on));
  }
  side.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && side.classList.contains("side-open")) {
      open(false);
      menu.focus();
    }
  });
  state.live.subscribe({
    data: (now) => {
      mark(badges.get("dead"), now.dead, "dead letters");
      mark(badges.get("overview"), now.problems.length, now.problems.length === 1 ? "problem" : "problems");
    },
    state: (text) => {
      const words = { open: "Live", connecting: "Connecting", broken: "Offline", resting: "Paused", polling: "Every 5 s" };
      setText(liveState, words[text] || "");
      liveState.dataset.state = text;
    },
  });
  return {
    element: h(
      "div",
      { class: "shell" },
      h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to the content"),
      side,
      main,
    ),
    main,
    current(route) {
      open(false);
      for (const [name, link] of links) {
        if (name === route) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
    },
  };
}

function mark(badge, n, noun) {
  badge.hidden = !n;
  if (n) fill(badge, n > 9999 ? "9999+" : String(n), h("span", { class: "visually-hidden" }, ` ${noun}`));
}

function logo() {
  return h("img", { class: "logo", src: "static/favicon.svg", alt: "", width: 26, height: 26 });
}

// -- the pages ------------------------------------------------------------------------------------------------

function find(hash) {
  const [path, text = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = (path || "overview").split("/").map(decode);
  for (const [route, load] of ROUTES) {
    const names = route.split("/");
    if (names.length !== parts.length) continue;
    const params = {};
    const fits = names.every((name, at) => {
      if (!name.startsWith("{")) return name === parts[at];
      params[name.slice(1, -1)] = parts[at];
      return parts[at] !== "";
    });
    if (fits) return { route, load, params, query: new URLSearchParams(text) };
  }
  return null;
}

function titleOf(route) {
  const [name] = route.split("/");
  return NAV.flatMap(([, items]) => items).find(([one]) => one === name)[1];
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function leave() {
  if (state.page) {
    state.page.leave();
    state.page = null;
  }
}

async function show(focus) {
  if (!state.frame) return;
  leave();
  state.hash = location.hash;
  const found = find(location.hash);
  const { main } = state.frame;
  state.frame.current(found ? found.route.split("/")[0] : "");
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  const root = h("div", { class: "page" });
  fill(main, root);
  window.scrollTo(0, 0);
  if (!found) {
    document.title = "Not found · HookMQ";
    fill(root, emptyState("There is no such page", "The address names no page of the dashboard.", h("a", { class: "button button-primary", href: "#/overview" }, "Go to the overview")));
    return;
  }
  const page = context(root, found, focus);
  state.page = page;
  try {
    const module = await found.load().catch(() => {
      throw new api.ApiError(0, api.UNREACHABLE);
    });
    if (!page.ctx.signal.aborted) await module.page(page.ctx);
  } catch (error) {
    if (api.aborted(error) || page.ctx.signal.aborted) return;
    if (!root.querySelector("h1")) page.ctx.head({ title: titleOf(found.route) });
    root.append(failure(error, () => show(true)));
  }
}

/** What a page is given. */
function context(root, found, focus) {
  const controller = new AbortController();
  const ctx = {
    root,
    params: found.params,
    query: found.query,
    signal: controller.signal,
    session: state.session,
    live: state.live,
    may,
    announce,
    /** Asked before the page is left: true where something would be lost. */
    guard: null,
    /** The page's heading; `actions` are buttons beside it. */
    head({ title, lead = null, actions = null, back = null, badge = null }) {
      document.title = `${title} · HookMQ`;
      const heading = h("h1", { tabindex: "-1" }, title);
      const made = h(
        "div",
        { class: "page-head" },
        h("div", { class: "page-title" }, back && h("a", { class: "back", href: back[1] }, back[0]), h("div", { class: "title-row" }, heading, badge), lead && h("p", { class: "lead" }, lead)),
        actions && h("div", { class: "page-actions" }, actions),
      );
      const old = root.querySelector(":scope > .page-head");
      if (old) old.replaceWith(made);
      else root.prepend(made);
      if (focus) {
        heading.focus({ preventScroll: true });
        focus = false;
      }
      return made;
    },
    /** Put parameters into the hash, without leaving the page. */
    setQuery(values) {
      for (const [name, value] of Object.entries(values)) {
        if (value) ctx.query.set(name, value);
        else ctx.query.delete(name);
      }
      const text = ctx.query.toString();
      const [path] = location.hash.split("?");
      history.replaceState(null, "", `${path || "#/overview"}${text ? `?${text}` : ""}`);
      state.hash = location.hash;
    },
    go(hash) {
      ctx.guard = null;
      if (location.hash === hash) show(true);
      else location.hash = hash;
    },
    /** Run again and again while the page is shown and seen. */
    every(seconds, work) {
      const timer = setInterval(() => {
        if (!document.hidden) work();
      }, seconds * 1000);
      controller.signal.addEventListener("abort", () => clearInterval(timer));
    },
    onleave: (work) => controller.signal.addEventListener("abort", work),
  };
  return { ctx, leave: () => controller.abort() };
}

window.addEventListener("hashchange", async () => {
  const wanted = location.hash;
  if (wanted === state.hash) return;
  const page = state.page;
  if (page && page.ctx.guard && page.ctx.guard()) {
    history.replaceState(null, "", state.hash);
    const left = await confirm({
      title: "Leave without saving?",
      text: "What you have changed in this form is lost.",
      action: "Leave",
      danger: true,
      work: async () => {},
    });
    if (!left) return;
    page.ctx.guard = null;
    history.pushState(null, "", wanted);
  }
  show(true);
});
window.addEventListener("beforeunload", (event) => {
  if (state.page && state.page.ctx.guard && state.page.ctx.guard()) event.preventDefault();
});

start();
