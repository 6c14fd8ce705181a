// @ts-check
/** The page's settings, in a dialog: how it looks, and the server's settings as ComfyUI's dialog has them. */

import { h, icon } from "../../../web/panel/dom.js";
import { createTranslate } from "../../../web/panel/strings.js";
import { createSettingsForm } from "./settings-form.js";
import { chooseTheme, keptTheme, THEMES } from "./theme.js";
import { say } from "./words.js";

/** @typedef {import("./words.js").Locale} Locale */

/**
 * @param {{ transport: import("../../../web/types").Transport, messages: any, locale: () => Locale }} options
 * @returns {() => Promise<void>} opens the dialog; waits for the server's settings
 */
export function createSettings({ transport, messages, locale }) {
  const dialog = h("dialog", { class: "settings", "aria-labelledby": "settings-title" });
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  const post = (/** @type {string} */ path, /** @type {unknown} */ body) =>
    transport.fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });

  return async () => {
    const language = locale();
    const t = createTranslate(messages, language);
    const close = h(
      "button",
      { type: "button", class: "quiet icon-button", "aria-label": say(language, "close") },
      "✕",
    );
    close.addEventListener("click", () => dialog.close());
    const server = h("div", {});
    dialog.replaceChildren(
      h("header", {}, h("h2", { id: "settings-title", text: say(language, "settings") }), close),
      themeChoice(language),
      server,
    );
    dialog.showModal();
    const tell = (/** @type {string} */ words) => server.replaceChildren(h("p", { class: "set-end", text: words }));
    try {
      const response = await transport.fetch("/copilot-pulse/settings");
      const { settings: rows, webhook, error } = await response.json().catch(() => ({}));
      if (!response.ok) return tell(say(language, "noSettings", { reason: error ?? `HTTP ${response.status}` }));
      const text = (/** @type {string} */ key) => messages[language]?.settings?.[key] ?? messages.en?.settings?.[key];
      server.replaceChildren(
        createSettingsForm({ rows, webhook: webhook === true, t, text, post }),
        h("p", { class: "set-end", text: t("settings.untilEnd") }),
      );
    } catch {
      tell(say(language, "unreachable"));
    }
  };
}

/** @param {Locale} locale */
function themeChoice(locale) {
  const kept = keptTheme();
  const choices = THEMES.map((theme) => {
    const input = h("input", { type: "radio", name: "theme", value: theme, checked: theme === kept });
    input.addEventListener("change", () => chooseTheme(theme));
    return h("label", {}, input, h("span", { text: say(locale, theme) }));
  });
  return h("fieldset", { class: "themes" }, h("legend", { text: say(locale, "theme") }), ...choices);
}

/** @param {() => void} onClick */
export function settingsButton(onClick) {
  const button = h("button", { type: "button", class: "quiet icon-button" }, icon("settings"));
  button.addEventListener("click", onClick);
  return {
    button,
    /** @param {Locale} locale */
    tell(locale) {
      button.setAttribute("aria-label", say(locale, "settings"));
      button.title = say(locale, "settings");
    },
  };
}
