// @ts-check
/** Puts the standalone host's page together: the chat at the left, the same panel as in ComfyUI at the right. */

import { h, setText } from "../../../web/panel/dom.js";
import { createPanel } from "../../../web/panel/panel.js";
import { StandaloneTransport } from "./transport.js";
import { createTranslate } from "../../../web/panel/strings.js";
import { createChat } from "./chat.js";
import { keepLocale, say, startLocale } from "./words.js";

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

async function start() {
  const transport = new StandaloneTransport();
  const load = async (/** @type {string} */ path) => (await transport.fetch(path)).json();
  const [info, messages] = await Promise.all([load("/standalone"), load("/i18n")]);

  let locale = startLocale();
  const chat = createChat({ root: byId("chat"), info, locale });
  const names = { host: "standalone" };
  const panel = createPanel({ root: byId("panel"), transport, t: createTranslate(messages, locale), locale, names });
  transport.addEventListener("update", (event) => chat.show(/** @type {CustomEvent} */ (event).detail));

  // On a narrow screen one of the two is shown at a time.
  const tabs = /** @type {const} */ (["chat", "panel"]).map((name) => {
    const tab = h("button", { type: "button", "aria-controls": name });
    tab.addEventListener("click", () => select(name));
    return { name, tab };
  });
  byId("tabs").replaceChildren(...tabs.map(({ tab }) => tab));
  /** @param {"chat" | "panel"} shown */
  function select(shown) {
    document.body.dataset.view = shown;
    for (const { name, tab } of tabs) tab.setAttribute("aria-pressed", String(name === shown));
  }

  function tell() {
    document.documentElement.lang = locale;
    const asked = say(locale, "asking", { model: info.model, host: info.host });
    setText(byId("model"), info.scripted ? say(locale, "scripted") : asked);
    setText(byId("language"), say(locale, "other"));
    byId("language").setAttribute("aria-label", say(locale, "otherLabel"));
    byId("tabs").setAttribute("aria-label", say(locale, "views"));
    for (const { name, tab } of tabs) setText(tab, say(locale, name));
  }

  byId("language").addEventListener("click", () => {
    locale = locale === "en" ? "zh" : "en";
    keepLocale(locale);
    tell();
    chat.retell(locale);
    panel.setLocale(createTranslate(messages, locale), locale);
  });
  select("chat");
  tell();
}

start().catch((error) => {
  byId("chat").replaceChildren(h("p", { class: "broken", role: "alert", text: `Copilot Pulse: ${error.message}` }));
});
