// @ts-check
/**
 * The panel: knows the DOM, and neither ComfyUI nor any other host. One AbortController ends everything it started.
 */

import { h, setText } from "./dom.js";
import { createFormat } from "./format.js";
import { RANGES } from "./history.js";
import { PulseService } from "./service.js";
import { createAway } from "./view-away.js";
import { createCharts } from "./view-charts.js";
import { createChats } from "./view-chats.js";
import { createFleet } from "./view-fleet.js";
import { createInside } from "./view-inside.js";
import { createLinks } from "./view-links.js";
import { createLog } from "./view-log.js";
import { createModels } from "./view-models.js";
import { createProblems } from "./view-problems.js";
import { withNames } from "./strings.js";
import { chartTable, createFoot, createTiles, createVerdict } from "./view-top.js";
import { createWays } from "./ways.js";

/** @typedef {import("../types").Translate} Translate */

/**
 * @typedef {object} PanelOptions
 * @property {HTMLElement} root  where the panel is appended
 * @property {import("../types").Transport} transport  stays the caller's; the panel does not close it
 * @property {Translate} t
 * @property {string} locale  for numbers and times
 * @property {import("./strings.js").Names} [names]  what the page calls what it shows; without them plain words
 * @property {boolean} [heading]  a line with the panel's name at the top, as a sidebar's own tabs have
 * @property {import("../streams/kept.js").KeptStreams} [kept]  answers from before a reload; without it there are none
 * @property {(name?: string) => void} [openSettings]  shows settings buttons that call this, with a setting's name
 * @property {(text: string) => Promise<boolean>} [copyText]  whether the text reached the clipboard
 */
/**
 * @typedef {object} Panel
 * @property {HTMLElement} element
 * @property {PulseService} service
 * @property {(t: Translate, locale: string) => void} setLocale  show everything in another language; nothing is fetched
 * @property {() => void} destroy  idempotent: gives the lease back, stops all timers and requests, removes the element
 */

/** Build the panel and ask for live data at once. @param {PanelOptions} options @returns {Panel} */
export function createPanel({
  root,
  transport,
  t,
  locale,
  names,
  heading = false,
  kept,
  openSettings,
  copyText = copyToClipboard,
}) {
  const life = new AbortController();
  const service = new PulseService({ transport, range: keptRange() });
  const element = h("div", { class: "cpulse" });
  const head = h("div", { class: "cpulse-heading", hidden: !heading });
  const body = h("div", { class: "cpulse-body" });
  addStyles(element, [head, body], life.signal);
  element.append(head, body);
  root.append(element);

  /** @type {AbortController | null} */
  let views = null;
  /** @type {import("../types").View[]} */
  let shown = [];
  let queued = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let ticking;

  /** @param {Translate} translate @param {string} tag */
  function build(translate, tag) {
    views?.abort();
    views = new AbortController();
    const context = {
      t: withNames(translate, names),
      format: createFormat(tag),
      service,
      signal: views.signal,
      ways: createWays(),
    };
    const top = createVerdict(context);
    const away = kept ? createAway(context, { kept, copyText }) : null;
    const chats = createChats(context);
    const problems = createProblems(context);
    const tiles = createTiles(context);
    const models = createModels(context, { openSettings });
    const charts = createCharts(context);
    const links = createLinks(context);
    const inside = createInside(context, [charts.inside, links.inside]);
    const fleet = createFleet(context);
    const log = createLog(context);
    const foot = createFoot(context, { openSettings, copyText }, [
      { name: "chats", rows: chats.shown },
      { name: "problems", rows: problems.shown },
      chartTable(context),
    ]);
    shown = [...(away ? [away] : []), top, tiles, fleet, chats, problems, models, charts, links, log, inside, foot];
    element.lang = tag;
    element.setAttribute("aria-label", translate("title"));
    setText(head, translate("title"));
    body.replaceChildren(
      top.element,
      ...(away ? [away.element] : []),
      tiles.element,
      fleet.element,
      h("div", { class: "cpulse-column cpulse-now" }, chats.element, problems.element),
      models.element,
      charts.element,
      links.element,
      log.element,
      inside.element,
      foot.element,
    );
    render();
  }

  function render() {
    queued = false;
    if (life.signal.aborted) return;
    // Figures that nobody updates must not look like news.
    element.toggleAttribute("data-stale", service.stale);
    for (const view of shown) view.update();
    // What counts seconds goes on between two messages of the server; while nothing does, nothing runs.
    clearTimeout(ticking);
    if (service.counts) ticking = setTimeout(render, TICK_MS);
  }

  service.addEventListener(
    "change",
    () => {
      // Snapshot, events and history of one message come as three changes: show them once.
      if (queued) return;
      queued = true;
      queueMicrotask(render);
    },
    { signal: life.signal },
  );

  service.addEventListener(
    "change",
    (event) => {
      if (/** @type {CustomEvent} */ (event).detail === "history") keepRange(service.history.range);
    },
    { signal: life.signal },
  );
  element.setAttribute("role", "region");
  build(t, locale);
  service.open();

  return {
    element,
    service,
    setLocale: build,
    destroy() {
      if (life.signal.aborted) return;
      life.abort();
      clearTimeout(ticking);
      views?.abort();
      service.close();
      element.remove();
    },
  };
}

/** Somewhat longer than the server's own beat, which makes it unnecessary. */
const TICK_MS = 1_100;
const RANGE_KEY = "copilotPulse.range";

/** The range that the reader chose last. @returns {import("../types").RangeName} */
function keptRange() {
  try {
    const kept = localStorage.getItem(RANGE_KEY) ?? "";
    return Object.hasOwn(RANGES, kept) ? /** @type {import("../types").RangeName} */ (kept) : "1h";
  } catch {
    return "1h"; // storage is forbidden here
  }
}

/** @param {import("../types").RangeName} range */
function keepRange(range) {
  try {
    if (localStorage.getItem(RANGE_KEY) !== range) localStorage.setItem(RANGE_KEY, range);
  } catch {
    // Storage is forbidden or full: the choice lasts as long as the panel.
  }
}

/**
 * The panel's stylesheet, from beside this file. The parts stay invisible until it is there: for a moment they would
 * be a heap of plain text. If it cannot be had, plain text is better than nothing.
 *
 * @param {HTMLElement} element
 * @param {HTMLElement[]} parts
 * @param {AbortSignal} signal
 */
function addStyles(element, parts, signal) {
  const link = h("link", { rel: "stylesheet", href: new URL("./panel.css", import.meta.url).href });
  const reveal = () => parts.forEach((part) => part.style.removeProperty("visibility"));
  for (const part of parts) part.style.visibility = "hidden";
  link.addEventListener("load", reveal, { signal });
  link.addEventListener("error", reveal, { signal });
  element.append(link);
}

/** Beyond localhost plain http has no clipboard API; the old command still works there. @param {string} text */
export async function copyToClipboard(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false; // the browser or the user said no
    }
  }
  const area = h("textarea", { "aria-hidden": "true", style: "position:fixed;opacity:0" });
  area.value = text;
  document.body.append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
  }
}
