// @ts-check
/** A chat's story as the lines of a waterfall. Pure. */

import { ABOUT } from "./format.js";
import { kindText } from "./verdict.js";

/** @typedef {import("../types").Story} Story */
/** @typedef {import("../types").StorySpan} StorySpan */
/** @typedef {import("../types").ChatRow} ChatRow */
/** @typedef {import("../types").Translate} Translate */
/** @typedef {import("../types").Format} Format */

/**
 * @typedef {object} StoryLine
 * @property {string} key
 * @property {"attempt" | "wait" | "tool" | "agent" | "reader" | "silent" | "turn"} kind  a turn is a heading
 * @property {string} label
 * @property {number} start  seconds since the chat began
 * @property {number} end
 * @property {boolean} open  it lasts still
 * @property {boolean} failed
 * @property {number | null} first  when the first token came
 * @property {string} note
 */

/**
 * What a row of the list knows of its chat, where there is no event store: the attempts, as far as they broke.
 *
 * @param {ChatRow} row
 * @returns {Story}
 */
export function storyOfRow(row) {
  const ended = { done: "completed", failed: "failed", cancelled: "cancelled", interrupted: "interrupted" };
  const outcome = ended[/** @type {keyof typeof ended} */ (row.state)] ?? null;
  const breaks = row.breaks ?? [];
  const { model, host } = row;
  const starts = [0, ...breaks];
  const last = breaks.length;
  // A chat that was given up ended with its last break.
  const over = row.state === "failed" && last > 0;
  const spans = starts.slice(0, over ? last : last + 1).map((start, index) => ({
    kind: /** @type {const} */ ("attempt"),
    start,
    end: index < last ? breaks[index] : outcome ? (row.seconds ?? start) : null,
    attempt: index + 1,
    model,
    host,
    outcome: index < last ? "failed" : outcome,
    first_token: within(row.first_token, start, index < last ? breaks[index] : Infinity),
  }));
  const errors = row.error ? [{ at: breaks[last - 1] ?? row.seconds ?? 0, attempt: last || 1, ...row.error }] : [];
  return {
    ...row,
    outcome,
    model,
    host,
    started: row.started ?? null,
    seconds: row.seconds ?? null,
    notice: undefined,
    spans,
    errors,
  };
}

/** @param {number | null | undefined} time @param {number} from @param {number} to */
function within(time, from, to) {
  return time !== null && time !== undefined && time >= from && time < to ? time : null;
}

/**
 * The waterfall's lines, in the order in which they began.
 *
 * @param {Story} story
 * @param {{ row: ChatRow | null, now: number, t: Translate, format: Format }} context  `now`: seconds since it began
 * @returns {StoryLine[]}
 */
export function storyLines(story, { row, now, t, format }) {
  const attempts = story.spans.filter(({ kind }) => kind === "attempt");
  const turns = new Set(attempts.map(({ turn }) => turn));
  const agents = story.spans.filter(({ kind }) => kind === "agent");
  const told = new Set();
  const lines = [];
  const flat = { open: false, failed: false, first: null, note: "" };
  for (const turn of turns.size > 1 ? turns : []) {
    const { start } = attempts.find((span) => span.turn === turn) ?? { start: 0 };
    const label = t("story.turn", { turn: turn ?? 1 });
    lines.push({ key: `turn-${turn}`, kind: /** @type {const} */ ("turn"), label, start, end: start, ...flat });
  }
  for (const [index, span] of story.spans.entries()) {
    // The one agent that there is hands nothing over.
    if (span.kind === "agent" && (agents.length < 2 || span === agents[0])) continue;
    const error = span.kind === "attempt" && span.outcome === "failed" ? errorOf(story, span, told) : null;
    lines.push({
      key: `${span.kind}-${index}`,
      kind: span.kind,
      label: labelOf(span, t),
      start: span.start,
      end: Math.max(span.start, span.end ?? now),
      open: span.end === null && story.outcome === null,
      failed: span.kind === "attempt" && span.outcome === "failed",
      first: span.first_token ?? null,
      note: noteOf(span, error, story, t, format),
    });
  }
  if (row?.silent && story.outcome === null) {
    const start = Math.max(0, now - row.silent.since);
    const line = { label: t("story.silent"), start, end: now };
    lines.push({ ...flat, key: "silent", kind: /** @type {const} */ ("silent"), ...line, open: true });
  }
  // Who read it is told last: it is no part of how the answer came about.
  const late = (/** @type {StoryLine} */ line) => (line.kind === "reader" ? 1 : 0);
  return lines.sort((a, b) => late(a) - late(b) || a.start - b.start);
}

