// @ts-check
/**
 * A few figures in ComfyUI's top bar, for who wants them in sight all the time: how Copilot is, chats that run, time to
 * the first token, tokens a second. Asks the server only while it is shown and the page is in sight.
 */

import { createFormat, NONE } from "../panel/format.js";

/** @typedef {import("../types").Snapshot} Snapshot */
/** @typedef {"chats" | "firstToken" | "speed"} Item */

export const STRIP = "CopilotPulse.Strip";
export const ITEMS = /** @type {const} */ (["chats", "firstToken", "speed"]);
const ASK_EVERY_MS = 3_000;
const ICONS = /** @type {Record<string, string>} */ ({
  pass: "pi pi-check-circle",
  warn: "pi pi-exclamation-circle",
  fail: "pi pi-times-circle",
});
const UNKNOWN = "pi pi-wave-pulse";

/** The setting that shows one of them. @param {Item} item */
export function itemSetting(item) {
  return STRIP + item[0].toUpperCase() + item.slice(1);
}

export class Strip {
  /**
   * @param {object} host
   * @param {() => Promise<Snapshot>} host.load
   * @param {(text: string, icon: string) => void} host.draw  called when either has changed
   */
  constructor({ load, draw }) {
    this._load = load;
    this._draw = draw;
    /** @type {Set<Item>} */
    this._items = new Set(ITEMS);
    this._locale = "en";
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._timer = undefined;
    this._takenAt = 0;
    /** @type {Snapshot | null} */
    this._snapshot = null;
  }

  get on() {
    return this._timer !== undefined;
  }

  /** Show it, or stop. @param {boolean} on */
  set on(on) {
    if (on === this.on) return;
    clearInterval(this._timer);
    this._timer = on ? setInterval(() => void this._ask(), ASK_EVERY_MS) : undefined;
    if (on) void this._ask();
  }

  /** @param {Item} item @param {boolean} shown */
  choose(item, shown) {
    if (shown) this._items.add(item);
    else this._items.delete(item);
    this._show();
  }

  /** @param {string} locale */
  setLocale(locale) {
    this._locale = locale;
    this._show();
  }

  /** Figures that came by themselves, because the panel is open. @param {Snapshot} snapshot */
  take(snapshot) {
    this._takenAt = Date.now();
    this._snapshot = snapshot;
    this._show();
  }

  async _ask() {
    if (document.visibilityState === "hidden" || Date.now() - this._takenAt < ASK_EVERY_MS / 2) return;
    try {
      this.take(await this._load());
    } catch {
      this._snapshot = null; // old figures must not look like news
      this._show();
    }
  }

  _show() {
    if (!this.on) return;
    const status = this._snapshot?.health;
    const icon = !status ? UNKNOWN : ICONS[status.impact === "none" ? "pass" : status.status];
    this._draw(stripText(this._snapshot, this._items, this._locale), icon ?? UNKNOWN);
  }
}

/**
 * The figures in one short line, in the order of `ITEMS`. Pure.
 * @param {Snapshot | null} snapshot
 * @param {ReadonlySet<Item>} items
 * @param {string} locale
 */
export function stripText(snapshot, items, locale) {
  const format = createFormat(locale);
  const { active, first_token_seconds: first, tokens_per_second: speed } = snapshot?.chat ?? {};
  /** @type {Record<Item, string>} */
  const texts = {
    chats: format.number(active),
    firstToken: format.seconds(first?.p50),
    speed: typeof speed?.p50 === "number" ? `${format.number(speed.p50)}/s` : NONE,
  };
  return ITEMS.filter((item) => items.has(item))
    .map((item) => texts[item])
    .join(" · ");
}
