/** Signing in, with the user of `http_server` or an API key. */

import * as api from "../api.js";
import { fill, h } from "../dom.js";
import { field, input } from "../form.js";
import { busy, button, notice, tabs } from "../ui.js";

/**
 * @param {HTMLElement} app
 * @param {{message: string, done: (session: any) => void}} options
 */
export function signInPage(app, { message, done }) {
  const faults = h("div", { class: "signin-faults", "aria-live": "polite" });
  const username = field("User name", input({ name: "username", autocomplete: "username", autocapitalize: "none" }));
  const password = field("Password", input({ type: "password", name: "password", autocomplete: "current-password" }));
  const key = field("API key", input({ type: "password", name: "api_key", placeholder: "hmq_…" }), {
    hint: "One that hookmq api-key create has printed. It may do what its scopes say.",
  });
  const submit = button("Sign in", { kind: "primary", type: "submit", class: "button button-primary button-wide" });
  const place = h("div");
  let way = "password";
  let waiting = 0;
  const form = h("form", { class: "signin-form", novalidate: true }, place, faults, submit);
  const ways = tabs(
    "How to sign in",
    [
      { key: "password", title: "User", show: (panel) => fill(panel, username.element, password.element) },
      { key: "api_key", title: "API key", show: (panel) => fill(panel, key.element) },
    ],
    {
      onselect: (chosen) => {
        way = chosen;
        fill(faults);
      },
    },
  );
  fill(place, ways.element);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (submit.getAttribute("aria-disabled") === "true") return;
    const fields = way === "password" ? [username, password] : [key];
    for (const one of fields) one.fault(one.control.value ? "" : "This is missing.");
    const wrong = fields.find((one) => one.wrong);
    if (wrong) {
      wrong.control.focus();
      return;
    }
    busy(submit, () => send());
  });

  async function send() {
    fill(faults);
    const body =
      way === "password"
        ? { username: username.control.value, password: password.control.value }
        : { api_key: key.control.value.trim() };
    try {
      const session = await api.post(api.paths.session, body, { quiet: true });
      password.control.value = "";
      key.control.value = "";
      clearInterval(waiting);
      done(session);
    } catch (error) {
      if (error.status === 429) wait(error.retryAfter || 1);
      else {
        const text =
          error.status === 401
            ? way === "password"
              ? "The user name or the password is wrong."
              : "This key is not valid."
            : `Signing in failed: ${error.message}.`;
        fill(faults, notice("bad", text));
      }
      const first = way === "password" ? password.control : key.control;
      first.focus();
      first.select();
    }
  }

  function wait(seconds) {
    let left = Math.ceil(seconds);
    clearInterval(waiting);
    const text = h("span", null, `${left} s`);
    fill(faults, notice("warn", "Too many failed attempts from this address. Try again in ", text, "."));
    waiting = setInterval(() => {
      left -= 1;
      text.textContent = `${left} s`;
      if (left <= 0) {
        clearInterval(waiting);
        fill(faults);
      }
    }, 1000);
  }

  fill(
    app,
    h(
      "main",
      { class: "signin", id: "main" },
      h(
        "div",
        { class: "signin-card card" },
        h("img", { class: "logo", src: "static/favicon.svg", alt: "", width: 40, height: 40 }),
        h("h1", null, "Sign in to HookMQ"),
        message ? notice("info", message) : null,
        form,
        h("p", { class: "muted signin-help" }, "The user is the one of ", h("code", null, "http_server"), " in the configuration file."),
      ),
    ),
  );
  username.control.focus();
}
