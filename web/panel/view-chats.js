// @ts-check
/** The chats that run now, each with what it is doing and a stop button, and the last ones that ended. */

import { button, h, keyedList, setAttr, setText, show } from "./dom.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ChatRow} ChatRow */

const ENDED = new Set(["done", "failed", "cancelled"]);
const FEW = 3;
const MANY = 20;
const PACE_SAMPLES = 4;
/** From here on systems pick ports at random; model servers have theirs below. */
const RANDOM_PORTS = 32_768;

/** @param {ViewContext} context @returns {import("../types").View} */
export function createChats(context) {
  const { t, service, signal } = context;
  const list = h("ul", { class: "cpulse-list" });
  const empty = h("p", { class: "cpulse-empty", text: t("chats.none") });
  let all = false;
  const more = button(
    { label: "", text: "more", kind: "quiet" },
    () => {
      all = !all;
      update();
    },
    signal,
  );
  const moreText = /** @type {HTMLElement} */ (more.lastElementChild);
  const count = h("span", { class: "cpulse-count" });
  const idle = h("span", { class: "cpulse-idle", text: t("chats.idle") });
  const element = h(
    "section",
    { class: "cpulse-section cpulse-chats", "aria-label": t("sections.chats") },
    h("h3", {}, t("sections.chats"), count, idle),
    empty,
    list,
    more,
  );
  const fill = keyedList(list, (/** @type {ChatRow} */ row) => createRow(row, context));

  function update() {
    const { snapshot } = service;
    show(element, snapshot !== null);
    if (!snapshot) return;
    const rows = snapshot.chat.current ?? [];
    const active = rows.filter((row) => !ENDED.has(row.state));
    const past = rows.filter((row) => ENDED.has(row.state));
    setText(count, String(active.length));
    show(count, active.length > 0);
    show(idle, active.length === 0 && past.length > 0);
    show(empty, rows.length === 0);
    // A chat that begins takes the place of the oldest one that is shown, so that what stands below stays where it is.
    const shown = Math.max(active.length, all ? MANY : FEW);
    fill([...active, ...past].slice(0, shown), (row) => row.chat_id);
    const rest = Math.min(MANY, rows.length) - Math.max(FEW, active.length);
    show(more, rest > 0);
    const label = all ? t("chats.fewer") : t("chats.more", { n: rest });
    setText(moreText, label);
    setAttr(more, "aria-label", label);
    setAttr(more, "aria-expanded", String(all));
  }

  return { element, update };
}

/** @param {ChatRow} first @param {ViewContext} context */
function createRow(first, { t, format, service, signal }) {
  const dot = h("span", { class: "cpulse-dot", "aria-hidden": "true" });
  const model = h("span", { class: "cpulse-row-title" });
  const host = h("span", { class: "cpulse-row-host" });
  const when = h("time", { class: "cpulse-row-when" });
  const state = h("span", { class: "cpulse-state" });
  const figures = h("span", { class: "cpulse-figures" });
  const waited = h("span", { class: "cpulse-bar-wait" });
  const streamed = h("span", { class: "cpulse-bar-stream" });
  const bar = h("div", { class: "cpulse-bar", "aria-hidden": "true" }, waited, streamed);
  const stop = button(
    { label: t("chats.stop"), icon: "stop", kind: "quiet" },
    () => {
      stop.disabled = true;
      service.stopChat(first.chat_id).catch(() => {
        stop.disabled = false;
        setText(figures, t("chats.stopFailed"));
      });
    },
    signal,
  );
  const element = h(
    "li",
    { class: "cpulse-row cpulse-chat" },
    dot,
    h(
      "div",
      { class: "cpulse-row-main" },
      h("div", { class: "cpulse-row-head" }, model, host, when),
      h("div", { class: "cpulse-row-sub" }, state, figures),
      bar,
    ),
    stop,
  );

  const pace = createPace();

  /** @param {ChatRow} row */
  function update(row) {
    const over = ENDED.has(row.state);
    setAttr(element, "data-state", row.state);
    const name = row.model || t("chats.unnamed");
    setText(model, row.kind === "debug" ? `${t("chats.debug")} · ${name}` : name);
    setText(host, plainHost(row.host ?? ""));
    setText(when, row.started ? format.clock(row.started, true) : "");
    setText(state, stateText(row, t, format));
    setText(figures, figuresText(row, pace(row), t, format));
    show(stop, !over && !service.stale);
    const seconds = row.seconds ?? 0;
    const wait = Math.min(seconds, row.first_token ?? seconds);
    const share = seconds > 0 ? (wait / seconds) * 100 : 0;
    waited.style.width = `${share.toFixed(1)}%`;
    streamed.style.width = `${(100 - share).toFixed(1)}%`;
    setAttr(
      bar,
      "title",
      row.first_token === null || row.first_token === undefined
        ? t("chats.barWaiting", { wait: format.seconds(seconds) })
        : t("chats.bar", { wait: format.seconds(wait), stream: format.seconds(Math.max(0, seconds - wait)) }),
    );
    show(bar, seconds > 0);
    if (over) stop.disabled = true;
  }
  update(first);
  return { element, update };
}

/**
 * Without a port that the system picked at random: it says nothing and is another one each time.
 * @param {string} host
 */
function plainHost(host) {
  const [, name, port] = /^(127\.0\.0\.1|localhost|\[::1\]):(\d+)$/.exec(host) ?? [];
  return Number(port) >= RANDOM_PORTS ? name : host;
}

/** @param {ChatRow} row @param {import("../types").Translate} t @param {import("../types").Format} format */
function stateText(row, t, format) {
  if (row.state === "retrying") {
    // The server counts retries; who reads counts attempts, and the first one was an attempt too.
    return t("states.retrying", {
      attempt: row.attempt ?? 1,
      of: (row.of ?? 0) + 1,
      wait: format.duration(Math.ceil(row.retry_in ?? 0)),
    });
  }
  if (row.silent && (row.state === "waiting" || row.state === "streaming")) {
    const { since, next_in: left } = row.silent;
    const times = { silent: format.duration(Math.round(since)), left: format.duration(Math.ceil(left ?? 0)) };
    return t(left === null || left === undefined ? "states.silent" : "states.silentFor", times);
  }
  if (row.state === "tool") return t("states.tool", { tool: row.tool || "–" });
  return t(`states.${row.state}`);
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
    const last = seen.at(-1);
    if (state !== "streaming" || (last && tokens < last.tokens)) seen = [];
    if (state !== "streaming") return null;
    if (!last || seconds > last.seconds) seen = [...seen, { seconds, tokens }].slice(-PACE_SAMPLES);
    const elapsed = seconds - seen[0].seconds;
    return elapsed > 0.5 ? (tokens - seen[0].tokens) / elapsed : null;
  };
}

/**
 * @param {ChatRow} row
 * @param {number | null} speed
 * @param {import("../types").Translate} t
 * @param {import("../types").Format} format
 */
function figuresText(row, speed, t, format) {
  const parts = [format.seconds(row.seconds ?? 0)];
  if (row.tokens) {
    parts.push(t("chats.tokens", { n: row.tokens, count: format.compact(row.tokens) }));
    if (speed !== null) parts.push(t("chats.speed", { rate: format.number(speed) }));
  }
  return parts.join(" · ");
}
