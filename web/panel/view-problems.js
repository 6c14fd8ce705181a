// @ts-check
/** What went wrong lately: the last errors with what became of each, and how often each type came. */

import { button, h, icon, keyedList, moreButton, roving, setAttr, setText, show } from "./dom.js";
import { reveal } from "./ways.js";
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

/** @param {ViewContext} context @returns {import("../types").View & { shown: () => readonly object[] }} */
export function createProblems(context) {
  const { t, format, service, signal, ways } = context;
  const list = h("ul", { class: "cpulse-list" });
  const stops = roving(list, ".cpulse-problem > details > summary", context.signal);
  const none = h("p", { class: "cpulse-empty", text: t("problems.none") });
  const stall = h("p", { class: "cpulse-stall" });
  const more = moreButton(t, () => update(), signal);
  const types = h("ul", { class: "cpulse-types", "aria-label": t("problems.byKind") });
  const byType = h(
    "details",
    { class: "cpulse-by-type" },
    h("summary", {}, icon("chevron"), h("span", { text: t("problems.byKind") })),
    types,
  );
  const element = h(
    "section",
    { class: "cpulse-section cpulse-problems", "aria-label": t("sections.problems") },
    h("h3", { text: t("sections.problems") }),
    none,
    list,
    more.element,
    stall,
    byType,
  );
  /** @type {Map<string, HTMLDetailsElement>} */
  const items = new Map();
  const fill = keyedList(list, (/** @type {Problem} */ row) => {
    const item = createRow(row, context);
    items.set(keyOf(row), item.details);
    return item;
  });
  ways.on("problem", (chatId) => {
    const rows = listed();
    const at = rows.findIndex(({ chats }) => chats.includes(chatId));
    if (at < 0) return;
    more.all ||= at >= FEW;
    update();
    const details = items.get(keyOf(rows[at]));
    if (!details) return;
    details.open = true;
    reveal(details, /** @type {HTMLElement} */ (details.firstElementChild));
  });
  const listed = () => latest(service.snapshot?.errors.recent ?? [], service.snapshot?.time ?? 0);
  const fillTypes = keyedList(types, (/** @type {[string, number, number]} */ row) => createType(row, context));

  function update() {
    const { snapshot } = service;
    show(element, snapshot !== null);
    if (!snapshot) return;
    const rows = listed();
    show(none, rows.length === 0);
    const shown = rows.slice(0, more.all ? MANY : FEW);
    fill(shown, keyOf);
    stops();
    for (const key of items.keys()) if (!shown.some((row) => keyOf(row) === key)) items.delete(key);
    more.update(Math.min(MANY, rows.length) - FEW);

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

    const counts = Object.entries(snapshot.errors.by_kind ?? {})
      .sort((a, b) => b[1] - a[1])
      .slice(0, TYPES);
    const most = counts.length ? counts[0][1] : 1;
    show(byType, counts.length > 0);
    fillTypes(
      counts.map(([kind, n]) => [plainKind(kind, t), n, n / most]),
      ([words]) => words,
    );
  }
  return { element, update, shown: listed };
}

/**
 * A kind of error in words that name no host and no model.
 * @param {string} kind
 * @param {import("../types").Translate} t
 */
function plainKind(kind, t) {
  const row = { kind, type: kind, host: t("names.modelServer"), model: t("names.model") };
  const words = kindText(row, t);
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * An error and how often the same came, and in which chats.
 * @typedef {ErrorRow & { count: number, chats: string[] }} Problem
 */

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
    const chats = row.chat_id ? [row.chat_id] : [];
    if (same) {
      same.count += 1;
      same.chats.push(...chats.filter((id) => !same.chats.includes(id)));
    } else found.set(key, { ...row, count: 1, chats });
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
function createRow(first, { t, format, service, signal, ways }) {
  let current = first;
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
  const advice = h("p");
  const chat = button(
    { label: t("problems.chat"), text: t("problems.chat"), kind: "link" },
    () => ways.go("chat", current.chats[0]),
    signal,
  );
  const log = button(
    { label: t("story.log"), text: t("story.log"), kind: "link" },
    () => ways.go("log", current.chats[0]),
    signal,
  );
  const links = h("div", { class: "cpulse-story-ways" }, chat, log);
  const details = h("details", {}, summary, h("div", { class: "cpulse-detail" }, advice, message, links));
  const element = h("li", { class: "cpulse-row cpulse-problem" }, details);

  /** @param {Problem} row */
  function update(row) {
    current = row;
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
    show(links, row.chats.length > 0);
  }
  update(first);
  return { element, update, details };
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
