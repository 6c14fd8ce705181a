// @ts-check
/** The chats that run now, each with what it is doing and a stop button, and the last ones that ended. */

import { button, h, keyedList, setAttr, setText, show } from "./dom.js";

/** @typedef {import("./types").ViewContext} ViewContext */
/** @typedef {import("./types").ChatRow} ChatRow */

const ENDED = new Set(["done", "failed", "cancelled"]);
const FEW = 3;
const MANY = 20;

/** @param {ViewContext} context @returns {import("./types").View} */
export function createChats(context) {
  const { t, service, signal } = context;
  const running = h("ul", { class: "cpulse-list" });
  const ended = h("ul", { class: "cpulse-list" });
  const empty = h("p", { class: "cpulse-empty" });
  let all = false;
  const more = button({ label: "", text: "more", kind: "quiet" }, () => {
    all = !all;
    update();
  }, signal);
  const moreText = /** @type {HTMLElement} */ (more.lastElementChild);
  const count = h("span", { class: "cpulse-count" });
  const element = h(
    "section",
    { class: "cpulse-section cpulse-chats", "aria-label": t("sections.chats") },
    h("h3", {}, t("sections.chats"), count),
    empty,
    running,
    ended,
    more,
  );
  const showRunning = keyedList(running, (/** @type {ChatRow} */ row) => createRow(row, context));
  const showEnded = keyedList(ended, (/** @type {ChatRow} */ row) => createRow(row, context));

  function update() {
    const { snapshot } = service;
    show(element, snapshot !== null);
    if (!snapshot) return;
    const rows = snapshot.chat.current ?? [];
    const active = rows.filter((row) => !ENDED.has(row.state));
    const past = rows.filter((row) => ENDED.has(row.state));
    setText(count, active.length ? String(active.length) : "");
    show(count, active.length > 0);
    setText(empty, past.length ? t("chats.idle") : t("chats.none"));
    show(empty, active.length === 0);
    showRunning(active, (row) => row.chat_id);
    showEnded(past.slice(0, all ? MANY : FEW), (row) => row.chat_id);
    show(more, past.length > FEW);
    const label = all ? t("chats.fewer") : t("chats.more", { n: Math.min(MANY, past.length) - FEW });
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
  const state = h("span", { class: "cpulse-state" });
  const figures = h("span", { class: "cpulse-figures" });
  const waited = h("span", { class: "cpulse-bar-wait" });
  const streamed = h("span", { class: "cpulse-bar-stream" });
  const bar = h("div", { class: "cpulse-bar", "aria-hidden": "true" }, waited, streamed);
  const stop = button({ label: t("chats.stop"), icon: "stop", kind: "quiet" }, () => {
    stop.disabled = true;
    service.stopChat(first.chat_id).catch(() => {
      stop.disabled = false;
      setText(figures, t("chats.stopFailed"));
    });
  }, signal);
  const element = h(
    "li",
    { class: "cpulse-row cpulse-chat" },
    dot,
    h("div", { class: "cpulse-row-main" }, h("div", { class: "cpulse-row-head" }, model, host), h("div", { class: "cpulse-row-sub" }, state, figures), bar),
    stop,
  );

  /** @param {ChatRow} row */
  function update(row) {
    const over = ENDED.has(row.state);
    setAttr(element, "data-state", row.state);
    setText(model, row.model || (row.kind === "debug" ? t("chats.debug") : t("chats.unnamed")));
    setText(host, row.host ?? "");
    setText(state, stateText(row, t, format));
    setText(figures, figuresText(row, t, format));
    show(stop, !over && !service.stale);
    const seconds = row.seconds ?? 0;
    const wait = Math.min(seconds, row.first_token ?? seconds);
    const share = seconds > 0 ? (wait / seconds) * 100 : 0;
    waited.style.width = `${share.toFixed(1)}%`;
    streamed.style.width = `${(100 - share).toFixed(1)}%`;
    setAttr(bar, "title", row.first_token === null || row.first_token === undefined
      ? t("chats.barWaiting", { wait: format.seconds(seconds) })
      : t("chats.bar", { wait: format.seconds(wait), stream: format.seconds(Math.max(0, seconds - wait)) }));
    show(bar, seconds > 0 && !over);
    if (over) stop.disabled = true;
  }
  update(first);
  return { element, update };
}

/** @param {ChatRow} row @param {import("./types").Translate} t @param {import("./types").Format} format */
function stateText(row, t, format) {
  if (row.state === "retrying") {
    return t("states.retrying", { attempt: row.attempt ?? 1, of: row.of ?? 1, wait: format.duration(Math.ceil(row.retry_in ?? 0)) });
  }
  if (row.state === "tool") return t("states.tool", { tool: row.tool || "–" });
  return t(`states.${row.state}`);
}

/** @param {ChatRow} row @param {import("./types").Translate} t @param {import("./types").Format} format */
function figuresText(row, t, format) {
  const parts = [format.seconds(row.seconds ?? 0)];
  if (row.tokens) {
    parts.push(t("chats.tokens", { n: row.tokens, count: format.compact(row.tokens) }));
    const streaming = (row.seconds ?? 0) - (row.first_token ?? 0);
    // While it waits for something else, the mean of the whole stretch says nothing about the model.
    if (streaming > 0.2 && (row.state === "streaming" || row.state === "done")) parts.push(t("chats.speed", { rate: format.number(row.tokens / streaming) }));
  }
  return parts.join(" · ");
}
