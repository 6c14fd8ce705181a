// @ts-check
/** Models and money: a table of the models, what Pulse has saved, and the sums by day. */

import { button, h, icon, keyedList, moreButton, setAttr, setText, show } from "./dom.js";
import { ABOUT, NONE } from "./format.js";
import { kindText } from "./verdict.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ModelRow} ModelRow */
/** @typedef {import("../types").TotalsRow} TotalsRow */

const FEW = 4;
const MANY = 20;
const DAYS = 7;

/**
 * The columns: a figure each, as text. `main`: shown in a narrow panel too.
 * @typedef {(row: ModelRow, context: ViewContext) => string} Figure
 * @type {{ name: string, main?: boolean, tone?: "bad" | "good", value: Figure }[]}
 */
const COLUMNS = [
  { name: "calls", main: true, value: (row, { format }) => format.compact(row.calls ?? row.chats) },
  {
    name: "failed",
    main: true,
    tone: "bad",
    value: (row, { format }) => format.compact(row.calls_failed ?? row.failed),
  },
  { name: "retried", value: (row, { format }) => format.compact(row.retries) },
  { name: "saved", main: true, tone: "good", value: (row, { format }) => format.compact(row.saved) },
  { name: "firstToken", main: true, value: (row, { format }) => format.seconds(row.first_token_p50) },
  { name: "firstTokenP95", value: (row, { format }) => format.seconds(row.first_token_p95) },
  { name: "speed", value: (row, { format }) => format.number(row.tokens_per_second_p50) },
  { name: "input", value: (row, { format }) => format.compact(row.input_tokens) },
  {
    name: "output",
    value: (row, { format }) => about(Boolean(row.tokens_estimated)) + format.compact(row.tokens ?? row.output_tokens),
  },
  {
    name: "cost",
    main: true,
    value: (row, { t, format, service }) =>
      row.local
        ? t("models.local")
        : about(Boolean(row.cost_estimated), row.cost) + format.money(row.cost, service.sign),
  },
];

/**
 * What was to be paid; nothing is told in a word.
 * @param {number | null | undefined} cost
 * @param {ViewContext["t"]} t
 * @param {ViewContext["format"]} format
 * @param {string} sign
 */
function costText(cost, t, format, sign) {
  return cost === 0 ? t("models.local") : format.money(cost, sign);
}

/** @param {boolean} estimated @param {number | null} [value] */
function about(estimated, value = 1) {
  return estimated && value !== null ? ABOUT : "";
}

/**
 * @param {ViewContext} context
 * @param {{ openSettings?: (name?: string) => void }} host
 * @returns {import("../types").View}
 */
export function createModels(context, host) {
  const { t, service, signal } = context;
  const sums = h("dl", { class: "cpulse-sums" });
  const fillSums = keyedList(sums, (/** @type {Sum} */ row) => createSum(row));
  const body = h("div", { role: "rowgroup", class: "cpulse-models-body" });
  const header = h(
    "div",
    { role: "row", class: "cpulse-model cpulse-model-head" },
    h("span", { role: "columnheader", class: "cpulse-model-name", text: t("models.model") }),
    ...COLUMNS.map(({ name, main }) =>
      h("span", {
        role: "columnheader",
        class: `cpulse-cell${main ? "" : " cpulse-cell-more"}`,
        title: t(`models.hints.${name}`),
        text: t(`models.columns.${name}`),
      }),
    ),
  );
  const table = h(
    "div",
    { role: "table", class: "cpulse-models-table", "aria-label": t("models.title") },
    h("div", { role: "rowgroup" }, header),
    body,
  );
  const fill = keyedList(body, (/** @type {ModelRow} */ row) => createModel(row, context));
  const more = moreButton(t, () => update(), signal);
  const buttons = h("div", { class: "cpulse-buttons" });
  if (host.openSettings) {
    const open = host.openSettings;
    const label = t("models.prices");
    buttons.append(button({ label: t("models.pricesHint"), text: label, kind: "quiet" }, () => open("prices"), signal));
  }
  const wide = button(
    { label: t("models.allFigures"), text: t("models.allFigures"), kind: "quiet" },
    () => {
      const shown = table.toggleAttribute("data-all");
      setAttr(wide, "aria-pressed", String(shown));
    },
    signal,
  );
  wide.setAttribute("aria-pressed", "false");
  wide.classList.add("cpulse-narrow-only");
  buttons.prepend(wide);
  const days = createDays(context);
  const element = h(
    "section",
    { class: "cpulse-section cpulse-models", "aria-label": t("models.title") },
    h("div", { class: "cpulse-head" }, h("h3", { text: t("models.title") }), buttons),
    sums,
    table,
    more.element,
    days,
  );

  function update() {
    const { snapshot } = service;
    const rows = snapshot?.chat.models ?? [];
    const install = snapshot?.chat.since_install ?? null;
    show(element, rows.length > 0 || install !== null);
    if (!snapshot || element.hidden) return;
    fillSums(sumsOf(snapshot, context), ({ name }) => name);
    const sorted = [...rows].sort((a, b) => (b.calls ?? b.chats) - (a.calls ?? a.chats));
    show(table, rows.length > 0);
    fill(sorted.slice(0, more.all ? MANY : FEW), (row) => `${row.model} ${row.host}`);
    more.update(Math.min(MANY, rows.length) - FEW);
    show(days, install !== null);
  }
  return { element, update };
}

/** @typedef {{ name: string, title: string, value: string, note: string }} Sum */

/**
 * What Pulse saved and what it cost.
 * @param {import("../types").Snapshot} snapshot
 * @param {ViewContext} context
 * @returns {Sum[]}
 */
