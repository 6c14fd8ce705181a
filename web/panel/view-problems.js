// @ts-check
/** What went wrong lately: the last errors with what became of each, and how often each type came. */

import { button, h, icon, keyedList, setAttr, setText, show } from "./dom.js";
import { kindAdvice, kindText, NEWS, problemText } from "./verdict.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ErrorRow} ErrorRow */

/** Few, because what stands below must not be pushed out of sight by a bad minute. */
const FEW = 3;
const MANY = 30;
const TYPES = 8;
const OUTCOMES = new Set(["retrying", "recovered", "gave_up", "cancelled", "ignored"]);
/** Health checks that tell of a standstill; which one is worth telling, and for how long, the server decides. */
const STALLS = new Set(["loop_stalled", "process_paused"]);

/** @param {ViewContext} context @returns {import("../types").View} */
export function createProblems(context) {
  const { t, format, service, signal } = context;
  const list = h("ul", { class: "cpulse-list" });
  const none = h("p", { class: "cpulse-empty", text: t("problems.none") });
  const stall = h("p", { class: "cpulse-stall" });
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
  const types = h("ul", { class: "cpulse-types", "aria-label": t("problems.byType") });
  const byType = h(
    "details",
    { class: "cpulse-by-type" },
    h("summary", {}, icon("chevron"), h("span", { text: t("problems.byType") })),
    types,
  );
  const element = h(
    "section",
    { class: "cpulse-section cpulse-problems", "aria-label": t("sections.problems") },
    h("h3", { text: t("sections.problems") }),
    none,
    list,
    more,
    stall,
    byType,
  );
  const fill = keyedList(list, (/** @type {Problem} */ row) => createRow(row, context));
  const fillTypes = keyedList(types, (/** @type {[string, number, number]} */ row) => createType(row, context));

  function update() {
    const { snapshot } = service;
    show(element, snapshot !== null);
    if (!snapshot) return;
    const rows = latest(snapshot.errors.recent ?? [], snapshot.time);
    show(none, rows.length === 0);
    fill(rows.slice(0, all ? MANY : FEW), keyOf);
    show(more, rows.length > FEW);
    const label = all ? t("problems.fewer") : t("problems.more", { n: Math.min(MANY, rows.length) - FEW });
    setText(moreText, label);
    setAttr(more, "aria-label", label);
    setAttr(more, "aria-expanded", String(all));

    const problem = (snapshot.health.problems ?? []).find(({ code }) => STALLS.has(code ?? ""));
    const when = snapshot.system.last_stall?.time;
    const told = problem ? problemText(problem, snapshot, t, format) : null;
    setText(
      stall,
      told
        ? [when && t("problems.at", { time: format.clock(when, true) }), told.title, told.advice]
            .filter(Boolean)
            .join(" ")
        : "",
    );
    show(stall, told !== null);

    const counts = Object.entries(snapshot.errors.by_type ?? {})
      .sort((a, b) => b[1] - a[1])
      .slice(0, TYPES);
    const most = counts.length ? counts[0][1] : 1;
    show(byType, counts.length > 0);
    fillTypes(
      counts.map(([name, n]) => [name, n, n / most]),
      ([name]) => name,
    );
  }
  return { element, update };
}

/** An error and how often the same came. @typedef {ErrorRow & { count: number }} Problem */

/**
 * Newest first, what was given up lately before everything else; of one failure (retrying, retrying, recovered) only
 * its newest row, and failures of the same kind, place and outcome as one with their number. Exported for its test.
 *
 * @param {readonly ErrorRow[]} recent
 * @param {number} now  wall time
 * @returns {Problem[]}
 */
export function latest(recent, now) {
  const sorted = [...recent].sort((a, b) => b.time - a.time);
  const seen = new Set();
  /** @type {Map<string, Problem>} */
  const found = new Map();
  for (const row of sorted) {
    const failure = row.error_id ?? `${row.time}:${row.type}:${row.chat_id ?? ""}:${row.attempt ?? 0}`;
    if (seen.has(failure)) continue;
    seen.add(failure);
    const key = keyOf(row);
    const same = found.get(key);
    if (same) same.count += 1;
    else found.set(key, { ...row, count: 1 });
  }
  const urgent = (/** @type {Problem} */ row) => row.outcome === "gave_up" && row.time > now - NEWS;
  const rows = [...found.values()];
  return [...rows.filter(urgent), ...rows.filter((row) => !urgent(row))];
}

/** @param {ErrorRow} row */
function keyOf(row) {
  return [row.kind, row.type, row.host, row.model, row.outcome].join("|");
}

/** @param {Problem} first @param {ViewContext} context */
function createRow(first, { t, format, service }) {
  const what = h("span", { class: "cpulse-row-title" });
  const count = h("span", { class: "cpulse-times" });
  const when = h("time", { class: "cpulse-row-host" });
  const outcome = h("span", { class: "cpulse-state" });
  const where = h("span", { class: "cpulse-figures" });
  const summary = h(
    "summary",
    {},
    h("span", { class: "cpulse-dot", "aria-hidden": "true" }),
    h(
      "div",
      { class: "cpulse-row-main" },
      h("div", { class: "cpulse-row-head" }, what, count, when),
      h("div", { class: "cpulse-row-sub" }, outcome, where),
    ),
    icon("chevron"),
  );
  const message = h("p", { class: "cpulse-message" });
  const advice = h("p", { class: "cpulse-advice" });
  const element = h(
    "li",
    { class: "cpulse-row cpulse-problem" },
    h("details", {}, summary, h("div", { class: "cpulse-detail" }, advice, message)),
  );

  /** @param {Problem} row */
  function update(row) {
    const now = service.snapshot?.time ?? row.time;
    setAttr(element, "data-outcome", row.outcome ?? "gave_up");
    const title = kindText(row, t);
    setText(what, title);
    setText(count, row.count > 1 ? `×${row.count}` : "");
    setText(when, format.when(row.time, now));
    setAttr(when, "title", format.clock(row.time, true));
    setText(outcome, row.outcome && OUTCOMES.has(row.outcome) ? t(`outcomes.${row.outcome}`) : "");
    setText(where, [row.model, row.host].filter((name) => name && !title.includes(name)).join(" · "));
    setText(message, [row.type, row.status ? `HTTP ${row.status}` : "", row.message].filter(Boolean).join(" · "));
    const help = kindAdvice(row, t);
    setText(advice, help);
    show(advice, help !== "");
  }
  update(first);
  return { element, update };
}

/** @param {[string, number, number]} first @param {ViewContext} context */
function createType(first, { format }) {
  const name = h("span", { class: "cpulse-type-name" });
  const number = h("span", { class: "cpulse-type-count" });
  const fill = h("span", { class: "cpulse-type-fill" });
  const element = h(
    "li",
    { class: "cpulse-type" },
    name,
    h("span", { class: "cpulse-type-bar", "aria-hidden": "true" }, fill),
    number,
  );
  /** @param {[string, number, number]} row */
  function update([type, n, share]) {
    setText(name, type);
    setAttr(name, "title", type);
    setText(number, format.compact(n));
    const width = `${(share * 100).toFixed(1)}%`;
    if (fill.style.width !== width) fill.style.width = width;
  }
  update(first);
  return { element, update };
}
