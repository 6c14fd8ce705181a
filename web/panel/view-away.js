// @ts-check
/** Answers that ran while the page was reloaded: read them, copy them, let them go. Hidden while there are none. */

import { button, h, keyedList, setAttr, setText, show } from "./dom.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../streams/kept.js").KeptStreams} KeptStreams */
/** @typedef {import("../streams/kept.js").AwayAnswer} AwayAnswer */

const TONES = { running: "streaming", completed: "done", failed: "failed", cancelled: "cancelled", lost: "failed" };

/**
 * @param {ViewContext} context
 * @param {{ kept: KeptStreams, copyText: (text: string) => Promise<boolean> }} options
 * @returns {import("../types").View}
 */
export function createAway(context, { kept, copyText }) {
  const { t, signal } = context;
  const list = h("ul", { class: "cpulse-list" });
  const element = h(
    "section",
    { class: "cpulse-section cpulse-away", "aria-label": t("away.title") },
    h("h3", {}, t("away.title")),
    list,
  );
  const showRows = keyedList(list, (/** @type {AwayAnswer} */ row) => createRow(row, context, { kept, copyText }));

  function update() {
    const { answers } = kept;
    show(element, answers.length > 0);
    showRows(answers, (row) => row.id);
  }
  kept.addEventListener("change", update, { signal });
  return { element, update };
}

/**
 * @param {AwayAnswer} first
 * @param {ViewContext} context
 * @param {{ kept: KeptStreams, copyText: (text: string) => Promise<boolean> }} options
 */
function createRow(first, { t, format, signal }, { kept, copyText }) {
  const { id } = first;
  let text = first.text;
  const title = h("span", { class: "cpulse-row-title" });
  const when = h("time", { class: "cpulse-row-when" });
  const figures = h("span", { class: "cpulse-figures" });
  const answer = h("pre", { class: "cpulse-away-text" });
  const details = h("details", {}, h("summary", { class: "cpulse-away-read" }, t("away.read")), answer);
  // A long answer is put into the page only for who reads it.
  details.addEventListener("toggle", () => setText(answer, details.open ? text : ""), { signal });
  const copy = button(
    { label: t("away.copy"), icon: "copy", text: t("away.copy"), kind: "quiet" },
    () => {
      void copyText(text).then((copied) => setText(figures, t(copied ? "foot.copied" : "foot.failed")));
    },
    signal,
  );
  const dismiss = button(
    { label: t("away.dismiss"), text: t("away.dismiss"), kind: "quiet" },
    () => kept.dismiss(id),
    signal,
  );
  const element = h(
    "li",
    { class: "cpulse-row cpulse-chat cpulse-away-row" },
    h("span", { class: "cpulse-dot", "aria-hidden": "true" }),
    h(
      "div",
      { class: "cpulse-row-main" },
      h("div", { class: "cpulse-row-head" }, title, when),
      h("div", { class: "cpulse-row-sub" }, figures),
      details,
      h("div", { class: "cpulse-row-sub" }, copy, dismiss),
    ),
  );

  /** @param {AwayAnswer} row */
  function update(row) {
    ({ text } = row);
    setAttr(element, "data-state", TONES[row.state]);
    setText(title, t(`away.states.${row.state}`));
    setText(when, row.started ? t("away.asked", { time: format.clock(row.started / 1000) }) : "");
    setText(figures, t("away.length", { n: text.length, count: format.compact(text.length) }));
    if (details.open) setText(answer, text);
    copy.disabled = !text;
  }
  update(first);
  return { element, update };
}
