// @ts-check
/** What Copilot talks to: MCP servers, circuit breakers, and the places where Pulse is attached. */

import { button, h, keyedList, setAttr, setText, show } from "./dom.js";
import { shortName } from "./verdict.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/**
 * One line of the list, whatever it stands for.
 * @typedef {object} LinkRow
 * @property {string} key
 * @property {"up" | "down" | "half" | "unknown"} tone
 * @property {string} title
 * @property {string} host
 * @property {string} state
 * @property {string} note
 * @property {string} retryLabel
 * @property {(() => Promise<unknown>) | null} retry
 * @property {{ text: string, run: () => Promise<unknown> } | null} [notices]  tells of it in answers, or no more
 */

/** Share of failed calls from which on a model server that is still asked is not shown as a good one. */
const FAILING = 0.25;

/** @param {ViewContext} context @returns {import("../types").View & { inside: HTMLElement }} */
export function createLinks(context) {
  const { t, service } = context;
  const mcp = group(t("links.mcp"), t("links.mcpNone"), context);
  const breakers = group(t("links.breakers"), t("links.breakersNone"), context);
  const seams = group(t("links.seams"), t("links.seamsNone"), context);
  const element = h(
    "section",
    { class: "cpulse-section cpulse-links", "aria-label": t("sections.links") },
    h("h3", { text: t("sections.links") }),
    mcp.element,
    breakers.element,
  );
  return {
    element,
    inside: seams.element,
    update() {
      const { snapshot } = service;
      show(element, snapshot !== null);
      if (!snapshot) return;
      mcp.update(snapshot.mcp.map((row) => mcpRow(row, context)));
      breakers.update(snapshot.errors.breakers.map((row) => breakerRow(row, context)));
      seams.update(seamRows(snapshot.seams, context));
    },
  };
}

/** @param {string} title @param {string} none @param {ViewContext} context */
function group(title, none, context) {
  const list = h("ul", { class: "cpulse-list" });
  const empty = h("p", { class: "cpulse-empty", text: none });
  const fill = keyedList(list, (/** @type {LinkRow} */ row) => createRow(row, context));
  return {
    element: h("div", { class: "cpulse-group" }, h("h4", { text: title }), empty, list),
    /** @param {LinkRow[]} rows */
    update(rows) {
      show(empty, rows.length === 0);
      fill(rows, (row) => row.key);
    },
  };
}

/** @param {LinkRow} first @param {ViewContext} context */
function createRow(first, { t, signal }) {
  let current = first;
  /** The state in which a press came to nothing: told until the next one, or until the state is another. */
  let failedAt = "";
  const title = h("span", { class: "cpulse-row-title" });
  const host = h("span", { class: "cpulse-row-host" });
  const state = h("span", { class: "cpulse-state" });
  const note = h("span", { class: "cpulse-figures" });
  const retry = button(
    { label: t("links.retry"), icon: "retry", kind: "quiet" },
    () => {
      if (!current.retry || retry.disabled) return;
      retry.disabled = true;
      failedAt = "";
      setText(note, t("links.trying"));
      current
        .retry()
        .catch(failed)
        .finally(() => {
          retry.disabled = false;
          update(current);
        });
    },
    signal,
  );
  const notices = button(
    { label: t("links.mute"), text: t("links.mute"), kind: "quiet" },
    () => {
      failedAt = "";
      current.notices?.run().catch(failed);
    },
    signal,
  );
  const element = h(
    "li",
    { class: "cpulse-row" },
    h("span", { class: "cpulse-dot", "aria-hidden": "true" }),
    h(
      "div",
      { class: "cpulse-row-main" },
      h("div", { class: "cpulse-row-head" }, title, host),
      h("div", { class: "cpulse-row-sub" }, state, note, notices),
    ),
    retry,
  );
  function failed() {
    failedAt = current.state;
    update(current);
  }

  /** @param {LinkRow} row */
  function update(row) {
    current = row;
    if (failedAt !== row.state) failedAt = "";
    show(notices, Boolean(row.notices));
    if (row.notices) {
      setText(notices, row.notices.text);
      setAttr(notices, "aria-label", `${row.notices.text}: ${row.title}`);
    }
    setAttr(element, "data-tone", row.tone);
    setText(title, row.title);
    setText(host, row.host);
    setText(state, row.state);
    if (!retry.disabled) setText(note, failedAt ? t("links.retryFailed") : row.note);
    setAttr(note, "title", row.note || null);
    setAttr(retry, "aria-label", row.retryLabel);
    show(retry, row.retry !== null);
  }
  update(first);
  return { element, update };
}

