// Before anything is painted: the theme that was chosen here, or the system's. Not a module, so that it blocks.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is switched off
    }
  };
  const apply = () => {
    const chosen = stored();
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
    root.toggleAttribute("data-dark", chosen ? chosen === "dark" : system.matches);
  };
  apply();
  system.addEventListener("change", apply);
  globalThis.toggleTheme = () => {
    const next = root.hasAttribute("data-dark") ? "light" : "dark";
    try {
      if (next === (system.matches ? "dark" : "light")) localStorage.removeItem("theme");
      else localStorage.setItem("theme", next);
    } catch {
      root.dataset.theme = next;
    }
    apply();
    document.dispatchEvent(new Event("themechange"));
  };
})();
