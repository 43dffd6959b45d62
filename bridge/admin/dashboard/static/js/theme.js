/* Runs before the first paint, so that a chosen theme does not flash; "auto" follows the system. */
(() => {
  "use strict";
  const KEY = "hookmq.theme";
  let chosen = "auto";
  try {
    chosen = localStorage.getItem(KEY) || "auto";
  } catch {
    // Storage may be forbidden: the system's theme it is.
  }
  const apply = (value) => {
    if (value === "light" || value === "dark") document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
  };
  apply(chosen);
  window.hookmqTheme = {
    get: () => chosen,
    set: (value) => {
      chosen = value;
      apply(value);
      try {
        localStorage.setItem(KEY, value);
      } catch {
        // It holds until the page is loaded again.
      }
    },
  };
})();
