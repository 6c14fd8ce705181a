// @ts-check
/**
 * The door to ComfyUI's frontend, and the only file here that does something when it is loaded: it registers the
 * sidebar tab, the settings, the commands and the key. Everything else in this folder is imported from here.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { completeChatRequests } from "./streams/request.js";
import { comfySettings } from "./comfy/settings.js";
import { PulseTab, TAB_ID } from "./comfy/tab.js";
import { copyToClipboard } from "./panel/panel.js";
import { KeptStreams } from "./streams/kept.js";
import { TRANSPORT, transportSetting } from "./streams/setting.js";
import { upgradeChats } from "./streams/upgrade.js";
import { createTranslate } from "./panel/strings.js";
import { harmless } from "./panel/verdict.js";

/** @typedef {import("./types").Transport} Transport */

const UPDATE = "copilot-pulse.update";
const STATUS = "copilot-pulse.status";
const LOCALE = "Comfy.Locale";
const JSON_HEADERS = { "Content-Type": "application/json" };
/** What the icon shows; nothing while all is well. @type {Record<string, string | null>} */
const BADGES = { pass: null, warn: "!", fail: "!!" };
const ASK_EVERY_MS = 30_000;
let askedAt = 0;

// The frontend's types know only its own messages.
const messages = /** @type {EventTarget} */ (/** @type {unknown} */ (api));

/** ComfyUI's own socket and its own way to make requests. @implements {Transport} */
class ComfyTransport extends EventTarget {
  get clientId() {
    return api.clientId ?? "";
  }

  get connected() {
    return api.socket?.readyState === WebSocket.OPEN;
  }

  /** @param {string} path @param {RequestInit} [init] */
  fetch(path, init) {
    return api.fetchApi(path, init);
  }
}

const transport = new ComfyTransport();
const kept = new KeptStreams();
// The innermost: what a request lacks is completed before it is sent, over whichever way.
upgradeChats(window, { transport: () => app.extensionManager.setting.get(TRANSPORT), kept });
// Copilot looks fetch up when it sends, so the order in which we load does not matter.
completeChatRequests(window);
// At top level: a message for which nobody listens is reported as an error in the console.
messages.addEventListener(UPDATE, (event) => {
  transport.dispatchEvent(new CustomEvent("update", { detail: /** @type {CustomEvent} */ (event).detail }));
});
messages.addEventListener(STATUS, (event) => showStatus(/** @type {CustomEvent} */ (event).detail));
messages.addEventListener("reconnecting", () => transport.dispatchEvent(new Event("close")));
messages.addEventListener("reconnected", () => {
  transport.dispatchEvent(new Event("open"));
  void askStatus();
});
transport.addEventListener("update", (event) =>
  showStatus(/** @type {CustomEvent} */ (event).detail?.snapshot?.health),
);

const [texts, settingRows] = await Promise.all([api.getCustomNodesI18n().catch(() => ({})), serverSettings()]);
let locale = String(app.extensionManager.setting.get(LOCALE) ?? "en");
let t = createTranslate(texts, locale);

kept.addEventListener("ended", () => {
  app.extensionManager.toast.add({ severity: "info", summary: t("title"), detail: t("away.toast"), life: 12_000 });
});
kept.resume();

const tab = new PulseTab(() => ({
  transport,
  t,
  locale,
  kept,
  openSettings: () => void openSettings(),
  copyText: copyToClipboard,
}));

/** Our server's settings; none where it has no server part, and then there is nothing to set. */
async function serverSettings() {
  try {
    const { settings } = await (await transport.fetch("/copilot-pulse/settings")).json();
    return /** @type {import("./comfy/settings.js").SettingRow[]} */ (settings);
  } catch {
    return [];
  }
}

/** Show the server's verdict on the tab's icon; what stops no chat is no news there. @param {{ status?: string, impact?: string } | undefined} health */
function showStatus(health) {
  if (!health) return;
  const badge = harmless(health) ? null : BADGES[String(health.status)];
  // The registered tab is a reactive proxy; the object that we registered is not.
  const shown = app.extensionManager.getSidebarTabs().find((one) => one.id === TAB_ID);
  if (shown && badge !== undefined && (shown.iconBadge ?? null) !== badge)
    shown.iconBadge = /** @type {string} */ (badge);
}