/** @param {import("../types").McpRow} row @param {ViewContext} context @returns {LinkRow} */
function mcpRow(row, { t, format, service }) {
  const down = row.state === "down";
  const notes = [];
  if (row.state === "up" && row.tools !== undefined) notes.push(t("links.tools", { n: row.tools }));
  if (down && row.probing) notes.push(t("links.trying"));
  else if (down && row.retry_in) {
    notes.push(t("links.retryIn", { wait: format.duration(Math.ceil(Math.max(0, row.retry_in - service.age))) }));
  }
  if (down && row.reason) notes.push(row.reason);
  return {
    key: row.server,
    tone: row.state === "up" ? "up" : down ? "down" : "unknown",
    title: row.server,
    host: row.host && row.host !== row.server ? row.host : "",
    state: t(`links.states.${row.state}`),
    note: notes.join(" · "),
    retryLabel: t("links.retryName", { name: row.server }),
    retry: row.state === "up" ? null : () => service.probeMcp(row.server),
    notices:
      down || row.dismissed
        ? {
            text: t(row.dismissed ? "links.unmute" : "links.mute"),
            run: () => service.dismissMcp(row.server, !row.dismissed),
          }
        : null,
  };
}

/** @param {import("../types").BreakerRow} row @param {ViewContext} context @returns {LinkRow} */
function breakerRow(row, { t, format, service }) {
  const notes = [];
  const failed = row.window_failures ?? row.failures ?? 0;
  const calls = row.window_calls ?? row.calls ?? 0;
  const failing = row.state === "closed" && failed > 1 && failed >= FAILING * calls;
  const left = Math.max(0, (row.retry_in ?? 0) - service.age);
  if (row.state === "open" && left) notes.push(t("links.probeIn", { wait: format.duration(Math.ceil(left)) }));
  if (calls) {
    const key = row.window_calls === undefined ? "links.failures" : "links.windowFailures";
    notes.push(t(key, { failures: failed, n: calls }));
  }
  if (row.window_calls !== undefined && (row.calls ?? 0) > calls) {
    notes.push(t("links.failuresSince", { failures: row.failures ?? 0, n: row.calls ?? 0 }));
  }
  return {
    key: row.name,
    tone: failing ? "half" : row.state === "closed" ? "up" : row.state === "open" ? "down" : "half",
    title: shortName(row.name),
    host: "",
    state: t(`links.states.${failing ? "failing" : row.state}`),
    note: notes.join(" · "),
    retryLabel: t("links.retryName", { name: shortName(row.name) }),
    retry: row.state === "closed" ? null : () => service.probeBreaker(row.name),
  };
}

/**
 * What is attached in one line, and one line for each place that is not.
 * @param {import("../types").SeamRow[]} seams
 * @param {ViewContext} context
 * @returns {LinkRow[]}
 */
function seamRows(seams, { t }) {
  const attached = seams.filter((seam) => seam.attached);
  const missing = seams.filter((seam) => !seam.attached);
  const plain = { host: "", retryLabel: "", retry: null };
  /** @type {LinkRow[]} */
  const rows = missing.map((seam) => ({
    ...plain,
    key: seam.name,
    tone: "down",
    title: seam.name,
    state: t("links.states.missing"),
    note: seam.detail ?? "",
  }));
  if (attached.length) {
    const n = seams.length;
    const title = missing.length
      ? t("links.attachedSome", { n, attached: attached.length })
      : t("links.attachedAll", { n });
    rows.unshift({
      ...plain,
      key: "",
      tone: "up",
      title,
      state: "",
      note: attached.map((seam) => seam.name).join(", "),
    });
  }
  return rows;
}
