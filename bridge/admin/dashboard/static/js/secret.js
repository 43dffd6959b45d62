/** Secrets: shown once, copied, and made anew. */

import * as api from "./api.js";
import { openDialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import { field, input, select } from "./form.js";
import * as f from "./format.js";
import { busy, button, copyButton, failure, notice } from "./ui.js";

/** Show a new secret; it cannot be asked for again. */
export function showSecret(title, answer, onclose = () => {}) {
  const dialog = openDialog(title, { onclose });
  const control = input({ readOnly: true, value: answer.secret, class: "mono", onfocus: () => control.select() });
  fill(
    dialog.body,
    notice("warn", "Copy it now: it is not shown again. HookMQ signs with it; the receiver checks with it."),
    field("Signing secret", control, { after: copyButton(answer.secret, "Copy") }).element,
    answer.old_secret_expires ? h("p", null, "The old one signs too until ", f.when(answer.old_secret_expires), ".") : null,
    warnings(answer),
  );
  fill(dialog.foot, button("Done", { kind: "primary", onclick: () => dialog.close() }));
  control.focus();
}

/** What an answer warns of. */
export function warnings(answer) {
  const found = answer.warnings || [];
  return found.length ? notice("warn", h("ul", null, found.map(({ path, message }) => h("li", null, path ? `${path}: ${message}` : message)))) : null;
}

/** Rotate an endpoint's secret. */
export function openRotate(id, signal, done = () => {}) {
  const dialog = openDialog("Rotate the secret", { describe: "HookMQ signs with a new one from now on." });
  const old = field(
    "The old secret signs too for",
    select([["24h", "a day"], ["1h", "an hour"], ["7d", "7 days"], ["30d", "30 days"], ["0", "not at all"]], "24h", { "data-autofocus": true }),
    { hint: "So that the receiver can be told in peace. The signatures mes, eryxon and hmac have room for one: there the new one signs at once." },
  );
  const own = field("New secret", input({ type: "password", autocomplete: "new-password", placeholder: "made for you" }), { optional: true });
  const faults = h("div");
  const go = button("Rotate", { kind: "primary" });
  go.addEventListener("click", () =>
    busy(go, async () => {
      const body = { expire_in: old.control.value === "0" ? 0 : old.control.value };
      if (own.control.value) body.secret = own.control.value;
      try {
        const answer = await rotate(body);
        dialog.close();
        showSecret("The new secret", answer, done);
      } catch (error) {
        fill(faults, failure(error));
      }
    }),
  );

  async function rotate(body) {
    const path = `${api.paths.endpoint(id)}/rotate-secret`;
    try {
      return await api.post(path, body, { signal });
    } catch (error) {
      // Where there is room for one signature a day beside the old one cannot be: only what is possible is left.
      if (error.status === 422 && error.errors.some((one) => one.path === "/expire_in") && body.expire_in) {
        return api.post(path, { ...body, expire_in: 0 }, { signal });
      }
      throw error;
    }
  }

  fill(dialog.body, old.element, own.element, faults);
  fill(dialog.foot, button("Cancel", { onclick: () => dialog.close() }), go);
  dialog.focus();
}
