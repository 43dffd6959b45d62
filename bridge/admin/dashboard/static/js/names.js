/** What people call endpoints, by id: asked once for each, and shown in place of ids that nobody can read. */

import * as api from "./api.js";
import { h } from "./dom.js";

const KEEP_MS = 60_000;
const PUBLISHER = "mqtt_publishers.";
const known = new Map();

/** Get to know these ids; what cannot be asked keeps its id. */
export async function know(ids, signal) {
  const now = Date.now();
  const asked = [...new Set(ids)].filter((id) => id && !(known.get(id)?.until > now));
  await Promise.all(
    asked.map(async (id) => {
      const path = id.startsWith(PUBLISHER)
        ? `${api.paths.publishers}/${encodeURIComponent(id.slice(PUBLISHER.length))}`
        : api.paths.endpoint(id);
      let name = "";
      try {
        name = (await api.get(path, { signal })).description;
      } catch (error) {
        if (api.aborted(error)) throw error;
      }
      known.set(id, { name, until: now + KEEP_MS });
    }),
  );
}

/** Its description, else its id. */
export function nameOf(id) {
  return known.get(id)?.name || id.replace(PUBLISHER, "");
}

/** A link to its page. */
export function endpointLink(id) {
  const place = id.startsWith(PUBLISHER) ? `#/publishers/${encodeURIComponent(id.slice(PUBLISHER.length))}` : `#/endpoints/${encodeURIComponent(id)}`;
  return h("a", { href: place, title: id }, nameOf(id));
}