function sumsOf({ chat }, { t, format, service }) {
  const install = chat.since_install ?? null;
  const since = (/** @type {string} */ count) =>
    install ? t("models.sinceInstall", { count, day: format.day(install.since) }) : "";
  const money = (/** @type {number | null | undefined} */ value) => costText(value, t, format, service.sign);
  /** @type {Sum[]} */
  const sums = [];
  if (chat.saved !== undefined) {
    const note = install ? since(format.compact(install.saved)) : "";
    sums.push({ name: "saved", title: t("models.saved"), value: format.compact(chat.saved), note });
  }
  if (chat.tokens || install?.tokens) {
    const note = install ? since(about(Boolean(install.tokens_estimated)) + format.compact(install.tokens)) : "";
    const value = about(Boolean(chat.tokens_estimated)) + format.compact(chat.tokens);
    sums.push({ name: "tokens", title: t("models.tokens"), value, note });
  }
  if (chat.cost !== undefined) {
    const known = chat.cost !== null || (install?.cost ?? null) !== null;
    const all = install?.cost ? since(about(Boolean(install.cost_estimated)) + money(install.cost)) : "";
    const note = all || (known ? "" : t("models.noPrice"));
    const value = about(Boolean(chat.cost_estimated && chat.cost)) + money(chat.cost);
    sums.push({ name: "cost", title: t("models.cost"), value, note });
  }
  return sums;
}

/** @param {Sum} first */
function createSum({ title }) {
  const value = h("dd", { class: "cpulse-sum-value" });
  const note = h("dd", { class: "cpulse-sum-note" });
  return {
    element: h("div", { class: "cpulse-sum" }, h("dt", { text: title }), value, note),
    update(/** @type {Sum} */ row) {
      setText(value, row.value);
      setText(note, row.note);
    },
  };
}

/** @param {ModelRow} first @param {ViewContext} context */
function createModel(first, context) {
  const { t, format, service } = context;
  const name = h("span", { class: "cpulse-row-title", text: first.model || NONE, title: first.model });
  const host = h("span", { class: "cpulse-row-host", text: first.host, title: first.host });
  const error = h("span", { role: "cell", class: "cpulse-model-error" });
  const cells = COLUMNS.map(({ name: column, main, tone, value }) => {
    const text = h("span", { class: "cpulse-cell-value" });
    const cell = h(
      "span",
      { role: "cell", class: `cpulse-cell${main ? "" : " cpulse-cell-more"}` },
      h("span", { class: "cpulse-cell-label", "aria-hidden": "true", text: t(`models.columns.${column}`) }),
      text,
    );
    return { cell, text, tone, value };
  });
  const element = h(
    "div",
    { role: "row", class: "cpulse-model" },
    h("span", { role: "rowheader", class: "cpulse-model-name" }, name, host),
    ...cells.map(({ cell }) => cell),
    error,
  );
  /** @param {ModelRow} row */
  function update(row) {
    for (const { cell, text, tone, value } of cells) {
      const told = value(row, context);
      setText(text, told);
      setAttr(cell, "data-tone", tone && told !== "0" && told !== NONE ? tone : null);
    }
    const { last_error: last } = row;
    const now = service.snapshot?.time ?? 0;
    const what = last && kindText({ ...row, ...last }, t);
    setText(error, last ? t("models.lastError", { when: format.when(last.time, now), what: what ?? "" }) : "");
  }
  update(first);
  return { element, update };
}

/** The sums of the last days, asked for when they are opened. @param {ViewContext} context */
function createDays({ t, format, service, signal }) {
  const rows = h("tbody");
  const said = h("p", { class: "cpulse-note", role: "status" });
  const columns = ["day", "chats", "failed", "tokens", "cost"].map((name) =>
    h("th", { scope: "col", text: t(`models.days.${name}`) }),
  );
  const table = h("table", { class: "cpulse-table" }, h("thead", {}, h("tr", {}, ...columns)), rows);
  const details = h(
    "details",
    { class: "cpulse-fold" },
    h("summary", {}, icon("chevron"), h("span", { text: t("models.byDay") })),
    said,
    h("div", { class: "cpulse-table-scroll" }, table),
  );
  async function load() {
    const begin = new Date();
    const east = -begin.getTimezoneOffset() * 60;
    begin.setHours(0, 0, 0, 0);
    begin.setDate(begin.getDate() - DAYS + 1); // the first day, too, is told whole
    const since = begin.getTime() / 1000;
    try {
      const answer = /** @type {{ totals: TotalsRow[] } | null} */ (
        await service.ask(`totals?step=day&offset=${east}&since=${since}`)
      );
      const totals = [...(answer?.totals ?? [])].reverse();
      rows.replaceChildren(...totals.map((row) => dayRow(row)));
      show(table, totals.length > 0);
      setText(said, answer ? (totals.length ? "" : t("models.days.none")) : t("models.days.off"));
    } catch {
      if (!signal.aborted) setText(said, t("search.failed"));
    }
  }
  /** @param {TotalsRow} row */
  function dayRow(row) {
    const { completed = 0, failed = 0, cancelled = 0, interrupted = 0 } = row.chats;
    const written = row.tokens ?? row.output_tokens ?? 0;
    const cost = row.cost ?? null;
    return h(
      "tr",
      {},
      h("th", { scope: "row", text: `${format.weekday(row.time)} ${format.day(row.time)}` }),
      h("td", { text: format.compact(completed + failed + cancelled + interrupted) }),
      h("td", { text: format.compact(failed) }),
      h("td", { text: about(Boolean(row.tokens_estimated)) + format.compact(written) }),
      h("td", { text: about(Boolean(row.cost_estimated && cost)) + costText(cost, t, format, service.sign) }),
    );
  }
  details.addEventListener("toggle", () => void (details.open && load()), { signal });
  return details;
}
