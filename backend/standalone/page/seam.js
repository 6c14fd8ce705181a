// @ts-check
/**
 * An answer whose model call broke and is made again: what stands there stays until the new attempt has come as far,
 * with a mark where it broke; afterwards a quiet mark stays at the seam.
 */

/** @typedef {import("./stream.js").Progress} Progress */
/**
 * Text to show, and where its marks stand.
 * @typedef {{ text: string, seams: readonly number[], broken: number | null }} View
 */

/** Stand for a mark in a text until it is rendered; private characters, which no font has a sign for. */
export const SEAM = "\ue000";
export const BREAK = "\ue001";
export const MARKS = /[\ue000\ue001]/g;
/** What Copilot Pulse says itself, in its invisible separators, and what fills up for it. */
const NOTICE = /\s*> \u2063{2}[^\u2063]+\u2063{3}/g;
const FILLING = /\u2063+$/;
/** Where a mark would make plain text of a sign: in front of what begins a line, and inside of emphasis. */
const LINE_START = /^[\s>]*(?:[-*+]|\d{1,9}[.)]|#{1,6}|`{3,}\S*|~{3,}\S*|\|[\s|:-]*)?\s*$/;
const SIGN = /[\s*_~`]/;

/** One answer while it comes. */
export class Mending {
  constructor() {
    /** The longest text that a broken attempt has left. */
    this._held = "";
    this._last = "";
  }

  /** What to show now. @param {Readonly<Progress>} progress @returns {View} */
  view({ text, repair, seams }) {
    const said = plain(text);
    if (!repair) {
      this._held = "";
      this._last = said;
      return { text, seams, broken: null };
    }
    this._held ||= this._last;
    if (said.length > this._held.length || !this._held.startsWith(said)) this._held = said;
    const notice = text.slice(said.length).replace(FILLING, "");
    return { text: this._held + notice, seams, broken: this._held.length };
  }
}

/** An answer without what Copilot Pulse adds to it. @param {string} text */
export function plain(text) {
  const end = text.search(NOTICE);
  return (end < 0 ? text : text.slice(0, end)).replace(FILLING, "");
}

/** An answer as a user would want to paste it. @param {string} text */
export function pasteable(text) {
  return text.replaceAll("\u2063", "").trim();
}

/** The text with its marks in it. A seam beyond the text, or in front of it, is left out. @param {View} view */
export function withMarks({ text, seams, broken }) {
  const places = seams.filter((at) => at < text.length).map((at) => ({ at: placeFor(text, at), mark: SEAM }));
  if (broken !== null) places.push({ at: placeFor(text, broken), mark: BREAK });
  let marked = "";
  let from = 0;
  for (const { at, mark } of places.sort((one, other) => one.at - other.at)) {
    if (at <= 0) continue;
    marked += text.slice(from, at).replace(MARKS, "") + mark;
    from = at;
  }
  return marked + text.slice(from).replace(MARKS, "");
}

/**
 * Where a mark may stand without a change of what Markdown makes of the text.
 * @param {string} text
 * @param {number} at
 */
function placeFor(text, at) {
  for (;;) {
    while (at > 0 && SIGN.test(text[at - 1])) at -= 1;
    const start = text.lastIndexOf("\n", at - 1) + 1;
    if (at === 0 || !LINE_START.test(text.slice(start, at))) break;
    at = start;
  }
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff ? at - 1 : at;
}
