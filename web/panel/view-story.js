// @ts-check
/** The story of one chat below its row: a waterfall of what happened, and its figures. */

import { button, h, keyedList, setAttr, setText, show } from "./dom.js";
import { ENDED } from "./service.js";
import { storyLines, storyOfRow, tokensText } from "./story.js";
import { ABOUT, NONE } from "./format.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ChatRow} ChatRow */
/** @typedef {import("../types").Story} Story */
/** @typedef {import("./story.js").StoryLine} StoryLine */

/** While a chat runs its story is asked for again. */
const EVERY_MS = 2_000;
/** After a chat's end its last events may not yet be on the disk. */
const TRIES = 5;

/**
 * @param {ViewContext} context
 * @param {ChatRow} first
 * @returns {{ element: HTMLElement, update: (row: ChatRow) => void }}
 */
export function createStory(context, first) {
  const { t, format, service, signal, ways } = context;
  /** @type {Story | null} */
  let story = null;
  let row = first;
  let asked = -Infinity;
  let busy = false;
  let tries = 0;
  let failed = false;

  const list = h("ol", { class: "cpulse-spans", "aria-label": t("story.title") });
  const axis = h("div", { class: "cpulse-spans-axis", "aria-hidden": "true" }, h("span"), h("span"));
  const facts = h("dl", { class: "cpulse-facts" });
  const note = h("p", { class: "cpulse-note" });
  const log = button(
    { label: t("story.log"), text: t("story.log"), kind: "link" },
    () => ways.go("log", row.chat_id),
    signal,
  );
  const problem = button(
    { label: t("story.problem"), text: t("story.problem"), kind: "link" },
    () => ways.go("problem", row.chat_id),
    signal,
  );
  const element = h(
    "div",
    { class: "cpulse-story" },
    note,
    list,
    axis,
    facts,
    h("div", { class: "cpulse-story-ways" }, problem, log),
  );
  const fill = keyedList(list, (/** @type {StoryLine & { total: number }} */ line) => createLine(line, context));
  const fillFacts = keyedList(facts, (/** @type {[string, string]} */ fact) => createFact(fact));

  async function ask() {
    busy = true;
    asked = performance.now();
    try {
      story = (await service.ask(`story?chat=${encodeURIComponent(row.chat_id)}`)) ?? story;
      failed = false;
    } catch {
      failed = true; // what the row knows is shown; it is asked again while the chat runs
    }
    busy = false;
    tries = story?.outcome || !ENDED.has(row.state) ? tries : tries + 1;
    if (!signal.aborted) draw();
  }

  function draw() {
    const shown = story ?? storyOfRow(row);
    const running = !ENDED.has(row.state);
    const elapsed = (row.seconds ?? 0) + (running ? service.age : 0);
    const last = Math.max(0.001, ...shown.spans.map(({ start, end }) => Math.max(start, end ?? 0)));
    const total = Math.max(running ? elapsed : 0, shown.seconds ?? last, 0.001);
    const lines = storyLines(shown, { row: running ? row : null, now: running ? elapsed : total, t, format });
    fill(
      lines.map((line) => ({ ...line, total })),
      ({ key }) => key,
    );
    setText(/** @type {Node} */ (axis.firstChild), "0 s");
    setText(/** @type {Node} */ (axis.lastChild), format.seconds(total));
    fillFacts(factsOf(shown, row, context), ([name]) => name);
    const missing = story !== null || busy ? "" : failed ? "story.unreachable" : missingNote(service.stored);
    setText(note, missing && t(missing));
    show(note, missing !== "");
    const problems = service.snapshot?.errors.recent ?? [];
    show(
      problem,
      problems.some(({ chat_id: id }) => id === row.chat_id),
    );
  }

  /** @param {ChatRow} next */
  function update(next) {
    row = next;
    // A store that is off is asked once, and no more.
    const unfinished = service.stored !== false && (!ENDED.has(row.state) || (!story?.outcome && tries < TRIES));
    if (!busy && !service.stale && unfinished && performance.now() - asked >= EVERY_MS) void ask();
    draw();
  }
  return { element, update };
}

/** @param {boolean | null} stored */
function missingNote(stored) {
  return stored === false ? "story.off" : "story.unknown";
}

