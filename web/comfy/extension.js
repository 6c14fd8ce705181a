// @ts-check
/** What we are in ComfyUI's page: a sidebar tab, settings, commands and a key, and a hand on Copilot's chats. */

import { Attention } from "../panel/attention.js";
import { h } from "../panel/dom.js";
import { copyToClipboard } from "../panel/panel.js";
import { createTranslate, withNames } from "../panel/strings.js";
import { kindText } from "../panel/verdict.js";
import { wrapFetch } from "../streams/fetch.js";
import { KeptStreams } from "../streams/kept.js";
import { MARK } from "../streams/reader.js";
import { comfySettings, sectionTitle, tryWebhook } from "./settings.js";
import { ITEMS, itemSetting, Strip, STRIP } from "./strip.js";
import { NAMES, PulseTab, TAB_ID } from "./tab.js";
import { TRANSPORT, transportSetting } from "./transport.js";

/** @typedef {import("@comfyorg/comfyui-frontend-types").ComfyApi} ComfyApi */
/** @typedef {import("@comfyorg/comfyui-frontend-types").ComfyApp} ComfyApp */
/** @typedef {import("../types").Transport} Transport */

const UPDATE = "copilot-pulse.update";
const STATUS = "copilot-pulse.status";
const LOCALE = "Comfy.Locale";
const JSON_HEADERS = { "Content-Type": "application/json" };
const FAILED = "copilot-pulse.failed";
const TOAST = "CopilotPulse.FailureToast";
const TOAST_MS = 12_000;
/** Many chats may fail at once; one message says it. */
const TOAST_EVERY_MS = 10_000;
const ASK_EVERY_MS = 30_000;

/**
 * ComfyUI's own socket and its own way to make requests, which knows the folder that ComfyUI lies in.
 * @implements {Transport}
 */
class ComfyTransport extends EventTarget {
  /** @param {ComfyApi} api */
  constructor(api) {
    super();
    this._api = api;
  }

  get clientId() {
    return this._api.clientId ?? "";
  }

  get connected() {
    return this._api.socket?.readyState === WebSocket.OPEN;
  }

  /** @param {string} path @param {RequestInit} [init] */
  fetch(path, init) {
    const headers = new Headers(init?.headers);
    headers.set(MARK, "1");
    return this._api.fetchApi(path, { ...init, headers });
  }
}

export class PulseExtension {
  /** Wraps nothing and asks nobody yet. @param {ComfyApi} api @param {ComfyApp} app */
  constructor(api, app) {
    this._api = api;
    this._app = app;
    this._transport = new ComfyTransport(api);
    this._kept = new KeptStreams();
    /** Our texts, as ComfyUI hands them out: by language. @type {Record<string, any>} */
    this._texts = {};
    this._locale = "en";
    this._t = createTranslate(this._texts, this._locale);
    this._askedAt = 0;
    this._toastedAt = -Infinity;
    this._hasWebhook = false;
    this._attention = new Attention({
      looking: () => this._tab.panel !== null && document.visibilityState === "visible",
      badge: (badge) => this._showBadge(badge),
    });
    this._strip = new Strip({ load: () => this._metrics(), draw: (text, icon) => this._drawStrip(text, icon) });
    this._tab = new PulseTab(() => ({
      transport: this._transport,
      t: this._t,
      locale: this._locale,
      kept: this._kept,
      openSettings: () => void this._openSettings(),
      copyText: copyToClipboard,
    }));
  }

  /** Wrap `fetch` and register with ComfyUI; call it once. Waits for our texts and settings. */
  async start() {
    const { _api: api, _app: app, _kept: kept } = this;
    // Copilot looks fetch up when it sends, so the order in which we load does not matter.
    wrapFetch(window, {
      transport: () => app.extensionManager.setting.get(TRANSPORT),
      kept,
      folder: () => api.api_base,
      page: () => api.clientId ?? "",
    });
    this._listen();
    const [texts, settingRows] = await Promise.all([
      api.getCustomNodesI18n().catch(() => ({})),
      this._serverSettings(),
    ]);
    this._texts = texts;
    this._locale = String(app.extensionManager.setting.get(LOCALE) ?? "en");
    this._t = createTranslate(texts, this._locale);
    kept.addEventListener("ended", () => {
      const [summary, detail] = [this._t("title"), this._t("away.toast")];
      app.extensionManager.toast.add({ severity: "info", summary, detail, life: 12_000 });
    });
    kept.resume();
    app.registerExtension(this._registration(settingRows));
  }

