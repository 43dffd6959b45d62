/**
 * Elements without markup. Whatever a device, a receiver or a user has sent becomes a text node or the value
 * of a harmless attribute: there is no way from here to HTML, to a script, or to an inline style.
 */

const SVG = "http://www.w3.org/2000/svg";
/** Set as properties, since the attribute is only their first value. */
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "readOnly", "open", "max"]);
const FORBIDDEN = new Set(["style", "srcdoc"]);

/**
 * An HTML element. `props`: attributes; `onclick` and the like are listeners, false and null leave one out.
 * @param {string} tag
 * @param {Record<string, any> | null} [props]
 * @param {...any} children texts, numbers, nodes, lists of them; null and false are left out
 */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      if (typeof value !== "function") throw new TypeError(`${name}: expected a function`);
      element.addEventListener(name.slice(2), value);
    } else if (FORBIDDEN.has(name)) {
      throw new TypeError(`${name}: not here`);
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
    } else if (name === "href" && !/^(#|\/(?!\/))/.test(String(value))) {
      throw new TypeError("href: expected a place in the dashboard");
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  add(element, children);
  return element;
}

/** Append children as `h` takes them. */
export function add(parent, children) {
  for (const child of Array.isArray(children) ? children : [children]) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(parent, child);
    else parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Replace all children. */
export function fill(parent, ...children) {
  parent.replaceChildren();
  add(parent, children);
  return parent;
}

/** Replace the children only if they would differ: keeps focus and selection where nothing has changed. */
export function patch(parent, ...children) {
  const next = document.createElement(parent.tagName === "TD" ? "td" : "div");
  add(next, children);
  if (parent.childNodes.length === next.childNodes.length) {
    let same = true;
    for (let i = 0; i < next.childNodes.length && same; i++) {
      same = parent.childNodes[i].isEqualNode(next.childNodes[i]);
    }
    if (same) return parent;
  }
  parent.replaceChildren(...next.childNodes);
  return parent;
}

/** Set a text only if it differs. */
export function setText(element, text) {
  const value = String(text);
  if (element.textContent !== value) element.textContent = value;
}

let count = 0;

/** An id that no other element has. */
export function uid(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

const PATHS = {
  overview: "M3 13h4v4H3zM8 8h4v9H8zM13 3h4v14h-4z",
  endpoints: "M4 6h8a4 4 0 0 1 0 8H9m0 0 2.500-2.500M9 14l2.500 2.500M4 6l2-2M4 6l2 2",
  logs: "M4 5h12M4 10h12M4 15h8",
  dead: "M10 3.500 17.500 16.500h-15zM10 8v4M10 14.200v.1",
  live: "M3 10h3l2-5 4 10 2-5h3",
  events: "M5 3.500h7l3 3v10H5zM12 3.500v3h3M7.500 10.500h5M7.500 13.500h5",
  clients: "M4 5h12v7H4zM7 16h6M10 12v4",
  subscriptions: "M4 15a6 6 0 0 1 6-6M4 15v0M4 10a10 10 0 0 1 1-1M4 5a11 11 0 0 1 11 11M4 10a6 6 0 0 1 6 6",
  publishers: "M10 16V4m0 0L6 8m4-4 4 4M4 16h12",
  menu: "M3 5.500h14M3 10h14M3 14.500h14",
  close: "M5 5l10 10M15 5 5 15",
  copy: "M7 7V4h9v9h-3M4 7h9v9H4z",
  check: "M4 10.500 8 14.500 16 6",
  warn: "M10 3.500 17.500 16.500h-15zM10 8v4M10 14.200v.1",
  cross: "M10 2.800a7.200 7.200 0 1 0 0 14.400 7.200 7.200 0 0 0 0-14.400zM7.500 7.500l5 5M12.500 7.500l-5 5",
  info: "M10 2.800a7.200 7.200 0 1 0 0 14.400 7.200 7.200 0 0 0 0-14.400zM10 9v5M10 6.300v.1",
  pause: "M7 4v12M13 4v12",
  play: "M6 4l10 6-10 6z",
  refresh: "M16 6.500A7 7 0 1 0 17 10M16 3v3.500h-3.500",
  plus: "M10 4v12M4 10h12",
  chevron: "M8 5l5 5-5 5",
  theme: "M10 3v1.500M10 15.500V17M3 10h1.500M15.500 10H17M5 5l1 1M14 14l1 1M5 15l1-1M14 6l1-1M10 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  lock: "M6 9V6.500a4 4 0 0 1 8 0V9M4.500 9h11v7.500h-11z",
};

/** A small picture beside a text; it says nothing by itself. */
export function icon(name, className = "icon") {
  return s(
    "svg",
    { class: className, viewBox: "0 0 20 20", "aria-hidden": "true", focusable: "false" },
    s("path", { d: PATHS[name] }),
  );
}
