// @ts-check
/** Puts the standalone host's page together: the chat at the left, the same panel as in ComfyUI at the right. */

import { Attention } from "../../../web/panel/attention.js";
import { h, setAttr, setText } from "../../../web/panel/dom.js";
import { createPanel } from "../../../web/panel/panel.js";
import { StandaloneTransport } from "./transport.js";
import { createTranslate } from "../../../web/panel/strings.js";
import { createChat } from "./chat.js";
import { createSettings, settingsButton } from "./settings.js";
import { keptTheme, showTheme } from "./theme.js";
import { keepLocale, say, startLocale } from "./words.js";

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

async function start() {
  showTheme(keptTheme());
  const transport = new StandaloneTransport();
  const load = async (/** @type {string} */ path) => (await transport.fetch(path)).json();
  const [info, messages] = await Promise.all([load("/standalone"), load("/i18n")]);

  let locale = startLocale();
  const chat = createChat({ root: byId("chat"), info, locale });
  const names = { host: "standalone" };
  const openSettings = createSettings({ transport, messages, locale: () => locale });
  const panelTitle = h("h2", { class: "unseen" });
  byId("panel").replaceChildren(panelTitle);
  const panel = createPanel({
    root: byId("panel"),
    transport,
    t: createTranslate(messages, locale),
    locale,
    names,
    openSettings: () => void openSettings(),
  });
  const settings = settingsButton(() => void openSettings());
  byId("buttons").prepend(settings.button);
  const attention = watch(
    transport,
    (update) => chat.show(update),
    (badge) => mark(badge),
  );

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
    attention.looked();
    for (const { name, tab } of tabs) tab.setAttribute("aria-pressed", String(name === shown));
  }

  /** On a narrow screen the panel's tab tells of what has not been seen. @param {string | null} badge */
  function mark(badge) {
    const tab = tabs.find(({ name }) => name === "panel")?.tab;
    if (!tab) return;
    setAttr(tab, "data-badge", badge);
    setAttr(tab, "aria-label", badge ? say(locale, "trouble") : null);
  }

  function tell() {
    document.documentElement.lang = locale;
    const asked = say(locale, "asking", { model: info.model, host: info.host });
    setText(byId("model"), info.scripted ? say(locale, "scripted") : asked);
    setText(byId("language"), say(locale, "other"));
    byId("language").setAttribute("aria-label", say(locale, "otherLabel"));
    byId("tabs").setAttribute("aria-label", say(locale, "views"));
    byId("panel").setAttribute("aria-label", say(locale, "panel"));
    byId("chat").setAttribute("aria-label", say(locale, "chat"));
    setText(panelTitle, say(locale, "panel"));
    settings.tell(locale);
    mark(attention.badge);
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

/**
 * What goes to the chat, and what a reader who does not look at the panel is told of.
 * @param {StandaloneTransport} transport
 * @param {(update: import("../../../web/types").Update) => void} show
 * @param {(badge: string | null) => void} badge
 */
function watch(transport, show, badge) {
  const looking = () => document.visibilityState === "visible" && byId("panel").checkVisibility();
  const attention = new Attention({ looking, badge });
  /** Chats whose failure is known. @type {Set<string>} */
  let known = new Set();
  transport.addEventListener("update", (event) => {
    const update = /** @type {CustomEvent<import("../../../web/types").Update>} */ (event).detail;
    show(update);
    const { snapshot } = update;
    const failed = (snapshot?.chat.current ?? []).filter(({ state }) => state === "failed");
    // The first push may come after a failure. What failed before this page was opened is no news; ages are by the
    // server's clock alone, for the two clocks may differ.
    const open = performance.now() / 1000;
    const fresh = failed.filter(({ started = 0, seconds = 0 }) => (snapshot?.time ?? 0) - started - seconds < open);
    if (fresh.some(({ chat_id: id }) => !known.has(id))) attention.failed();
    known = new Set(failed.map(({ chat_id: id }) => id));
    attention.health(update.snapshot?.health);
  });
  document.addEventListener("visibilitychange", () => attention.looked());
  return attention;
}

start().catch((error) => {
  byId("chat").replaceChildren(h("p", { class: "broken", role: "alert", text: `Copilot Pulse: ${error.message}` }));
});