  /** Listen at once: a message for which nobody listens is reported as an error in the console. */
  _listen() {
    // The frontend's types know only its own messages.
    const messages = /** @type {EventTarget} */ (/** @type {unknown} */ (this._api));
    const transport = this._transport;
    messages.addEventListener(UPDATE, (event) => {
      transport.dispatchEvent(new CustomEvent("update", { detail: /** @type {CustomEvent} */ (event).detail }));
    });
    messages.addEventListener(STATUS, (event) => this._attention.health(/** @type {CustomEvent} */ (event).detail));
    messages.addEventListener(FAILED, (event) => this._chatFailed(/** @type {CustomEvent} */ (event).detail));
    messages.addEventListener("reconnecting", () => transport.dispatchEvent(new Event("close")));
    messages.addEventListener("reconnected", () => {
      transport.dispatchEvent(new Event("open"));
      void this._askStatus();
    });
    transport.addEventListener("update", (event) => {
      const snapshot = /** @type {CustomEvent} */ (event).detail?.snapshot;
      this._attention.health(snapshot?.health);
      if (snapshot) this._strip.take(snapshot);
    });
  }

  /** What ComfyUI's `registerExtension` wants. @param {import("./settings.js").SettingRow[]} settingRows */
  _registration(settingRows) {
    const stripButtons = () => this._stripButtons();
    return {
      name: "CopilotPulse",
      settings: this._settings(settingRows),
      commands: [
        this._command("TogglePanel", "pi pi-wave-pulse", () => this._togglePanel()),
        this._command("CopyDiagnostics", "pi pi-copy", () => this._copyDiagnostics()),
      ],
      menuCommands: [
        { path: ["Copilot Pulse"], commands: ["CopilotPulse.TogglePanel", "CopilotPulse.CopyDiagnostics"] },
      ],
      keybindings: [{ combo: { key: "p", alt: true, shift: true }, commandId: "CopilotPulse.TogglePanel" }],
      get actionBarButtons() {
        return stripButtons();
      },
      setup: () => this._setup(),
    };
  }

  /** @param {import("./settings.js").SettingRow[]} rows @returns {any} */
  _settings(rows) {
    const { extensionManager: manager } = this._app;
    /** @type {import("../types").Translate} of the language of that moment */
    const t = (key, params) => this._t(key, params);
    const host = {
      t,
      text: (/** @type {string} */ key) => this._hostText("settings", key),
      post: (/** @type {string} */ name, /** @type {unknown} */ value) =>
        this._transport.fetch("/copilot-pulse/settings", {
          method: "POST",
          headers: JSON_HEADERS,
          body: JSON.stringify({ [name]: value }),
        }),
      set: (/** @type {string} */ id, /** @type {any} */ value) => manager.setting.set(id, value),
      warn: (/** @type {string} */ summary, /** @type {string} */ detail) =>
        manager.toast.add({ severity: "warn", summary, detail, life: 8000 }),
    };
    const transport = transportSetting(t, this._hostText("settings", TRANSPORT.replaceAll(".", "_")));
    return [...comfySettings(rows, host), transport, ...this._pageSettings(), ...this._webhookSetting()];
  }

  /** What only the page decides: the message of a failed chat, and the strip with its items. @returns {any[]} */
  _pageSettings() {
    const [t, strip] = [this._t, this._strip];
    /** @param {string} id @param {boolean} byDefault @param {(on: boolean) => void} onChange @param {number} index */
    const toggle = (id, byDefault, onChange, index) => ({
      id,
      ...this._hostText("settings", id.replaceAll(".", "_")),
      type: "boolean",
      defaultValue: byDefault,
      category: ["Copilot Pulse", sectionTitle("top", t), id.replace("CopilotPulse.", "")],
      sortOrder: 10 - index,
      onChange,
    });
    return [
      toggle(TOAST, true, () => undefined, 0),
      toggle(STRIP, false, (on) => this._showStrip(on), 1),
      ...ITEMS.map((item, index) => toggle(itemSetting(item), true, (on) => strip.choose(item, on), 2 + index)),
    ];
  }

