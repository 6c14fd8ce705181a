// @ts-check
/** The last chats as a row of ticks, a tick a chat: how it went is told by height and shape, and by colour. */

import { h, keyedList, setAttr, setText, show } from "./dom.js";
import { ENDED } from "./service.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ChatRow} ChatRow */

const TICKS = 50;

/** @param {ViewContext} context @returns {import("../types").View} */
export function createTicks({ t, format, service, signal, ways }) {
  const bar = h("div", { class: "cpulse-ticks", role: "img" });
  const since = h("span");
  const sums = h("span");
  const element = h(
    "div",
    { class: "cpulse-heartbeat" },
    bar,
    h("p", { class: "cpulse-heartbeat-note", "aria-hidden": "true" }, since, sums),
  );
  // By pointer only: the list below leads the keyboard to the same chats.
  bar.addEventListener(
    "click",
    (event) => {
      const tick = /** @type {Element} */ (event.target).closest("[data-chat]");
      if (tick) ways.go("chat", tick.getAttribute("data-chat") ?? "");
    },
    { signal },
  );
  const fill = keyedList(bar, (/** @type {ChatRow} */ row) => {
    const tick = h("span", { class: "cpulse-tick", "data-chat": row.chat_id });
    return {
      element: tick,
      update(/** @type {ChatRow} */ now) {
        setAttr(tick, "data-kind", tickKind(now));
        setAttr(tick, "title", titleOf(now));
      },
    };
  });

  /** @param {ChatRow} row */
  function titleOf(row) {
    return [
      row.started ? format.clock(row.started, true) : "",
      row.model,
      t(`chats.ticks.${tickKind(row)}`),
      format.seconds(row.seconds ?? null),
    ]
      .filter(Boolean)
      .join(" · ");
  }

  return {
    element,
    update() {
      // Newest last, as time goes in the charts.
      const rows = service.chats
        .filter((row) => ENDED.has(row.state))
        .slice(0, TICKS)
        .reverse();
      show(element, rows.length > 0);
      fill(rows, (row) => row.chat_id);
      /** @type {Record<string, number>} */
      const counts = {};
      for (const row of rows) counts[tickKind(row)] = (counts[tickKind(row)] ?? 0) + 1;
      const told = ["saved", "failed", "cancelled", "interrupted"].filter((kind) => counts[kind]);
      const words = told.map((kind) => `${format.number(counts[kind])} ${t(`chats.ticks.${kind}`)}`);
      // That a chat was answered needs no number of its own.
      setText(since, t("chats.last", { n: rows.length }));
      setText(sums, words.join(" · "));
      const all = [`${format.number(counts.done ?? 0)} ${t("chats.ticks.done")}`, ...words];
      setAttr(bar, "aria-label", `${t("chats.last", { n: rows.length })}: ${all.join(", ")}`);
    },
  };
}

/** @param {ChatRow} row */
function tickKind(row) {
  return row.state === "done" && row.saved ? "saved" : row.state;
}
