// @ts-check
/** The event log: newest first, filtered, paused on demand, bounded, with every event's data behind a click. */

import { button, h, icon, roving, setAttr, setText, show } from "./dom.js";
import { kindText, known } from "./verdict.js";
import { reveal } from "./ways.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").LogEvent} LogEvent */
/** @typedef {"important" | "chat" | "errors" | "all"} Group */

/** Rows in the page; the service keeps more, and a filter searches them all. */
const ROWS = 150;
const GROUPS = /** @type {const} */ (["important", "chat", "errors", "all"]);
/** What nobody looks for unless something is wrong. */
export const NOISE = new Set([
  "http.request",
  "chat.delta",
  "stream.opened",
  "stream.closed",
  "chat.model",
  "chat.model_ended",
  "chat.agent_changed",
  "metrics.minute",
  "metrics.totals",
]);
const TROUBLE = new Set([
  "error",
  "chat.retrying",
  "breaker.changed",
  "mcp.changed",
  "loop.stalled",
  "health.changed",
  "queue.zone",
]);

/** @param {ViewContext} context @returns {import("../types").View} */
export function createLog(context) {
  const { t, service, signal, ways } = context;
  /** @type {Group} */
  let group = "important";
  let words = "";
  /** While paused: the newest event that is shown. @type {LogEvent[] | null} */
  let frozen = null;
  let frozenAt = 0;
  let shown = "";

  const search = h("input", {
    type: "search",
    class: "cpulse-input",
    placeholder: t("log.filter"),
    "aria-label": t("log.filter"),
    spellcheck: "false",
  });
  const select = h(
    "select",
    { class: "cpulse-input", "aria-label": t("log.group") },
    ...GROUPS.map((name) => h("option", { value: name, text: t(`log.groups.${name}`) })),
  );
  const pause = button({ label: t("log.pause"), icon: "pause", kind: "quiet" }, togglePause, signal);
  const list = h("ol", { class: "cpulse-log-list", "aria-label": t("sections.log") });
  const stops = roving(list, "summary", signal);
  const empty = h("p", { class: "cpulse-empty" });
  const waiting = button({ label: "", icon: "play", text: "more" }, togglePause, signal);
  const waitingText = /** @type {HTMLElement} */ (waiting.lastElementChild);
  const element = h(
    "section",
    { class: "cpulse-section cpulse-log", "aria-label": t("sections.log") },
    h("div", { class: "cpulse-head" }, h("h3", { text: t("sections.log") }), pause),
    h("div", { class: "cpulse-filter" }, search, select),
    waiting,
    empty,
    list,
  );

  search.addEventListener(
    "input",
    () => {
      words = search.value.trim().toLowerCase();
      update();
    },
    { signal },
  );
  select.addEventListener(
    "change",
    () => {
      group = /** @type {Group} */ (select.value);
      update();
    },
    { signal },
  );

  /** Lines of a chat that are older than what is in memory. @type {{ words: string, events: LogEvent[] } | null} */
  let older = null;
  ways.on("log", async (chatId) => {
    search.value = chatId;
    words = chatId.toLowerCase();
    select.value = group = "all";
    if (!service.log.some(({ type, data }) => type === "chat.started" && data.chat_id === chatId)) {
      const events = await service.eventsOf(chatId);
      if (signal.aborted) return;
      older = events.length ? { words, events } : null;
    }
    update();
    reveal(element, /** @type {HTMLElement | null} */ (list.querySelector("summary")) ?? search);
  });

  function togglePause() {
    frozen = frozen ? null : [...service.log];
    frozenAt = service.logged;
    const label = t(frozen ? "log.resume" : "log.pause");
    pause.replaceChildren(icon(frozen ? "play" : "pause"));
    setAttr(pause, "aria-label", label);
    setAttr(pause, "title", label);
    setAttr(pause, "aria-pressed", String(frozen !== null));
    update();
  }

  /** By the event itself: ids begin anew when the server does. @type {Map<LogEvent, HTMLElement>} */
  let rows = new Map();

  function update() {
    show(element, service.snapshot !== null);
    const fresh = frozen ? service.logged - frozenAt : 0;
    show(waiting, fresh > 0);
    setText(waitingText, t("log.waiting", { n: fresh }));
    setAttr(waiting, "aria-label", t("log.waiting", { n: fresh }));
    const source = older?.words === words ? older.events : (frozen ?? service.log);
    const state = `${group}|${words}|${source.length}|${frozen ? frozenAt : service.logged}|${frozen !== null}`;
    if (state === shown) return;
    shown = state;
    /** @type {LogEvent[]} */
    const wanted = [];
    for (let index = source.length - 1; index >= 0 && wanted.length < ROWS; index -= 1) {
      if (matches(source[index], group, words, context)) wanted.push(source[index]);
    }
    place(wanted);
    show(empty, wanted.length === 0);
    show(list, wanted.length > 0);
    setText(empty, t(source.length ? "log.noMatch" : "log.none"));
  }

  /** Keep the rows that stay, so that an open one stays open and keeps its focus. @param {LogEvent[]} wanted */
  function place(wanted) {
    /** @type {Map<LogEvent, HTMLElement>} */
    const next = new Map();
    /** @type {ChildNode | null} */
    let at = list.firstChild;
    for (const event of wanted) {
      const row = rows.get(event) ?? createRow(event, context);
      next.set(event, row);
      rows.delete(event);
      if (row === at) at = at.nextSibling;
      else list.insertBefore(row, at);
    }
    for (const row of rows.values()) row.remove();
    rows = next;
    stops();
  }

  return { element, update };
}

