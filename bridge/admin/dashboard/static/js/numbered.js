/** Lists of `/api/v4` and `/api/v5`, which are paged by number: {data, meta: {page, limit, count}}. */

import { plural } from "./format.js";
import { createPager } from "./table.js";

export function numberedList({ table, noun, load, signal, size = 50 }) {
  let number = 1;
  let running = 0;
  const pager = createPager({
    onmove: (step) => {
      number = Math.max(1, number + step);
      refresh();
    },
  });

  async function refresh({ quiet = false } = {}) {
    const mine = ++running;
    if (!quiet) table.setLoading();
    try {
      const { data, meta } = await load(number, size);
      if (mine !== running || signal.aborted) return;
      if (data.length === 0 && number > 1) {
        number = Math.max(1, Math.ceil(meta.count / size));
        await refresh({ quiet });
        return;
      }
      table.setRows(data);
      const from = (number - 1) * size + 1;
      pager.set({
        label: data.length ? `${from.toLocaleString("en")}–${(from + data.length - 1).toLocaleString("en")} of ${plural(meta.count, ...noun)}` : "",
        hasBack: number > 1,
        hasNext: number * size < meta.count,
      });
    } catch (error) {
      if (error.name === "AbortError" || mine !== running) return;
      table.setError(error, () => refresh());
    }
  }

  return {
    pager,
    refresh,
    restart() {
      number = 1;
      return refresh();
    },
  };
}
