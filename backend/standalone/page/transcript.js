// @ts-check
/** What this tab has said and heard, kept over a reload in its sessionStorage, also an answer that is still coming. */

/** @typedef {import("./stream.js").Outcome} Outcome */

/**
 * How an answer went; the words for it are made when it is shown.
 * @typedef {object} Facts
 * @property {Outcome} outcome
 * @property {string} reason
 * @property {number} seconds
 * @property {number} updates
 * @property {number} bytes
 * @property {number} retries
 * @property {boolean} returned  whether the page had to come back for it
 * @property {readonly number[]} [seams]  where in the text a broken attempt ended
 * @property {number | null} [again]  when asking again makes sense, in ms of the page's clock
 */
/** @typedef {{ role: "user" | "assistant", content: string, facts?: Facts }} Entry */
/**
 * An answer that has not ended: its stream, and when it was asked for (ms).
 * @typedef {{ id: string, began: number }} Pending
 */

const KEY = "copilot-pulse.chat";
const KEPT = 60;

export class Transcript {
  constructor() {
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {Pending | null} */
    this.pending = null;
    this.session = newSession();
    this._restore();
  }

  /** Begin anew. */
  clear() {
    this.entries = [];
    this.pending = null;
    this.session = newSession();
    this.keep();
  }

  /** Note everything for the next load of the page. */
  keep() {
    this.entries = this.entries.slice(-KEPT);
    const { session, pending, entries } = this;
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ session, pending, entries }));
    } catch {
      this._forget(); // too long for the browser, or forbidden: the chat itself goes on
    }
  }

  _restore() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
      if (!Array.isArray(kept?.entries) || typeof kept.session !== "string") return;
      this.entries = kept.entries.filter(isEntry);
      this.session = kept.session;
      this.pending = typeof kept.pending?.id === "string" ? kept.pending : null;
      // A question whose answer cannot come any more is not part of what was said.
      if (!this.pending && this.entries.at(-1)?.role === "user") this.entries.pop();
    } catch {
      this._forget();
    }
  }

  _forget() {
    try {
      sessionStorage.removeItem(KEY);
    } catch {
      // Storage is forbidden: there is nothing to forget.
    }
  }
}

/** @param {any} entry @returns {entry is Entry} */
function isEntry(entry) {
  return typeof entry?.content === "string" && (entry.role === "user" || entry.role === "assistant");
}

function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