/** Ask once how Copilot is; not while the page is hidden, and no more often than every 30 s. */
async function askStatus() {
  const now = Date.now();
  if (document.visibilityState === "hidden" || now - askedAt < ASK_EVERY_MS) return;
  askedAt = now;
  try {
    const response = await transport.fetch("/copilot-pulse/metrics", { headers: { Accept: "application/json" } });
    showStatus((await response.json()).health);
  } catch {
    // Without an answer the icon keeps what it showed; the panel itself says when the server is away.
  }
}

/** Show our page of the settings. The frontend can open its dialog only at the first page; ours is one click on. */
async function openSettings() {
  await app.extensionManager.command.execute("Comfy.ShowSettingsDialog");
  for (let frames = 0; frames < 60; frames += 1) {
    const entries = /** @type {HTMLElement[]} */ ([
      ...document.querySelectorAll("[role=dialog] :is([role=option], [role=button], button)"),
    ]);
    const ours = entries.find((entry) => entry.textContent?.trim() === "Copilot Pulse");
    if (ours) return ours.click();
    await new Promise((done) => requestAnimationFrame(done));
  }
}

function togglePanel() {
  void app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB_ID}`);
}

async function copyDiagnostics() {
  const { toast } = app.extensionManager;
  try {
    const response = await transport.fetch("/copilot-pulse/diagnostics");
    if (!response.ok) throw new Error(String(response.status));
    const copied = await copyToClipboard(JSON.stringify(await response.json(), null, 2));
    toast.add({
      severity: copied ? "success" : "warn",
      summary: t("title"),
      detail: t(copied ? "foot.copied" : "foot.failed"),
      life: 4000,
    });
  } catch {
    toast.add({ severity: "error", summary: t("title"), detail: t("foot.failed"), life: 6000 });
  }
}

/** One entry of a language's `settings.json` or `commands.json`. @param {"settings" | "commands"} file @param {string} key */
function hostText(file, key) {
  const all = /** @type {Record<string, any>} */ (texts);
  return all[locale]?.[file]?.[key] ?? all[locale.split("-")[0]]?.[file]?.[key] ?? all.en?.[file]?.[key];
}

/** @param {string} name @param {string} icon @param {() => void | Promise<void>} run */
function command(name, icon, run) {
  const id = `CopilotPulse.${name}`;
  return { id, label: hostText("commands", id.replaceAll(".", "_"))?.label ?? id, icon, function: run };
}

app.registerExtension({
  name: "CopilotPulse",
  settings: /** @type {any} */ ([
    ...comfySettings(settingRows, {
      t: (key, params) => t(key, params), // of the language of that moment
      text: (key) => hostText("settings", key),
      post: (name, value) =>
        transport.fetch("/copilot-pulse/settings", {
          method: "POST",
          headers: JSON_HEADERS,
          body: JSON.stringify({ [name]: value }),
        }),
      set: (id, value) => app.extensionManager.setting.set(id, value),
      warn: (summary, detail) => app.extensionManager.toast.add({ severity: "warn", summary, detail, life: 8000 }),
    }),
    transportSetting((key, params) => t(key, params), hostText("settings", TRANSPORT.replaceAll(".", "_"))),
  ]),
  commands: [
    command("TogglePanel", "pi pi-wave-pulse", togglePanel),
    command("CopyDiagnostics", "pi pi-copy", copyDiagnostics),
  ],
  menuCommands: [{ path: ["Copilot Pulse"], commands: ["CopilotPulse.TogglePanel", "CopilotPulse.CopyDiagnostics"] }],
  keybindings: [{ combo: { key: "p", alt: true, shift: true }, commandId: "CopilotPulse.TogglePanel" }],
  setup() {
    app.extensionManager.registerSidebarTab({
      id: TAB_ID,
      icon: "pi pi-wave-pulse",
      title: "copilotPulse.tab",
      label: "copilotPulse.tab",
      tooltip: t("tooltip"),
      type: "custom",
      render: (element) => tab.render(element),
      destroy: () => tab.destroy(),
    });
    app.ui.settings.addEventListener(`${LOCALE}.change`, (event) =>
      setLocale(/** @type {CustomEvent} */ (event).detail?.value),
    );
    document.addEventListener("visibilitychange", () => void askStatus());
    void askStatus();
  },
});

/** The frontend does not tell a tab that the language changed. @param {unknown} value */
function setLocale(value) {
  if (typeof value !== "string" || value === locale) return;
  locale = value;
  t = createTranslate(texts, locale);
  tab.panel?.setLocale(t, locale);
  const shown = app.extensionManager.getSidebarTabs().find((one) => one.id === TAB_ID);
  if (shown) shown.tooltip = t("tooltip");
}
