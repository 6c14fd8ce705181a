// @ts-check
/** What the line below an answer says: what is going on while it comes, and how it went when it has ended. */

import { plain } from "./seam.js";
import { noProgress } from "./stream.js";
import { say } from "./words.js";

/** @typedef {import("./words.js").Locale} Locale */
/** @typedef {import("./stream.js").Progress} Progress */
/** @typedef {import("./transcript.js").Facts} Facts */
/** @typedef {import("../../../web/types").Update} Update */
/** @typedef {import("../../../web/types").ChatRow} ChatRow */

/** A silence up to this is not worth a word. */
const SILENCE_MS = 1_500;
const ENDED = new Set(["done", "failed", "cancelled"]);
/**
 * Ends about which the user has to know more than the figures.
 * @type {Partial<Record<Facts["outcome"], import("./words.js").Word>>}
 */
const ENDS = {
  cancelled: "stopped",
  stopped: "stopped",
  refused: "refused",
  unreachable: "unreachable",
  forgotten: "forgotten",
  broken: "broken",
};

/** One answer while it comes. Times are the page's own, in milliseconds. */
export class Status {
  /** @param {{ session: string, began: number, clock?: () => number }} chat */
  constructor({ session, began, clock = Date.now }) {
    this.began = began;
    /** Whether the page had to come back for it. */
    this.returned = false;
    this._session = session;
    this._clock = clock;
    /** @type {Readonly<Progress>} */
    this._progress = noProgress();
    this._changed = began;
    this._lostAt = 0;
    /** @type {{ row: ChatRow, at: number } | null} */
    this._seen = null;
  }

  /** What has come of the answer itself. @param {Readonly<Progress>} progress */
  take(progress) {
    const before = this._progress;
    const now = this._clock();
    // What Copilot Pulse adds while the model is silent is no word of the model.
    if (progress.updates !== before.updates && plain(progress.text) !== plain(before.text)) this._changed = now;
    if (progress.lost && !before.lost) this._lostAt = now;
    if (!progress.lost && before.lost && before.updates) this.returned = true;
    this._progress = { ...progress };
  }

  /** What the monitor knows of this chat and of no other. @param {Update} update */
  watch({ snapshot }) {
    const { chat } = this._progress;
    const rows = snapshot.chat.current;
    const row = chat
      ? rows.find((each) => each.chat_id === chat)
      : rows.filter((each) => each.session_id === this._session && !ENDED.has(each.state)).at(-1);
    this._seen = row ? { row, at: this._clock() } : null;
  }

  /** What to say now. @param {Locale} locale */
  words(locale) {
    const now = this._clock();
    const since = (/** @type {number} */ then) => Math.floor((now - then) / 1000);
    const { lost, updates } = this._progress;
    if (lost) return updates ? say(locale, "lost", { seconds: since(this._lostAt) }) : say(locale, "connecting");
    // Once text has come, an older word of the monitor is out of date.
    const row = this._seen && this._seen.at >= this._changed ? this._seen.row : null;
    if (row?.state === "retrying") return this._retrying(row, now, locale);
    const silence = row && this._silence(row, now, locale);
    if (silence) return silence;
    const seconds = since(this._changed);
    if (this._progress.repair) return say(locale, seconds ? "repairingFor" : "repairing", { seconds });
    if (row?.state === "tool") return say(locale, seconds ? "toolFor" : "tool", { tool: row.tool ?? "", seconds });
    if (!updates) return say(locale, seconds ? "waitingFor" : "waiting", { seconds });
    return now - this._changed < SILENCE_MS ? say(locale, "streaming") : say(locale, "silent", { seconds });
  }

  /**
   * A silence that the monitor knows of, with what comes when.
   * @param {ChatRow} row
   * @param {number} now
   * @param {Locale} locale
   */
  _silence(row, now, locale) {
    // Older servers tell a number, and not what comes then.
    const silent = /** @type {any} */ (row.silent);
    if (!silent || typeof silent !== "object") return "";
    const passed = (now - (this._seen?.at ?? now)) / 1000;
    const seconds = Math.floor(silent.since + passed);
    const left = Math.max(0, Math.ceil((silent.next_in ?? 0) - passed));
    const word = /** @type {const} */ ({ "ask again": "silentAsk", "give up": "silentEnd" })[
      /** @type {"ask again" | "give up"} */ (silent.next)
    ];
    return say(locale, word && silent.next_in !== null ? word : "silent", { seconds, left });
  }

  /** @param {ChatRow} row @param {number} now @param {Locale} locale */
  _retrying(row, now, locale) {
    const left = (row.retry_in ?? 0) - (now - (this._seen?.at ?? now)) / 1000;
    // The server counts retries; who reads counts attempts, and the first one was an attempt too.
    const values = { attempt: row.attempt ?? 1, of: (row.of ?? 0) + 1, seconds: Math.round(left) };
    return say(locale, values.seconds > 0 ? "retryingIn" : "retrying", values);
  }

  /** The answer has ended. @param {Facts["outcome"]} outcome @param {string} reason @returns {Facts} */
  facts(outcome, reason) {
    const { updates, bytes, retries, seams, again } = this._progress;
    return {
      outcome,
      reason,
      seconds: (this._clock() - this.began) / 1000,
      updates,
      bytes,
      retries,
      returned: this.returned,
      seams,
      again: again === null ? null : this._clock() + again * 1000,
    };
  }
}

/** How an answer went. @param {Facts} facts @param {Locale} locale */
export function told(facts, locale) {
  const { outcome, reason, updates } = facts;
  const end = ENDS[outcome] ?? (updates ? null : "empty");
  const parts = end ? [say(locale, end, { reason })] : [];
  if (updates) {
    const values = { seconds: facts.seconds.toFixed(1), updates, bytes: size(facts.bytes) };
    parts.push(say(locale, updates === 1 ? "metaOne" : "meta", values));
    if (facts.retries) parts.push(say(locale, "metaRetries", { n: facts.retries }));
    if (facts.returned) parts.push(say(locale, "metaReturned"));
  }
  return parts.join(" · ");
}

/** Whether an answer is not what the user asked for, through no doing of theirs. @param {Facts} facts */
export function isTrouble({ outcome, updates }) {
  return !["completed", "cancelled", "stopped"].includes(outcome) || (outcome === "completed" && !updates);
}

/** @param {number} bytes */
function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(bytes < 100_000 ? 1 : 0)} kB`;
}