  /** A button to try the webhook, where the server has one. @returns {any[]} */
  _webhookSetting() {
    if (!this._hasWebhook) return [];
    const t = this._t;
    const id = "CopilotPulse.Webhook";
    return [
      {
        id,
        ...this._hostText("settings", id.replaceAll(".", "_")),
        defaultValue: "",
        category: ["Copilot Pulse", sectionTitle("top", t), "Webhook"],
        sortOrder: 0,
        type: () => {
          const button = h("button", {
            type: "button",
            class: "cpulse-comfy-button",
            text: t("settings.webhook.test"),
          });
          button.addEventListener("click", () => void this._tryWebhook(button));
          return button;
        },
      },
    ];
  }

  /** @param {HTMLButtonElement} button */
  async _tryWebhook(button) {
    button.disabled = true;
    const post = (/** @type {string} */ path, /** @type {unknown} */ body) =>
      this._transport.fetch(path, { method: "POST", headers: JSON_HEADERS, body: JSON.stringify(body) });
    const problem = await tryWebhook({ t: this._t, post });
    button.disabled = false;
    this._toast(problem ? "warn" : "success", this._t("title"), problem || this._t("settings.webhook.sent"), 6000);
  }

  _setup() {
    const { extensionManager: manager, ui } = this._app;
    manager.registerSidebarTab({
      id: TAB_ID,
      icon: "pi pi-wave-pulse",
      title: "copilotPulse.tab",
      label: "copilotPulse.tab",
      tooltip: this._t("tooltip"),
      type: "custom",
      render: (/** @type {HTMLElement} */ element) => {
        this._tab.render(element);
        this._attention.looked();
      },
      destroy: () => this._tab.destroy(),
    });
    ui.settings.addEventListener(`${LOCALE}.change`, (/** @type {Event} */ event) =>
      this._setLocale(/** @type {CustomEvent} */ (event).detail?.value),
    );
    document.addEventListener("visibilitychange", () => {
      this._attention.looked();
      void this._askStatus();
    });
    void this._askStatus();
    // A strip that was on at the last visit: its settings were there before the tab that its text hangs on.
    this._showStrip(this._app.extensionManager.setting.get(STRIP) === true);
  }

  /** Our server's settings; none where it has no server part, and then there is nothing to set. */
  async _serverSettings() {
    try {
      const { settings, webhook } = await (await this._transport.fetch("/copilot-pulse/settings")).json();
      this._hasWebhook = webhook === true;
      return /** @type {import("./settings.js").SettingRow[]} */ (settings ?? []);
    } catch {
      return [];
    }
  }

  get _registeredTab() {
    // The registered tab is a reactive proxy; the object that we registered is not.
    return this._app.extensionManager.getSidebarTabs().find((one) => one.id === TAB_ID);
  }

  /** Show on the tab's icon what has not been seen. @param {string | null} badge */
  _showBadge(badge) {
    const shown = this._registeredTab;
    if (shown && (shown.iconBadge ?? null) !== badge) shown.iconBadge = /** @type {string} */ (badge);
  }

  /**
   * A chat has failed: mark it in every page, and say so in its own to who has the panel shut.
   * @param {import("../types").ErrorRow & { here?: boolean } | undefined} row  the newest failure of that chat
   */
  _chatFailed(row) {
    this._attention.failed();
    const now = performance.now();
    if (!row?.here || this._tab.panel || now - this._toastedAt < TOAST_EVERY_MS) return;
    if (this._app.extensionManager.setting.get(TOAST) === false) return;
    this._toastedAt = now;
    const what = kindText(row, withNames(this._t, NAMES));
    this._toast("warn", this._t("attention.title"), this._t("attention.detail", { what }), TOAST_MS);
  }

  /**
   * @param {"info" | "success" | "warn" | "error"} severity
   * @param {string} summary
   * @param {string} detail
   * @param {number} life
   */
  _toast(severity, summary, detail, life) {
    this._app.extensionManager.toast.add({ severity, summary, detail, life });
  }

  // --- the strip ---

  /**
   * The strip as a button of the top bar. The frontend draws it anew when the registered tab changes, which is
   * reactive; our own objects are not.
   */
  _stripButtons() {
    const { stripText: label, stripIcon: icon } = /** @type {any} */ (this._registeredTab ?? {});
    if (!label && !icon) return [];
    const tooltip = this._t("attention.strip", { figures: label });
    return [{ icon, label, tooltip, class: "cpulse-strip", onClick: () => this._togglePanel() }];
  }

