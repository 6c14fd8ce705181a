// @ts-check
/** Search of past chats: by the text of an error, model, outcome, retries and duration; a page at a time. */

import { button, h, keyedList, setAttr, setText, show } from "./dom.js";
import { ENDED, fromStored } from "./service.js";
import { kindText } from "./verdict.js";
import { createChat } from "./view-chat.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").ChatRow} ChatRow */
/**
 * @typedef {object} Wanted
 * @property {string} text
 * @property {string} model
 * @property {string} outcome
 * @property {boolean} retried
 * @property {number} slower  seconds
 */

const PAGE = 20;
/** Typing is over after so long. */
const PAUSE_MS = 250;
const OUTCOMES = /** @type {const} */ (["completed", "failed", "cancelled", "interrupted"]);
const SLOWER = [5, 15, 60];

/** @param {ViewContext} context @returns {import("../types").View & { open: boolean, rows: readonly ChatRow[] }} */
export function createSearch(context) {
  const { t, format, service, signal } = context;
  const input = h("input", {
    type: "search",
    class: "cpulse-input",
    placeholder: t("search.text"),
    "aria-label": t("search.text"),
    spellcheck: "false",
  });
  const model = h("select", { class: "cpulse-input", "aria-label": t("search.model") });
  const outcome = choice(t("search.outcome"), [
    ["", t("search.anyOutcome")],
    ...OUTCOMES.map((name) => /** @type {[string, string]} */ ([name, t(`search.outcomes.${name}`)])),
    ["retried", t("search.retried")],
  ]);
  const slower = choice(t("search.slower"), [
    ["", t("search.anyTime")],
    ...SLOWER.map(
      (n) => /** @type {[string, string]} */ ([String(n), t("search.slowerThan", { time: format.duration(n) })]),
    ),
  ]);
  const said = h("p", { class: "cpulse-note", role: "status" });
  const list = h("ul", { class: "cpulse-list", "aria-label": t("search.results") });
  const more = button({ label: t("search.more"), text: t("search.more"), kind: "quiet" }, () => void ask(true), signal);
  const element = h(
    "div",
    { class: "cpulse-search", hidden: true },
    h("div", { class: "cpulse-filter cpulse-filter-wrap", role: "search" }, input, model, outcome, slower),
    said,
    list,
    more,
  );
  const fill = keyedList(list, (/** @type {ChatRow} */ row) => createChat(row, context));
  /** @type {ChatRow[]} */
  let rows = [];
  let asked = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });

  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(() => void ask(false), PAUSE_MS);
  };
  input.addEventListener("input", changed, { signal });
  for (const select of [model, outcome, slower]) select.addEventListener("change", () => void ask(false), { signal });

  /** @returns {Wanted} */
  const wanted = () => ({
    text: input.value.trim(),
    model: model.value,
    outcome: outcome.value === "retried" ? "" : outcome.value,
    retried: outcome.value === "retried",
    slower: Number(slower.value),
  });

  /** @param {boolean} next  the next page, or the first one */
  async function ask(next) {
    clearTimeout(timer);
    asked += 1;
    const mine = asked;
    const want = wanted();
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const name of /** @type {const} */ (["text", "model", "outcome"])) if (want[name]) query.set(name, want[name]);
    if (want.retried) query.set("retried", "1");
    if (want.slower) query.set("slower", String(want.slower));
    const last = rows.at(-1);
    const before = last?.at ?? last?.started;
    if (next && before) query.set("before", String(before));
    try {
      const answer = /** @type {{ chats: import("../types").StoredChat[] } | null} */ (
        await service.ask(`chats?${query}`)
      );
      if (mine !== asked || signal.aborted) return;
      const page = answer ? answer.chats.map(fromStored) : next ? [] : remembered(want);
      take(next ? [...rows, ...page] : page, answer !== null && page.length === PAGE);
      if (!answer) setText(said, t("search.off"));
    } catch {
      if (mine === asked && !signal.aborted) setText(said, t("search.failed"));
    }
  }

  /** @param {ChatRow[]} found @param {boolean} unfinished */
  function take(found, unfinished) {
    rows = found;
    fill(rows, (row) => row.chat_id);
    show(more, unfinished);
    setText(said, rows.length ? "" : t("search.none"));
  }

  /** What the server's memory has, where there is no store. @param {Wanted} want */
  function remembered(want) {
    const text = want.text.toLowerCase();
    return service.chats.filter(
      (row) =>
        (!want.model || row.model === want.model) &&
        (!want.outcome || fromStored({ ...row, outcome: want.outcome }).state === row.state) &&
        (!want.retried || (row.retries ?? 0) > 0) &&
        (!want.slower || (row.seconds ?? 0) > want.slower) &&
        (!text || errorText(row).includes(text)),
    );
  }

  /** @param {ChatRow} row */
  function errorText(row) {
    const errors = (service.snapshot?.errors.recent ?? []).filter((error) => error.chat_id === row.chat_id);
    const own = row.error ? [{ ...row, ...row.error }] : [];
    return [...errors, ...own]
      .map((error) => `${kindText(error, t)} ${JSON.stringify(error)}`)
      .join(" ")
      .toLowerCase();
  }

  let models = "";
  function fillModels() {
    const names = [...(service.snapshot?.chat.models ?? []), ...service.chats].map((row) => row.model).filter(Boolean);
    const sorted = [...new Set(/** @type {string[]} */ (names))].sort();
    if (sorted.join("\n") === models && model.options.length) return;
    models = sorted.join("\n");
    const kept = model.value;
    const options = sorted.map((name) => h("option", { value: name, text: name }));
    model.replaceChildren(h("option", { value: "", text: t("search.anyModel") }), ...options);
    if (sorted.includes(kept)) model.value = kept;
  }

  return {
    element,
    get rows() {
      return rows;
    },
    get open() {
      return !element.hidden;
    },
    set open(open) {
      show(element, open);
      if (!open) return;
      fillModels();
      void ask(false);
      input.focus();
    },
    update() {
      if (element.hidden) return;
      fillModels();
      // A chat that runs still goes on in the list of results, too.
      const now = new Map((service.snapshot?.chat.current ?? []).map((row) => [row.chat_id, row]));
      if (!rows.some((row) => now.has(row.chat_id) || !ENDED.has(row.state))) return;
      rows = rows.map((row) => now.get(row.chat_id) ?? row);
      fill(rows, (row) => row.chat_id);
    },
  };
}

/** @param {string} label @param {[string, string][]} options */
function choice(label, options) {
  const made = options.map(([value, text]) => h("option", { value, text }));
  const select = h("select", { class: "cpulse-input", "aria-label": label }, ...made);
  setAttr(select, "title", label);
  return select;
}
