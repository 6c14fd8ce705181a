// @ts-check
/** One chat of the list: what it does or how it ended, its bar with a mark at each break, and its story on demand. */

import { ABOUT } from "./format.js";
import { button, h, icon, setAttr, setText, show } from "./dom.js";
import { ENDED } from "./service.js";
import { kindText } from "./verdict.js";
import { createStory } from "./view-story.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ChatRow} ChatRow */
/** @typedef {{ element: HTMLElement, update: (row: ChatRow) => void, open: () => HTMLElement }} ChatItem */

const PACE_SAMPLES = 4;
/** From here on systems pick ports at random; model servers have theirs below. */
const RANDOM_PORTS = 32_768;
let numbers = 0;

/**
 * @param {ChatRow} first
 * @param {ViewContext} context
 * @param {(id: string, open: boolean) => void} [onOpen]  told when the story is opened and closed
 * @returns {ChatItem}
 */
export function createChat(first, context, onOpen = () => undefined) {
  const { t, service, signal } = context;
  numbers += 1;
  const id = `cpulse-story-${numbers}`;
  let row = first;
  /** @type {ReturnType<typeof createStory> | null} */
  let story = null;
  /** Whether the last try to stop it came to nothing: told until the next one, or until it ends. */
  let refused = false;
  const parts = createParts();
  const stop = button(
    { label: t("chats.stop"), icon: "stop", kind: "quiet" },
    () => {
      stop.disabled = true;
      refused = false;
      service.stopChat(row.chat_id).catch(() => {
        stop.disabled = false;
        refused = true;
        update(row);
      });
    },
    signal,
  );
  const head = h(
    "button",
    { type: "button", class: "cpulse-open", "aria-expanded": "false", "aria-controls": id },
    h("span", { class: "cpulse-row-head" }, parts.model, parts.host, parts.when, icon("chevron")),
    h("span", { class: "cpulse-row-sub" }, parts.state, parts.figures),
    parts.bar,
  );
  head.addEventListener("click", () => toggle(story === null), { signal });
  const place = h("div", { id, class: "cpulse-story-place", hidden: true });
  const element = h(
    "li",
    { class: "cpulse-row cpulse-chat" },
    h("span", { class: "cpulse-dot", "aria-hidden": "true" }),
    h("div", { class: "cpulse-row-main" }, head),
    stop,
    place,
  );
  const pace = createPace();

  /** @param {boolean} open */
  function toggle(open) {
    story = open ? createStory(context, row) : null;
    place.replaceChildren(...(story ? [story.element] : []));
    show(place, open);
    setAttr(head, "aria-expanded", String(open));
    story?.update(row);
    onOpen(row.chat_id, open);
  }

  /** @param {ChatRow} next */
  function update(next) {
    row = next;
    const over = ENDED.has(row.state);
    setAttr(element, "data-state", row.state);
    setAttr(element, "data-saved", row.saved ? "" : null);
    const name = row.model || t("chats.unnamed");
    setText(parts.model, row.kind === "debug" ? `${t("chats.debug")} · ${name}` : name);
    setText(parts.host, plainHost(row.host ?? ""));
    setText(parts.when, row.started ? whenOf(row.started, context) : "");
    setText(parts.state, stateText(row, context));
    const figures = figuresText(row, pace(row), context);
    setText(parts.figures, refused && !over ? t("chats.stopFailed") : figures);
    show(stop, !over && !service.stale);
    drawBar(row, parts, context);
    if (over) stop.disabled = true;
    story?.update(row);
  }
  update(first);
  return {
    element,
    update,
    open() {
      if (!story) toggle(true);
      return head;
    },
  };
}

function createParts() {
  const waited = h("span", { class: "cpulse-bar-wait" });
  const streamed = h("span", { class: "cpulse-bar-stream" });
  const breaks = h("span", { class: "cpulse-bar-breaks" });
  return {
    model: h("span", { class: "cpulse-row-title" }),
    host: h("span", { class: "cpulse-row-host" }),
    when: h("time", { class: "cpulse-row-when" }),
    state: h("span", { class: "cpulse-state" }),
    figures: h("span", { class: "cpulse-figures" }),
    waited,
    streamed,
    breaks,
    bar: h("span", { class: "cpulse-bar", "aria-hidden": "true" }, waited, streamed, breaks),
  };
}

/** The day too, if it is not today. @param {number} started @param {ViewContext} context */
function whenOf(started, { format, service }) {
  const now = service.snapshot?.time ?? started;
  const today = new Date(now * 1000).toDateString() === new Date(started * 1000).toDateString();
  return today || now - started < 43_200
    ? format.clock(started, true)
    : `${format.day(started)} ${format.clock(started)}`;
}

