/** How a receiver knows HookMQ: signature and secret, headers, credentials; and how HookMQ checks it (TLS). */

import { h } from "../dom.js";
import { input, rows } from "../form.js";
import { bound } from "./bound.js";

/**
 * Headers of every request. Those whose value is not shown (******) stay as they are until they are changed.
 * @param {any} document
 * @param {() => void} onchange
 */
export function headersPart(document, onchange) {
  const given = Object.entries(document.headers || {});
  const list = rows({
    label: "Header",
    add: "Add a header",
    none: "None but those that HookMQ sets itself.",
    values: given,
    onchange,
    make: (value, changed) => {
      const name = input({ value: value ? value[0] : "", placeholder: "X-Plant", "aria-label": "Header's name", oninput: changed, maxlength: 256 });
      const text = input({ value: value ? value[1] : "", placeholder: "value, or ${clientid}", "aria-label": "Header's value", oninput: changed, maxlength: 8190 });
      return {
        element: h("div", { class: "pair" }, name, text),
        value: () => (name.value.trim() ? [name.value.trim(), text.value] : null),
      };
    },
  });
  return {
    element: list.element,
    write(target) {
      const found = list.values();
      if (found.length) target.headers = Object.fromEntries(found);
      else delete target.headers;
    },
  };
}

const SCHEMES = [
  ["", "The format's own, else Standard Webhooks"],
  ["standard", "Standard Webhooks (webhook-signature)"],
  ["mes", "MachShop (x-mes-signature)"],
  ["eryxon", "Eryxon (X-Eryxon-Signature)"],
  ["hmac", "HMAC in a header of its own"],
  ["none", "None: requests are not signed"],
];

/**
 * @param {any} document
 * @param {{isNew: boolean, onchange: () => void}} options
 */
export function signaturePart(document, { isNew, onchange }) {
  const given = Array.isArray(document.signature) ? document.signature : document.signature ? [document.signature] : [];
  const several = given.length > 1;
  const first = given[0];
  const scheme = bound(
    { path: "/signature", label: "Signature", kind: "select", options: several ? [["keep", "Several, as they are"], ...SCHEMES] : SCHEMES, initial: "" },
    { signature: several ? "keep" : isNew ? "" : given.length === 0 ? "none" : first.scheme || first },
    changed,
  );
  const at = typeof first === "object" ? { s: first } : { s: {} };
  const header = bound({ path: "/s/header", label: "Header", placeholder: "x-signature" }, at, onchange);
  const encoding = bound({ path: "/s/encoding", label: "As", kind: "select", options: [["hex", "Hex digits"], ["base64", "Base64"]], initial: "hex" }, at, onchange);
  const prefix = bound({ path: "/s/prefix", label: "Before it", placeholder: "nothing, or sha256=", optional: true }, at, onchange);
  const template = bound({ path: "/s/template", label: "What is signed", placeholder: "{body}", hint: "{id}, {timestamp} and {body} stand for theirs." }, at, onchange);
  const secret = bound(
    {
      path: "/secret",
      label: isNew ? "Secret" : "New secret",
      kind: "password",
      placeholder: isNew ? "made for you, and shown once" : "as it is",
      hint: isNew ? "Leave it empty unless the receiver has given you one." : "Rotate the secret instead, to keep the old one for a while.",
      optional: true,
    },
    {},
    onchange,
  );
  const own = [header, encoding, prefix, template];
  function shown() {
    for (const one of own) one.element.hidden = scheme.control.value !== "hmac";
    secret.element.hidden = scheme.control.value === "none";
  }
  function changed() {
    shown();
    onchange();
  }
  shown();
  return {
    element: h("div", { class: "form-grid" }, [scheme, secret, ...own].map((one) => one.element)),
    fields: [secret, ...own.map((one) => ({ ...one, path: one.path.replace("/s/", "/signature/"), fault: one.fault })), scheme],
    write(target) {
      const chosen = scheme.control.value;
      delete target.secret;
      if (chosen === "keep") return;
      if (chosen === "none") {
        delete target.signature;
        if (isNew || given.length) target.secret = null;
        return;
      }
      if (chosen === "hmac") {
        const made = {};
        for (const one of own) one.write(made);
        target.signature = [{ ...(typeof first === "object" && first.scheme === "hmac" ? first : {}), scheme: "hmac", ...made.s }];
      } else if (chosen === "") {
        delete target.signature;
      } else if (!(given.length === 1 && given[0] === chosen)) {
        target.signature = [chosen];
      }
      if (secret.control.value) target.secret = secret.control.value;
    },
  };
}

const KINDS = [
  ["", "None"],
  ["basic", "User name and password"],
  ["bearer", "A token"],
  ["oauth2", "OAuth 2 (client credentials)"],
];
const BY_KIND = {
  "": [],
  basic: ["username", "password"],
  bearer: ["token"],
  oauth2: ["token_url", "client_id", "client_secret", "scope"],
};

/**
 * @param {any} document
 * @param {{onchange: () => void}} options
 */
export function credentialsPart(document, { onchange }) {
  const given = document.credentials || {};
  const kind = bound({ path: "/credentials/kind", label: "How HookMQ signs in at the receiver", kind: "select", options: KINDS, initial: "" }, document, changed);
  const keep = given.kind ? "as it is" : "";
  const secret = (name, label) => bound({ path: `/credentials/${name}`, label, kind: "password", placeholder: keep }, {}, onchange);
  const plain = (name, label, more = {}) => bound({ path: `/credentials/${name}`, label, ...more }, document, onchange);
  const fields = {
    username: plain("username", "User name"),
    password: secret("password", "Password"),
    token: secret("token", "Token"),
    token_url: plain("token_url", "Token URL", { placeholder: "https://login.example/oauth2/token" }),
    client_id: plain("client_id", "Client id"),
    client_secret: secret("client_secret", "Client secret"),
    scope: plain("scope", "Scope", { optional: true }),
  };
  const verify = bound(
    { path: "/ssl/verify_peer", label: "Check the receiver's certificate", kind: "check", initial: "true", hint: "Without it anybody between can read and change what is sent." },
    document,
    onchange,
  );
  const authority = bound({ path: "/ssl/cacertfile", label: "Authorities file", placeholder: "those of the system", optional: true, hint: "On HookMQ's machine." }, document, onchange);
  const proxy = bound({ path: "/proxy", label: "HTTP proxy", placeholder: "http://host:3128", optional: true }, document, onchange);
  function shown() {
    const names = BY_KIND[kind.control.value] || [];
    for (const [name, one] of Object.entries(fields)) one.element.hidden = !names.includes(name);
  }
  function changed() {
    shown();
    onchange();
  }
  shown();
  const all = [kind, ...Object.values(fields), authority, proxy, verify];
  return {
    element: h("div", { class: "form-grid" }, all.map((one) => one.element)),
    fields: all,
    write(target) {
      const chosen = kind.control.value;
      const before = target.credentials;
      delete target.credentials;
      if (chosen) {
        target.credentials = before && before.kind === chosen ? { ...before } : { kind: chosen };
        for (const name of BY_KIND[chosen]) {
          const one = fields[name];
          if (one.control.type !== "password" || one.control.value) one.write(target);
        }
      }
      for (const one of [verify, authority, proxy]) one.write(target);
    },
  };
}
