"use strict";
// Light, dark, or as the system says; charts listen for "themechange".

const theme = (() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");

  const stored = () => {
    try { return localStorage.getItem("rewardgap-theme"); } catch { return null; }
  };
  const store = (value) => {
    try { localStorage.setItem("rewardgap-theme", value); } catch { /* a private window */ }
  };
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const announce = () => {
    button.setAttribute("aria-pressed", String(isDark()));
    document.dispatchEvent(new Event("themechange"));
  };

  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
  button.hidden = false;
  button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    store(root.dataset.theme);
    announce();
  });
  system.addEventListener("change", announce);

  return { isDark, colour: (name) => getComputedStyle(root).getPropertyValue(name).trim() };
})();