/** @param {LogEvent} event @param {Group} group @param {string} words @param {ViewContext} context */
function matches(event, group, words, context) {
  if (group === "important" && NOISE.has(event.type)) return false;
  if (group === "chat" && !event.type.startsWith("chat.") && !event.data.chat_id) return false;
  if (group === "errors" && !TROUBLE.has(event.type)) return false;
  if (!words) return true;
  return searchText(event, context).includes(words);
}

/** @type {WeakMap<LogEvent, string>} */
const searchTexts = new WeakMap();

/** @param {LogEvent} event @param {ViewContext} context */
function searchText(event, context) {
  let text = searchTexts.get(event);
  if (text === undefined) {
    text = `${event.type} ${summarise(event, context)} ${JSON.stringify(event.data)}`.toLowerCase();
    searchTexts.set(event, text);
  }
  return text;
}

/** @param {LogEvent} event @param {ViewContext} context */
function createRow(event, context) {
  const { t, format, signal, ways } = context;
  const details = h(
    "details",
    {},
    h(
      "summary",
      {},
      h("time", { text: format.clock(event.time, true) }),
      h("span", { class: "cpulse-log-type", text: event.type }),
      h("span", { class: "cpulse-log-text", text: summarise(event, context) }),
      icon("chevron"),
    ),
  );
  details.addEventListener(
    "toggle",
    () => {
      if (details.open && details.childElementCount === 1) {
        const { id, type, source, session, data } = event;
        const chat = typeof data.chat_id === "string" ? data.chat_id : "";
        const label = t("problems.chat");
        const way = button({ label, text: label, kind: "link" }, () => ways.go("chat", chat), signal);
        details.append(
          ...(chat ? [h("div", { class: "cpulse-story-ways" }, way)] : []),
          h("pre", {
            tabindex: 0,
            text: JSON.stringify(
              { id, type, time: new Date(event.time * 1000).toISOString(), source, session, data },
              null,
              2,
            ),
          }),
        );
      }
    },
    { signal },
  );
  return h("li", { class: "cpulse-log-row", "data-tone": toneOf(event) }, details);
}

