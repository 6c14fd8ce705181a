// @ts-check
/**
 * Several machines: a row each with how it is; opened, its chats and problems. What happened at the others is folded.
 * With one machine it is not there, and nothing is asked for.
 */

import { h, icon, keyedList, setAttr, setText, show } from "./dom.js";
import { NOISE, summarise } from "./view-log.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").FleetRow} FleetRow */
/** @typedef {import("../types").FleetEvent} FleetEvent */

const EVERY_MS = 3_000;
const LOG_LIMIT = 20;
const TONES = /** @type {Record<string, string>} */ ({ pass: "up", warn: "half", fail: "down" });

/** @param {ViewContext} context @returns {import("../types").View} */
export function createFleet(context) {
  const { t, service, signal } = context;
  const list = h("ul", { class: "cpulse-list" });
  const log = h("ul", { class: "cpulse-list cpulse-fleet-log" });
  const fill = keyedList(list, (/** @type {FleetRow} */ row) => createRow(row, context));
  const fillLog = keyedList(log, (/** @type {FleetEvent} */ row) => createEvent(row, context));
  const element = h(
    "section",
    { class: "cpulse-section cpulse-fleet", "aria-label": t("sections.fleet"), hidden: true },
    h("h3", { text: t("sections.fleet") }),
    list,
    h("details", { class: "cpulse-fold" }, h("summary", {}, icon("chevron"), h("span", { text: t("fleet.log") })), log),
  );
  let asked = 0;
  let busy = false;
  let seq = 0;
  /** @type {FleetEvent[]} */
  let events = [];

  async function ask() {
    busy = true;
    asked = Date.now();
    try {
      const response = await service.transport.fetch(`/copilot-pulse/fleet?since=${seq}`, { signal });
      if (!response.ok) return;
      const body = await response.json();
      if (body.seq < seq) events = [];
      seq = body.seq;
      const first = seq - body.events.length + 1;
      const news = body.events
        .map((/** @type {FleetEvent} */ event, /** @type {number} */ index) => ({ ...event, seq: first + index }))
        .filter((/** @type {FleetEvent} */ event) => !NOISE.has(event.type));
      events = [...events, ...news].slice(-LOG_LIMIT);
      fill(body.instances, (/** @type {FleetRow} */ row) => row.boot);
      fillLog([...events].reverse(), (row) => `${row.seq}|${row.time}`);
    } catch {
      // The panel tells of a server that does not answer; this view keeps what it had.
    } finally {
      busy = false;
    }
  }

  return {
    element,
    update() {
      const fleet = service.snapshot?.fleet;
      const several = Boolean(fleet && fleet.up + fleet.gone > 1);
      show(element, several);
      if (several && !busy && !service.stale && Date.now() - asked >= EVERY_MS) void ask();
    },
  };
}

/** @param {FleetRow} first @param {ViewContext} context */
function createRow(first, { t, format }) {
  const title = h("span", { class: "cpulse-row-title" });
  const state = h("span", { class: "cpulse-state" });
  const figures = h("span", { class: "cpulse-figures" });
  const details = h("ul", { class: "cpulse-list" });
  const fill = keyedList(details, () => {
    const line = h("li", { class: "cpulse-row-sub" });
    return { element: line, update: (/** @type {string} */ text) => setText(line, text) };
  });
  const element = h(
    "li",
    { class: "cpulse-row" },
    h("span", { class: "cpulse-dot", "aria-hidden": "true" }),
    h(
      "details",
      { class: "cpulse-row-main" },
      h("summary", { class: "cpulse-row-head" }, h("span", {}, title, state, figures), icon("chevron")),
      details,
    ),
  );
  /** @param {FleetRow} row */
  function update(row) {
    const { status } = row;
    const up = row.state === "up";
    setAttr(
      element,
      "data-tone",
      up ? (TONES[status.impact === "none" ? "pass" : status.health] ?? "unknown") : "down",
    );
    setText(title, row.here ? t("fleet.here", { name: row.name }) : row.name);
    const verdict = status.health === "pass" ? t("fleet.well") : status.summary || t("fleet.unknown");
    setText(state, up ? verdict : t(`fleet.${row.state}`));
    // Figures of a machine that is gone are no news; since when it is, is.
    const told = [
      t("fleet.running", { n: status.chats ?? 0 }),
      t("fleet.failed", { n: status.failed ?? 0 }),
      `${t("tiles.firstToken.title")} ${format.seconds(status.first_token)}`,
      `${t("fleet.lag")} ${format.seconds(status.lag)}`,
      ...(row.behind ? [t("fleet.behind", { n: row.behind })] : []),
    ];
    // A figure stays on one line with its unit.
    const line = told.map((figure) => figure.replaceAll(" ", "\u00a0")).join(" · ");
    setText(figures, up ? line : t("fleet.since", { time: format.duration(row.seconds) }));
    const lines = [
      ...(up || !(status.current.length || status.problems.length) ? [] : [t("fleet.told")]),
      ...status.current.map((chat) =>
        [chat.model, chat.state, format.seconds(chat.seconds), t("fleet.tokens", { n: chat.tokens ?? 0 })].join(" · "),
      ),
      ...status.problems.map((problem) => `${t(`checks.${problem.check.replace(":", "_")}`)}: ${problem.output}`),
    ];
    fill(lines.length ? lines : [t("fleet.nothing")], (line) => line);
  }
  update(first);
  return { element, update };
}

/** @param {FleetEvent} first @param {ViewContext} context */
function createEvent(first, context) {
  const element = h(
    "li",
    { class: "cpulse-row-sub" },
    h("span", { class: "cpulse-row-when", text: context.format.clock(first.time, true) }),
    h("span", { class: "cpulse-row-title", text: first.instance }),
    h("span", { text: first.type }),
    h("span", { class: "cpulse-figures", text: summarise(first, context) }),
  );
  return { element, update: () => {} };
}
