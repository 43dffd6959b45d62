/**
 * Dialogs and sheets on the <dialog> element: the browser keeps focus within, makes the rest inert, closes on
 * Escape, and gives focus back to where it was.
 */

import { add, h, uid } from "./dom.js";
import { button, busy, failure, iconButton } from "./ui.js";

/**
 * Open one. `sheet`: a panel at the side, for looking at things.
 * @param {string} title
 * @param {{sheet?: boolean, wide?: boolean, onclose?: () => void, describe?: string}} [options]
 */
export function openDialog(title, { sheet = false, wide = false, onclose = () => {}, describe = "" } = {}) {
  const id = uid("dialog");
  const body = h("div", { class: "dialog-body" });
  const foot = h("div", { class: "dialog-foot" });
  const before = document.activeElement;
  const heading = h("h2", { id, tabindex: "-1" }, title);
  const element = h(
    "dialog",
    { class: sheet ? "sheet" : wide ? "dialog dialog-wide" : "dialog", "aria-labelledby": id },
    h("div", { class: "dialog-head" }, heading, iconButton("Close", "close", () => element.close())),
    describe && h("p", { class: "dialog-lead" }, describe),
    body,
    foot,
  );
  element.addEventListener("close", () => {
    element.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
    onclose();
  });
  element.addEventListener("mousedown", (event) => {
    // Outside a sheet means: done looking. A dialog with a question stays.
    if (sheet && event.target === element && outside(element, event)) element.close();
  });
  document.body.append(element);
  element.showModal();
  heading.focus();
  return {
    element,
    body,
    foot,
    heading,
    close: () => element.close(),
    /** Put focus on the first field or button. */
    focus: () => element.querySelector("[data-autofocus]")?.focus(),
  };
}

function outside(element, event) {
  const box = element.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}

/**
 * Ask before something is done; the promise says whether it was. `work` runs while the dialog is open; it is
 * given a place there for its progress, and its error is shown there. `typed`: what has to be typed first, for what cannot be taken back.
 * @param {{title: string, text: any, action: string, danger?: boolean, typed?: string, work: (place: HTMLElement) => Promise<any>}} options
 */
export function confirm({ title, text, action, danger = false, typed = "", work }) {
  return new Promise((resolve) => {
    let done = false;
    const dialog = openDialog(title, { onclose: () => resolve(done) });
    const faults = h("div");
    const input = typed
      ? h("input", { type: "text", autocomplete: "off", spellcheck: "false", id: uid("typed"), "data-autofocus": true })
      : null;
    const go = button(action, { kind: danger ? "danger" : "primary", "data-autofocus": typed ? null : true });
    go.addEventListener("click", () =>
      busy(go, async () => {
        try {
          await work(faults);
          done = true;
          dialog.close();
        } catch (error) {
          faults.replaceChildren(failure(error));
        }
      }),
    );
    if (input) {
      go.disabled = true;
      input.addEventListener("input", () => {
        go.disabled = input.value !== typed;
      });
    }
    add(dialog.body, [
      typeof text === "string" ? h("p", null, text) : text,
      input && h("div", { class: "field" }, h("label", { for: input.id }, "Type ", h("code", null, typed), " to go on"), input),
      faults,
    ]);
    add(dialog.foot, [button("Cancel", { onclick: () => dialog.close() }), go]);
    dialog.focus();
  });
}