/** @param {LogEvent} event */
function toneOf(event) {
  const { type, data } = event;
  if (type === "error")
    return data.outcome === "recovered"
      ? "good"
      : data.outcome === "gave_up"
        ? "bad"
        : data.outcome === "cancelled"
          ? "plain"
          : "warn";
  if (type === "chat.finished")
    return data.outcome === "completed" ? "good" : data.outcome === "failed" ? "bad" : "plain";
  if (type === "breaker.changed") return data.state === "closed" ? "good" : data.state === "open" ? "bad" : "warn";
  if (type === "mcp.changed") return data.state === "up" ? "good" : "warn";
  if (type === "health.changed") return data.status === "pass" ? "good" : data.status === "fail" ? "bad" : "warn";
  if (type === "queue.throttle") return data.state === "hold" ? "warn" : "good";
  if (type === "queue.zone") return data.zone === "green" ? "good" : "warn";
  return type === "chat.retrying" || type === "loop.stalled" ? "warn" : "plain";
}

/**
 * An event in a few words. Unknown types show their first few plain values.
 *
 * @param {Pick<LogEvent, "type" | "data">} event
 * @param {ViewContext} context
 * @returns {string}
 */
export function summarise(event, { t, format }) {
  const data = /** @type {Record<string, any>} */ (event.data ?? {});
  const host = [data.model, data.host].filter(Boolean).join(" @ ");
  /** @type {Record<string, () => (string | undefined | null | false)[]>} */
  const forms = {
    "fleet.instance": () => [t(`fleet.${data.state}`)],
    "chat.started": () => [data.kind === "debug" ? t("chats.debug") : "", t("log.messages", { n: data.messages ?? 0 })],
    "chat.model": () => [host, data.attempt > 1 && t("log.attempt", { n: data.attempt })],
    "chat.first_token": () => [format.seconds(data.seconds), host],
    "chat.tool_called": () => [data.tool],
    "chat.tool_output": () => [data.tool, format.seconds(data.seconds)],
    "chat.agent_changed": () => [data.agent],
    "chat.retrying": () => [
      t("log.retry", { attempt: data.attempt, of: Number(data.of) + 1, wait: format.seconds(data.wait) }),
      data.error,
    ],
    "chat.finished": () => [
      t(`log.outcomes.${data.outcome}`),
      format.seconds(data.seconds),
      t("chats.tokens", { n: data.tokens ?? 0, count: format.compact(data.tokens ?? 0) }),
      host,
    ],
    error: () => {
      const what = kindText(/** @type {import("../types").ErrorRow} */ (/** @type {unknown} */ (data)), t);
      return [
        what,
        data.outcome && t(`outcomes.${data.outcome}`),
        ...[data.model, data.host].filter((name) => name && !what.includes(name)),
      ];
    },
    "breaker.changed": () => [data.name, t(`links.states.${data.state}`)],
    "mcp.changed": () => [data.server, t(`links.states.${data.state}`), data.reason],
    "queue.throttle": () => [data.queue, `${data.was} \u2192 ${data.state}`, data.why],
    "queue.zone": () => [data.queue, `${data.was} \u2192 ${data.zone}`, format.percent(data.fill)],
    "loop.stalled": () => [format.seconds(data.seconds), data.cause === "paused" ? t("log.paused") : data.frame],
    "http.request": () => [`${data.method} ${data.route}`, String(data.status), format.seconds(data.seconds)],
    "health.changed": () => [
      known(t, `checks.${String(data.check).replaceAll(/\W/g, "_")}`) || data.check,
      t(`log.health.${data.status}`),
    ],
    "settings.changed": () => [Array.isArray(data.names) ? data.names.join(", ") : ""],
    "pulse.started": () => [
      data.version,
      Array.isArray(data.attached) && data.attached.length
        ? t("log.attached", { names: data.attached.join(", ") })
        : "",
    ],
  };
  const form = forms[event.type];
  const parts = form
    ? form()
    : Object.entries(data)
        .filter(([, value]) => typeof value !== "object")
        .slice(0, 3)
        .map(([name, value]) => `${name} ${value}`);
  return parts.filter(Boolean).join(" · ");
}