  /** @param {boolean} on */
  _showStrip(on) {
    this._strip.setLocale(this._locale);
    this._strip.on = on;
    if (!on) this._drawStrip("", "");
  }

  /** @param {string} text @param {string} icon */
  _drawStrip(text, icon) {
    const tab = /** @type {any} */ (this._registeredTab);
    if (tab) Object.assign(tab, { stripText: text, stripIcon: icon });
  }

  async _metrics() {
    const response = await this._transport.fetch("/copilot-pulse/metrics", { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(String(response.status));
    return /** @type {import("../types").Snapshot} */ (await response.json());
  }

  /** Ask once how Copilot is; not while the page is hidden, and no more often than every 30 s. */
  async _askStatus() {
    const now = Date.now();
    if (document.visibilityState === "hidden" || now - this._askedAt < ASK_EVERY_MS) return;
    this._askedAt = now;
    try {
      this._attention.health((await this._metrics()).health);
    } catch {
      // Without an answer the icon keeps what it showed; the panel itself says when the server is away.
    }
  }

  /** Show our page of the settings. The frontend can open its dialog only at the first page; ours is one click on. */
  async _openSettings() {
    await this._app.extensionManager.command.execute("Comfy.ShowSettingsDialog");
    for (let frames = 0; frames < 60; frames += 1) {
      const entries = /** @type {HTMLElement[]} */ ([
        ...document.querySelectorAll("[role=dialog] :is([role=option], [role=button], button)"),
      ]);
      const ours = entries.find((entry) => entry.textContent?.trim() === "Copilot Pulse");
      if (ours) return ours.click();
      await new Promise((done) => requestAnimationFrame(done));
    }
  }

  _togglePanel() {
    void this._app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB_ID}`);
  }

  async _copyDiagnostics() {
    const { toast } = this._app.extensionManager;
    const summary = this._t("title");
    try {
      const response = await this._transport.fetch("/copilot-pulse/diagnostics");
      if (!response.ok) throw new Error(String(response.status));
      const copied = await copyToClipboard(JSON.stringify(await response.json(), null, 2));
      const detail = this._t(copied ? "foot.copied" : "foot.failed");
      toast.add({ severity: copied ? "success" : "warn", summary, detail, life: 4000 });
    } catch {
      toast.add({ severity: "error", summary, detail: this._t("foot.failed"), life: 6000 });
    }
  }

  /**
   * One entry of a language's `settings.json` or `commands.json`.
   * @param {"settings" | "commands"} file
   * @param {string} key
   */
  _hostText(file, key) {
    const [all, locale] = [this._texts, this._locale];
    return all[locale]?.[file]?.[key] ?? all[locale.split("-")[0]]?.[file]?.[key] ?? all.en?.[file]?.[key];
  }

  /** @param {string} name @param {string} icon @param {() => void | Promise<void>} run */
  _command(name, icon, run) {
    const id = `CopilotPulse.${name}`;
    return { id, label: this._hostText("commands", id.replaceAll(".", "_"))?.label ?? id, icon, function: run };
  }

  /** The frontend does not tell a tab that the language changed. @param {unknown} value */
  _setLocale(value) {
    if (typeof value !== "string" || value === this._locale) return;
    this._locale = value;
    this._t = createTranslate(this._texts, value);
    this._tab.panel?.setLocale(this._t, value);
    this._strip.setLocale(value);
    const shown = this._registeredTab;
    if (shown) shown.tooltip = this._t("tooltip");
  }
}

/**
 * Two copies of this plugin are installed, and this is the second: say so, and do nothing else.
 * @param {ComfyApp} app
 * @param {string} running  the address of the copy that runs
 * @param {string} idle  this one's
 */
export function tellOfSecondCopy(app, running, idle) {
  const detail =
    `Copilot Pulse is installed twice. ${folderOf(running)} is used, ${folderOf(idle)} does nothing: ` +
    "remove one of the two from custom_nodes and restart ComfyUI.";
  console.warn(detail);
  app.registerExtension({
    name: "CopilotPulse.SecondCopy",
    setup: () => app.extensionManager.toast.add({ severity: "warn", summary: "Copilot Pulse", detail, life: 20_000 }),
  });
}

/** The folder in custom_nodes from which ComfyUI serves an address. @param {string} address */
function folderOf(address) {
  const { pathname } = new URL(address);
  return decodeURIComponent(pathname.split("/extensions/").pop()?.split("/")[0] ?? pathname);
}