/**
 * The error that ended an attempt: told once each.
 * @param {Story} story
 * @param {StorySpan} span
 * @param {Set<unknown>} told
 */
function errorOf(story, span, told) {
  const end = span.end ?? span.start;
  const near = story.errors
    .filter((error) => !told.has(error) && (error.attempt ?? span.attempt) === span.attempt)
    .filter(({ at }) => at >= span.start - 0.01)
    .sort((a, b) => Math.abs(a.at - end) - Math.abs(b.at - end));
  const [found] = near;
  if (found) told.add(found);
  return found ?? null;
}

/** @param {StorySpan} span @param {Translate} t */
function labelOf(span, t) {
  if (span.kind === "wait") return t("story.wait");
  if (span.kind === "tool") return span.tool || t("story.tool");
  if (span.kind === "agent") return t("story.agent");
  if (span.kind === "reader") return t("story.reader");
  return t("story.attempt", { attempt: span.attempt ?? 1 });
}

/**
 * @param {StorySpan} span
 * @param {(Partial<import("../types").ErrorRow> & { at: number }) | null} error
 * @param {Story} story
 * @param {Translate} t
 * @param {Format} format
 */
function noteOf(span, error, story, t, format) {
  /** @type {(string | false | null | undefined)[]} */
  const parts = [];
  if (span.kind === "attempt") {
    if (error) {
      const place = { host: span.host ?? story.host ?? undefined, model: span.model ?? story.model ?? undefined };
      parts.push(kindText({ ...place, ...error }, t));
    }
    if (span.model && story.model && span.model !== story.model) parts.push(span.model);
    const first = span.first_token;
    if (first !== null && first !== undefined) {
      parts.push(t("story.firstToken", { time: format.seconds(Math.max(0, first - span.start)) }));
    }
    const guessed = span.tokens_estimated;
    parts.push(guessed ? ABOUT + tokensText({ output_tokens: guessed }, t, format) : tokensText(span, t, format));
    if (span.finish && span.finish !== "stop" && span.finish !== "tool_calls") parts.push(span.finish);
  } else if (span.kind === "wait") {
    if (span.cut) parts.push(t("story.cut", { n: span.cut, count: format.compact(span.cut) }));
  } else if (span.kind === "tool") {
    if (span.length) parts.push(t("story.length", { n: span.length, count: format.compact(span.length) }));
  } else if (span.kind === "reader") {
    parts.push(span.transport && t("story.readerOver", { transport: span.transport }));
  } else if (span.kind === "agent") {
    parts.push(t("story.agentTo", { name: span.agent || "–" }));
  }
  return parts.filter(Boolean).join(" · ");
}

/**
 * Tokens as "1,204 in, 350 out"; what nobody told is left out.
 *
 * @param {{ input_tokens?: number | null, output_tokens?: number | null }} counts
 * @param {Translate} t
 * @param {Format} format
 */
export function tokensText({ input_tokens: input, output_tokens: output }, t, format) {
  const told = (/** @type {number | null | undefined} */ count) => count !== null && count !== undefined;
  // No question is empty: nothing in is what nobody told.
  if (input && told(output)) {
    return t("story.tokens", { input: format.compact(input), output: format.compact(output) });
  }
  return told(output) ? t("story.tokensOut", { output: format.compact(output) }) : "";
}
