/** What people call endpoints, by id: asked once for each, and shown in place of ids that nobody can read. */

import * as api from "./api.js";
import { h } from "./dom.js";

const KEEP_MS = 60_000;
const known = new Map();

/** Get to know these ids; what cannot be asked keeps its id. */
export async function know(ids, signal) {
  const now = Date.now();
  const asked = [...new Set(ids)].filter((id) => id && !(known.get(id)?.until > now));
  await Promise.all(
    asked.map(async (id) => {
      let name = "";
      try {
        name = (await api.get(api.paths.receiver(id), { signal })).description;
      } catch (error) {
        if (api.aborted(error)) throw error;
      }
      known.set(id, { name, until: now + KEEP_MS });
    }),
  );
}

/** Its description, else its id. */
export function nameOf(id) {
  return known.get(id)?.name || id.replace(api.PUBLISHER, "");
}

/** A link to its page. */
export function endpointLink(id) {
  const [page, name] = id.startsWith(api.PUBLISHER) ? ["publishers", id.slice(api.PUBLISHER.length)] : ["endpoints", id];
  return h("a", { href: `#/${page}/${encodeURIComponent(name)}`, title: id }, nameOf(id));
}
