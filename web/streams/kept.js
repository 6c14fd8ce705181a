// @ts-check
/**
 * Answers over a reload. While an answer comes, its id and session (no text) lie in the tab's sessionStorage; what
 * lies there when the page is loaded ran while it went away. Those are read here, to be offered in the panel.
 */

import { StreamReader } from "./reader.js";

const KEY = "copilotPulse.streams";
const CHANNEL = "copilotPulse.streams";
const MANY = 8;
const OLDEST_MS = 24 * 3_600_000;

/** @typedef {{ id: string, session: string, base: string, started?: number }} Kept */
/** @typedef {"running" | "completed" | "failed" | "cancelled" | "lost"} AwayState */
/** @typedef {{ id: string, session: string, started: number, state: AwayState, text: string }} AwayAnswer */

/** Fires "change" when an answer from before the reload has grown or ended, and "ended" for each that has ended. */
export class KeptStreams extends EventTarget {
  /** Make it before the first chat. @param {{ storage?: Storage | null, fetch?: typeof fetch }} [options] */
  constructor({ storage = ownStorage(), fetch = globalThis.fetch.bind(globalThis) } = {}) {
    super();
    this._storage = storage;
    this._fetch = fetch;
    this._before = this._read();
    this._since = Date.now() + Math.random();
    /** Answers that this page has asked for. @type {Set<string>} */
    this._mine = new Set();
    this._channel = typeof BroadcastChannel === "function" ? new BroadcastChannel(CHANNEL) : null;
    this._channel?.addEventListener("message", ({ data }) => this._heard(data));
    /** @type {Map<string, { answer: AwayAnswer, reader: StreamReader }>} */
    this._away = new Map();
  }

  /** Note an answer that begins. @param {Kept} kept */
  remember(kept) {
    this._mine.add(kept.id);
    this._write([...this._read(), { ...kept, started: Date.now() }].slice(-MANY));
  }

  /** The page has all of an answer. @param {string} id */
  forget(id) {
    this._mine.delete(id);
    const rows = this._read();
    const left = rows.filter((row) => row.id !== id);
    if (left.length !== rows.length) this._write(left);
  }

  /** Go on reading what ran when the page was last here. Call it once. */
  resume() {
    for (const row of this._before) {
      const started = row.started ?? 0;
      if (Date.now() - started > OLDEST_MS || typeof row.id !== "string" || typeof row.session !== "string") {
        this.forget(row.id);
        continue;
      }
      this._follow(row, started);
    }
    if (this._away.size) this._channel?.postMessage({ whose: [...this._away.keys()], since: this._since });
  }

  /** Answers from before the reload, the newest first. @returns {AwayAnswer[]} */
  get answers() {
    return [...this._away.values()].map(({ answer }) => answer).reverse();
  }

  /** Take one from the list; one that still runs is stopped. @param {string} id */
  dismiss(id) {
    const entry = this._away.get(id);
    if (!entry) return;
    this._away.delete(id);
    this.forget(id);
    entry.reader.cancel();
    this.dispatchEvent(new Event("change"));
  }

  /**
   * A tab that was duplicated has a copy of the other one's storage, though that one is there and reads on: whoever
   * has asked for an answer, or has followed it for longer, keeps it.
   * @param {{ whose?: string[], since?: number, mine?: string[] }} message
   */
  _heard({ whose, since, mine }) {
    const ours = whose?.filter((id) => this._mine.has(id) || (this._away.has(id) && this._since < Number(since)));
    if (ours?.length) this._channel?.postMessage({ mine: ours });
    for (const id of mine ?? []) {
      const entry = this._away.get(id);
      if (!entry) continue;
      this._away.delete(id);
      this.forget(id);
      entry.reader.leave();
      this.dispatchEvent(new Event("change"));
    }
  }

  /** @param {Kept} row @param {number} started */
  _follow(row, started) {
    const base = sameOrigin(row.base) ? row.base : `${location.origin}/api`;
    const reader = new StreamReader({
      fetch: this._fetch,
      base,
      id: row.id,
      session: row.session,
      question: null,
      socket: false,
    });
    /** @type {AwayAnswer} */
    const answer = { id: row.id, session: row.session, started, state: "running", text: "" };
    this._away.set(row.id, { answer, reader });
    const changed = () => {
      while (reader.answer.pending) reader.answer.next(); // nobody reads lines here
      answer.text = reader.answer.text;
      this.dispatchEvent(new Event("change"));
    };
    reader.addEventListener("change", changed);
    reader.addEventListener("close", () => {
      if (!this._away.has(row.id)) return;
      if (reader.answer.outcome === null) {
        // A server that was started anew knows nothing of it: there is nothing to offer.
        if (answer.text) answer.state = "lost";
        else this._away.delete(row.id);
        this.forget(row.id);
      } else answer.state = /** @type {AwayState} */ (reader.answer.outcome);
      changed();
      if (this._away.has(row.id)) this.dispatchEvent(new CustomEvent("ended", { detail: answer }));
    });
    void reader.run();
  }

  /** @returns {Kept[]} */
  _read() {
    try {
      const rows = JSON.parse(this._storage?.getItem(KEY) ?? "[]");
      return Array.isArray(rows) ? rows.filter((row) => row && typeof row === "object") : [];
    } catch {
      return [];
    }
  }

  /** @param {Kept[]} rows */
  _write(rows) {
    try {
      if (rows.length) this._storage?.setItem(KEY, JSON.stringify(rows));
      else this._storage?.removeItem(KEY);
    } catch {
      // Storage is forbidden or full: chats work, and a reload forgets them.
    }
  }
}

/** @param {unknown} base */
function sameOrigin(base) {
  try {
    return new URL(String(base)).origin === location.origin;
  } catch {
    return false;
  }
}

/** @returns {Storage | null} */
function ownStorage() {
  try {
    return globalThis.sessionStorage;
  } catch {
    return null;
  }
}
