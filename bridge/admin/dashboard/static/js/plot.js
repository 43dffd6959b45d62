/**
 * Small plots of the last hour in SVG. Each has a title and a description in words, the values under the
 * pointer, and the same figures as a table on demand.
 */

import { fill, h, s, setText, uid } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 132;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;
const SPAN_MS = 3600 * 1000;
const GAP_MS = 30 * 1000;
const TABLE_STEP_MS = 60 * 1000;

/** What a series looks like, by more than its colour: the first one is an area, the others are lines. */
function swatch(className, filled) {
  return s(
    "svg",
    { width: 16, height: 10, "aria-hidden": "true" },
    filled ? s("path", { class: `plot-area plot-swatch ${className}`, d: "M0 2H16V10H0Z" }) : null,
    s("path", { class: `plot-line ${className}`, d: filled ? "M0 2H16" : "M0 5H16" }),
  );
}

/**
 * @typedef {{key: string, label: string, className: string}} Series
 * @param {{title: string, series: Series[], format: (value: number) => string, floor?: number, binary?: boolean}} options
 *   `floor`: the least that the axis reaches up to; `binary`: its steps are powers of two
 */
export function createPlot({ title, series, format, floor = 1, binary = false }) {
  const titleId = uid("plot");
  const descId = uid("plot-desc");
  const desc = s("desc", { id: descId });
  const grid = s("g", { class: "plot-grid" });
  const lines = s("g");
  const cursor = s("line", { class: "plot-cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const drawing = s(
    "svg",
    { class: "plot", role: "img", "aria-labelledby": `${titleId} ${descId}`, height: HEIGHT, width: "100%" },
    s("title", { id: titleId }, title),
    desc,
    grid,
    lines,
    cursor,
  );
  const readout = h("span", { class: "plot-readout" });
  const paths = series.map(({ className }, at) => ({
    area: at === 0 ? s("path", { class: `plot-area ${className}` }) : null,
    line: s("path", { class: `plot-line ${className}` }),
  }));
  for (const { area } of paths) if (area) lines.append(area);
  for (const { line } of paths) lines.append(line);
  const figures = series.map(() => h("span", { class: "plot-figure" }));
  const legend =
    series.length > 1
      ? h(
          "ul",
          { class: "plot-legend" },
          series.map(({ label, className }, at) =>
            h("li", null, swatch(className, at === 0), label, figures[at]),
          ),
        )
      : figures[0];
  const tablePlace = h("div", { class: "plot-table", id: uid("plot-table"), hidden: true });
  const toggle = h(
    "button",
    { type: "button", class: "link-button", "aria-expanded": "false", "aria-controls": tablePlace.id, onclick: () => showTable(tablePlace.hidden) },
    "Table",
    h("span", { class: "visually-hidden" }, ` of ${title}`),
  );
  const element = h(
    "section",
    { class: "plot-card card", "aria-label": title },
    h("div", { class: "plot-head" }, h("h2", null, title), legend, readout, toggle),
    drawing,
    tablePlace,
  );

  let points = [];
  let width = 0;
  let hover = null;

  const x = (t) => LEFT + ((t - (last() - SPAN_MS)) / SPAN_MS) * (width - LEFT - RIGHT);
  const last = () => (points.length ? points[points.length - 1].t : Date.now());

  function nice(value) {
    if (binary) {
      let unit = 1024;
      while (unit * 1024 <= value) unit *= 1024;
      return nice10(value / unit) * unit;
    }
    return nice10(value);
  }

  function nice10(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
  }

  function draw() {
    if (width < LEFT + RIGHT + 10) return;
    let most = floor;
    for (const point of points) for (const { key } of series) if (point[key] > most) most = point[key];
    const top = nice(most);
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    drawGrid(top, y);
    series.forEach(({ key }, at) => {
      const parts = [];
      const areas = [];
      let run = [];
      const flush = () => {
        if (run.length === 0) return;
        parts.push(`M${run.join("L")}`);
        const from = run[0].split(",")[0];
        const to = run[run.length - 1].split(",")[0];
        areas.push(`M${from},${y(0)}L${run.join("L")}L${to},${y(0)}Z`);
        run = [];
      };
      let before = null;
      for (const point of points) {
        const value = point[key];
        if (value === null || value === undefined || (before !== null && point.t - before > GAP_MS)) flush();
        if (value !== null && value !== undefined) {
          run.push(`${x(point.t).toFixed(1)},${y(Math.min(value, top)).toFixed(1)}`);
          before = point.t;
        }
      }
      flush();
      paths[at].line.setAttribute("d", parts.join(""));
      if (paths[at].area) paths[at].area.setAttribute("d", areas.join(""));
    });
    describe();
    shown();
  }

  function drawGrid(top, y) {
    const made = [];
    for (const part of [0, 0.5, 1]) {
      const value = top * part;
      made.push(
        s("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
      );
    }
    for (const minutes of width > 420 ? [60, 45, 30, 15, 0] : [60, 30, 0]) {
      const at = x(last() - minutes * 60000);
      const anchor = minutes === 60 ? "start" : minutes === 0 ? "end" : "middle";
      made.push(s("text", { x: at, y: HEIGHT - 4, "text-anchor": anchor }, minutes === 0 ? "now" : `−${minutes} min`));
    }
    fill(grid, made);
  }

  function describe() {
    if (points.length === 0) return setText(desc, "No figures yet.");
    const now = points[points.length - 1];
    const texts = series.map(({ key, label }) => {
      let most = points[0];
      for (const point of points) if ((point[key] ?? 0) > (most[key] ?? 0)) most = point;
      return `${label}: now ${format(now[key] ?? 0)}, at most ${format(most[key] ?? 0)} at ${clock(most.t)}`;
    });
    return setText(desc, `The last hour. ${texts.join(". ")}.`);
  }

  function nearest(t) {
    let low = 0;
    let high = points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle].t < t) low = middle + 1;
      else high = middle;
    }
    const right = points[low];
    const left = points[low - 1];
    return left && Math.abs(left.t - t) < Math.abs(right.t - t) ? left : right;
  }

  function shown() {
    const point = hover === null || points.length === 0 ? points[points.length - 1] : nearest(hover);
    if (!point) return setText(readout, "");
    series.forEach(({ key }, at) => setText(figures[at], format(point[key] ?? 0)));
    setText(readout, hover === null ? "" : `at ${clock(point.t)}`);
    cursor.setAttribute("visibility", hover === null ? "hidden" : "visible");
    if (hover !== null) {
      cursor.setAttribute("x1", x(point.t));
      cursor.setAttribute("x2", x(point.t));
    }
    return undefined;
  }

  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT);
    hover = last() - SPAN_MS + Math.min(1, Math.max(0, part)) * SPAN_MS;
    shown();
  });
  drawing.addEventListener("pointerleave", () => {
    hover = null;
    shown();
  });

  function showTable(on) {
    tablePlace.hidden = !on;
    toggle.setAttribute("aria-expanded", String(on));
    if (on) fillTable();
  }

  function fillTable() {
    const rows = [];
    let until = Infinity;
    for (let i = points.length - 1; i >= 0; i--) {
      if (points[i].t < until) {
        rows.push(points[i]);
        until = points[i].t - TABLE_STEP_MS + 1;
      }
    }
    fill(
      tablePlace,
      h(
        "div",
        { class: "table-scroll", tabindex: "0", role: "region", "aria-label": `${title}, as a table` },
        h(
          "table",
          { class: "table" },
          h("caption", { class: "visually-hidden" }, `${title}, a row for each minute`),
          h("thead", null, h("tr", null, h("th", { scope: "col" }, "Time"), series.map(({ label }) => h("th", { scope: "col", class: "num" }, label)))),
          h("tbody", null, rows.map((point) => h("tr", null, h("th", { scope: "row" }, clock(point.t)), series.map(({ key }) => h("td", { class: "num" }, format(point[key] ?? 0)))))),
        ),
      ),
    );
  }

  const observer = new ResizeObserver(([entry]) => {
    const next = Math.round(entry.contentRect.width);
    if (next !== width) {
      width = next;
      draw();
    }
  });
  observer.observe(drawing);

  return {
    element,
    /** Points in the order of their time: {t: Unix ms, <key>: number | null}. */
    set(next) {
      points = next;
      draw();
    },
    close: () => observer.disconnect(),
  };
}
