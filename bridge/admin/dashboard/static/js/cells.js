/** Cells that several tables have. */

import { h } from "./dom.js";
import * as f from "./format.js";

/** A time that opens the row: `open(row)`. */
export function timeCell(at, open) {
  return h("button", { type: "button", class: "link-button", onclick: open }, f.when(at, { millis: true }));
}

/** Where an event came from: its client, and below it its topic. */
export function fromCell(row) {
  return [
    row.clientid ? h("span", { title: row.clientid }, row.clientid) : null,
    row.topic ? h("span", { class: "cell-sub", title: row.topic }, row.topic) : null,
  ];
}

/** What names a row, as a link or a button, with a tag where it stands in the file, and a line below it. */
export function nameCell(named, row, below) {
  return [
    h(
      "div",
      { class: "cell-line" },
      named,
      row.source === "file" ? h("span", { class: "tag", title: "Made in the file, and changed there alone" }, "File") : null,
    ),
    h("div", { class: "cell-sub", title: below }, below),
  ];
}
