/** Numbers, sizes and times as people read them; all in the user's own language settings and time zone. */

import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const two = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

/** 12,345 */
export function count(value) {
  return value === null || value === undefined ? "–" : whole.format(value);
}

/** Per second: 0, 0.25, 3.1, 1,234 */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  return value < 1 ? two.format(value) : value < 100 ? one.format(value) : whole.format(value);
}

/** 0.9987 → 99.8 %: rounded down, so that 100 % means all. */
export function share(value) {
  if (value === null || value === undefined) return "–";
  return `${one.format(Math.floor(value * 1000) / 10)} %`;
}

/** Bytes: 1.5 GB (of 1024, as in the configuration) */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  let left = value;
  while (left >= 1024 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${at === 0 || left >= 100 ? whole.format(left) : one.format(left)} ${units[at]}`;
}

/** Seconds: 850 ms, 12 s, 3 min 20 s, 5 h 2 min, 3 d 4 h */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0005) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${one.format(seconds)} s`;
  const total = Math.round(seconds);
  if (total < 60) return `${total} s`;
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor((total % 86400) / 3600), "h"],
    [Math.floor((total % 3600) / 60), "min"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts
    .slice(first, first + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${n} ${unit}`)
    .join(" ");
}

/** Milliseconds: 0.8 ms, 12 ms, 1.5 s */
export function millis(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return duration(value / 1000);
  if (value > 0 && value < 0.1) return "<0.1 ms";
  return `${value < 10 ? one.format(value) : whole.format(value)} ms`;
}

const pad = (n, width = 2) => String(n).padStart(width, "0");

function date(value) {
  const made = value instanceof Date ? value : new Date(value);
  return Number.isNaN(made.getTime()) ? null : made;
}

/** 14:03:22.123 today, else 2026-03-01 14:03:22 */
export function clock(value, { millis: exact = false } = {}) {
  const made = date(value);
  if (made === null) return "–";
  const time = `${pad(made.getHours())}:${pad(made.getMinutes())}:${pad(made.getSeconds())}`;
  const text = exact ? `${time}.${pad(made.getMilliseconds(), 3)}` : time;
  return made.toDateString() === new Date().toDateString() ? text : `${day(made)} ${text}`;
}

function day(made) {
  return `${made.getFullYear()}-${pad(made.getMonth() + 1)}-${pad(made.getDate())}`;
}

/** "3 min ago", "in 2 h" */
export function ago(value, now = Date.now()) {
  const made = date(value);
  if (made === null) return "–";
  const seconds = (now - made.getTime()) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  const text = duration(Math.max(1, Math.round(Math.abs(seconds)))).split(" ").slice(0, 2).join(" ");
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** A <time> whose title has it in UTC to the millisecond. */
export function when(value, { relative = false, millis: exact = false } = {}) {
  const made = value ? date(value) : null;
  if (made === null) return h("span", { class: "muted" }, "–");
  return h(
    "time",
    { datetime: made.toISOString(), title: `${made.toISOString()} (UTC)` },
    relative ? ago(made) : clock(made, { millis: exact }),
  );
}

/** What <input type="datetime-local"> holds, from RFC 3339. */
export function toLocalInput(value) {
  const made = value ? date(value) : null;
  if (made === null) return "";
  return `${day(made)}T${pad(made.getHours())}:${pad(made.getMinutes())}:${pad(made.getSeconds())}`;
}

/** RFC 3339 in UTC of what such an input holds; "" where it holds nothing. */
export function fromLocalInput(text) {
  const made = text ? date(text) : null;
  return made === null ? "" : made.toISOString();
}

/** One endpoint, two endpoints */
export function plural(n, singular, many = `${singular}s`) {
  return `${count(n)} ${n === 1 ? singular : many}`;
}

/** JSON with two spaces, or the text itself where it is none. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** With a capital letter and a full stop. */
export function sentence(text) {
  const trimmed = String(text || "something went wrong").trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
