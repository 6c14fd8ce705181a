// @ts-check
/** Light, dark, or as the system has it: chosen by the reader, and remembered. */

export const THEMES = /** @type {const} */ (["system", "light", "dark"]);

/** @typedef {(typeof THEMES)[number]} Theme */

const KEY = "copilot-pulse.theme";

/** The theme that was chosen before. @returns {Theme} */
export function keptTheme() {
  try {
    const kept = localStorage.getItem(KEY);
    return THEMES.find((theme) => theme === kept) ?? "system";
  } catch {
    return "system"; // storage is forbidden here
  }
}

/** Show it; every colour of the page and the panel follows. @param {Theme} theme */
export function showTheme(theme) {
  document.documentElement.style.colorScheme = theme === "system" ? "light dark" : theme;
}

/** Show it, and remember it for the next visit. @param {Theme} theme */
export function chooseTheme(theme) {
  showTheme(theme);
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // The choice lasts as long as the page.
  }
}