/** @param {ChatRow} row @param {ReturnType<typeof createParts>} parts @param {ViewContext} context */
function drawBar(row, { bar, waited, streamed, breaks }, { t, format }) {
  const seconds = row.seconds ?? 0;
  const wait = Math.min(seconds, row.first_token ?? seconds);
  const share = seconds > 0 ? (wait / seconds) * 100 : 0;
  waited.style.width = `${share.toFixed(1)}%`;
  streamed.style.width = `${(100 - share).toFixed(1)}%`;
  const broke = seconds > 0 ? (row.breaks ?? []).filter((at) => at <= seconds) : [];
  while (breaks.childElementCount > broke.length) breaks.lastChild?.remove();
  while (breaks.childElementCount < broke.length) breaks.append(h("span", { class: "cpulse-break" }));
  broke.forEach((at, index) => {
    const mark = /** @type {HTMLElement} */ (breaks.children[index]);
    mark.style.left = `${((at / seconds) * 100).toFixed(1)}%`;
  });
  const told = [
    row.first_token === null || row.first_token === undefined
      ? t("chats.barWaiting", { wait: format.seconds(seconds) })
      : t("chats.bar", { wait: format.seconds(wait), stream: format.seconds(Math.max(0, seconds - wait)) }),
    broke.length ? t("chats.broke", { times: broke.map((at) => format.seconds(at)).join(", ") }) : "",
  ];
  setAttr(bar, "title", told.filter(Boolean).join("; "));
  show(bar, seconds > 0);
}

/**
 * Without a port that the system picked at random: it says nothing and is another one each time.
 * @param {string} host
 */
function plainHost(host) {
  const [, name, port] = /^(127\.0\.0\.1|localhost|\[::1\]):(\d+)$/.exec(host) ?? [];
  return Number(port) >= RANDOM_PORTS ? name : host;
}

/** @param {ChatRow} row @param {ViewContext} context */
function stateText(row, { t, format, service }) {
  const left = (/** @type {number} */ seconds) => format.duration(Math.ceil(Math.max(0, seconds - service.age)));
  if (row.state === "retrying") {
    // The server counts retries; who reads counts attempts, and the first one was an attempt too.
    return t("states.retrying", { attempt: row.attempt ?? 1, of: (row.of ?? 0) + 1, wait: left(row.retry_in ?? 0) });
  }
  if (row.silent && (row.state === "waiting" || row.state === "streaming")) {
    const { since, next, next_in: nextIn } = row.silent;
    const silent = format.duration(Math.floor(since + service.age));
    if (nextIn === null || nextIn === undefined) return t("states.silent", { silent });
    const what = next === "give up" ? "givenUp" : next === "ask again" ? "askedAgain" : "silentFor";
    return t(`states.${what}`, { silent, left: left(nextIn) });
  }
  if (row.state === "tool") return t("states.tool", { tool: row.tool || NO_TOOL });
  if (row.state === "done" && row.saved) return t("states.saved");
  const error = row.state === "failed" ? (row.error ?? lastError(row, service)) : null;
  if (error) return t("states.failedFor", { what: kindText({ host: row.host, model: row.model, ...error }, t) ?? "" });
  return t(`states.${row.state}`);
}

const NO_TOOL = "–";

/**
 * The newest error of a chat, for a row that names none.
 * @param {ChatRow} row
 * @param {ViewContext["service"]} service
 */
function lastError({ chat_id: id }, { snapshot }) {
  return snapshot?.errors.recent?.find((error) => error.chat_id === id) ?? null;
}

/**
 * Tells a chat's tokens per second, or null: while it streams those of the last seconds, at its end the model's own
 * speed, without waits and tools, as in the tile and the chart.
 *
 * @returns {(row: ChatRow) => number | null}
 */
function createPace() {
  /** @type {{ seconds: number, tokens: number }[]} */
  let seen = [];
  return ({ state, seconds = 0, tokens = 0, stream_tokens: streamed = 0, stream_seconds: span = 0 }) => {
    if (state === "done") return span > 0 ? streamed / span : null;
    if (state !== "streaming" || tokens < (seen.at(-1)?.tokens ?? 0)) seen = [];
    if (state !== "streaming") return null;
    const last = seen.at(-1);
    if (!last || seconds > last.seconds) seen = [...seen, { seconds, tokens }].slice(-PACE_SAMPLES);
    const elapsed = seconds - seen[0].seconds;
    return elapsed > 0.5 ? (tokens - seen[0].tokens) / elapsed : null;
  };
}

/**
 * @param {ChatRow} row
 * @param {number | null} speed
 * @param {ViewContext} context
 */
function figuresText(row, speed, { t, format, service }) {
  const known = row.seconds !== null && row.seconds !== undefined;
  const parts = known || !ENDED.has(row.state) ? [format.seconds(row.seconds ?? null)] : [];
  const about = row.tokens_estimated ? ABOUT : "";
  if (row.tokens) {
    parts.push(about + t("chats.tokens", { n: row.tokens, count: format.compact(row.tokens) }));
    if (speed !== null) parts.push(t("chats.speed", { rate: format.number(speed) }));
  }
  if (row.cost) parts.push((row.cost_estimated ? ABOUT : "") + format.money(row.cost, service.sign));
  // Not `attempts`: a chat that called a tool was two calls of the model, and nothing went wrong.
  if (ENDED.has(row.state) && row.retries) parts.push(t("chats.attempts", { n: row.retries + 1 }));
  return parts.join(" · ");
}