/** @param {StoryLine & { total: number }} first @param {ViewContext} context */
function createLine(first, { format }) {
  const label = h("span", { class: "cpulse-span-label" });
  const before = h("span", { class: "cpulse-span-before" });
  const bar = h("span", { class: "cpulse-span-bar" });
  const track = h("span", { class: "cpulse-span-track", "aria-hidden": "true" }, before, bar);
  const time = h("span", { class: "cpulse-span-time" });
  const note = h("span", { class: "cpulse-span-note" });
  const element = h("li", { class: "cpulse-span" }, label, track, time, note);
  /** @param {StoryLine & { total: number }} line */
  function update(line) {
    const { start, end, total } = line;
    const share = (/** @type {number} */ at) => Math.max(0, Math.min(100, (at / total) * 100));
    const first = line.first !== null && line.first > start ? Math.min(line.first, end) : start;
    setAttr(element, "data-kind", line.kind);
    setAttr(element, "data-failed", line.failed ? "" : null);
    setAttr(element, "data-open", line.open ? "" : null);
    setText(label, line.label);
    setAttr(label, "title", line.label);
    setText(time, format.seconds(end - start));
    setText(note, line.note);
    place(before, share(start), share(first));
    place(bar, share(first), Math.max(share(end), share(first) + 0.6));
    setAttr(track, "title", `${format.seconds(start)} – ${format.seconds(end)}`);
  }
  update(first);
  return { element, update };
}

/** @param {HTMLElement} element @param {number} from @param {number} to  shares of a hundred */
function place(element, from, to) {
  element.style.left = `${from.toFixed(2)}%`;
  element.style.width = `${(to - from).toFixed(2)}%`;
}

/** @param {[string, string]} first */
function createFact([name]) {
  const value = h("dd");
  const element = h("div", { class: "cpulse-fact" }, h("dt", { text: name }), value);
  return { element, update: (/** @type {[string, string]} */ [, text]) => setText(value, text) };
}

/**
 * The figures of a chat, as far as they are known.
 *
 * @param {Story} story
 * @param {ChatRow} row
 * @param {ViewContext} context
 * @returns {[string, string][]}
 */
function factsOf(story, row, { t, format, service }) {
  const about = (story.tokens_estimated ?? row.tokens_estimated) ? ABOUT : "";
  const pick = (/** @type {"input_tokens" | "output_tokens" | "cached_tokens" | "reasoning_tokens"} */ name) =>
    story[name] ?? story.usage?.[name] ?? row[name] ?? null;
  const output = pick("output_tokens") ?? story.tokens ?? row.tokens ?? null;
  const tokens = [
    tokensText({ input_tokens: pick("input_tokens"), output_tokens: output || null }, t, format),
    pick("cached_tokens") ? t("story.cached", { count: format.compact(pick("cached_tokens")) }) : "",
    pick("reasoning_tokens") ? t("story.reasoning", { count: format.compact(pick("reasoning_tokens")) }) : "",
  ].filter(Boolean);
  const cost = story.cost ?? row.cost ?? null;
  const costAbout = (story.cost_estimated ?? row.cost_estimated) ? ABOUT : "";
  const { length, bytes_sent: sent, bytes_saved: saved } = story;
  const end = story.outcome ? t(`story.ends.${story.outcome}`) : t(`story.ends.running`);
  /** @type {[string, string | null | false | undefined | 0][]} */
  const facts = [
    [t("story.ended"), row.saved && story.outcome === "completed" ? t("story.ends.saved") : end],
    [t("story.started"), story.started && `${format.day(story.started)} ${format.clock(story.started, true)}`],
    [
      t("story.took"),
      story.seconds !== null &&
        (story.outcome === "interrupted"
          ? t("story.atLeast", { time: format.seconds(story.seconds) })
          : format.seconds(story.seconds)),
    ],
    [t("story.server"), [story.model, story.host].filter(Boolean).join(" · ")],
    [t("story.tokensTitle"), tokens.length > 0 && about + tokens.join(" · ")],
    [t("story.cost"), cost && costAbout + format.money(cost, service.sign)],
    [t("story.answer"), length && t("story.length", { n: length, count: format.compact(length) })],
    [
      t("story.sent"),
      sent &&
        (saved ? t("story.sentSaved", { sent: format.bytes(sent), saved: format.bytes(saved) }) : format.bytes(sent)),
    ],
    [t("story.id"), story.chat_id],
  ];
  return facts
    .filter((fact) => fact[1] && fact[1] !== NONE)
    .map(([name, text]) => /** @type {[string, string]} */ ([name, String(text)]));
}
