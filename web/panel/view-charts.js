// @ts-check
/** The charts, in the order of the three layers, under one range switch and one pointer. */

import { Chart } from "./charts.js";
import { h, setAttr, show } from "./dom.js";
import { FOLDS, RANGES } from "./history.js";

/** @typedef {import("../types").ViewContext} ViewContext */
/** @typedef {import("../types").RangeName} RangeName */
/** @typedef {import("../types").SeriesName} SeriesName */
/**
 * @typedef {object} ChartSpec
 * @property {string} name
 * @property {[SeriesName, string, 1 | 2 | 3][]} lines
 * @property {"number" | "percent" | "share" | "seconds" | "bytes"} unit
 * @property {"bars"} [kind]
 * @property {boolean} [sparse]
 * @property {number[]} [thresholds]
 * @property {number} [ceiling]
 * @property {boolean} [whole]
 */

/** The bus and its queues, which say little to who only chats, stand apart. */
const INSIDE = "events";

/** @type {{ name: string, charts: ChartSpec[] }[]} */
export const GROUPS = [
  {
    name: "chat",
    charts: [
      { name: "firstToken", lines: [["first_token_p50", "p50", 1]], unit: "seconds", sparse: true },
      { name: "speed", lines: [["tokens_per_second", "p50", 1]], unit: "number", sparse: true },
      { name: "chats", lines: [["chats_active", "active", 1]], unit: "number", whole: true },
    ],
  },
  {
    name: "errors",
    charts: [
      { name: "errors", lines: [["errors", "errors", 3]], unit: "number", kind: "bars", whole: true },
      { name: "recovery", lines: [["recovery_rate", "rate", 1]], unit: "share", ceiling: 1 },
    ],
  },
  {
    name: "events",
    charts: [
      { name: "throughput", lines: [["events_rate", "rate", 1]], unit: "number" },
      {
        name: "queue",
        lines: [
          ["queue_fill", "fill", 1],
          ["queue_threshold", "threshold", 2],
        ],
        unit: "share",
        ceiling: 1,
        thresholds: [0.3, 0.7, 0.9],
      },
      {
        name: "latency",
        lines: [
          ["latency_p50", "p50", 1],
          ["latency_p99", "p99", 2],
        ],
        unit: "seconds",
      },
    ],
  },
  {
    name: "system",
    charts: [
      { name: "memory", lines: [["rss_bytes", "rss", 1]], unit: "bytes" },
      { name: "cpu", lines: [["cpu_percent", "cpu", 1]], unit: "percent" },
      { name: "loopLag", lines: [["loop_lag_p99", "p99", 1]], unit: "seconds" },
    ],
  },
];

/** @param {ViewContext} context @returns {import("../types").View & { charts: Chart[], inside: HTMLElement }} */
export function createCharts({ t, format, service, signal }) {
  /** @type {Chart[]} */
  const charts = [];
  const groups = GROUPS.map((group) => {
    const made = group.charts.map((spec) => {
      const chart = new Chart({
        title: t(`charts.${spec.name}`),
        group: group.name,
        lines: spec.lines.map(([key, label, tone]) => ({
          key,
          label: t(`charts.lines.${label}`),
          tone,
          fold: FOLDS[key],
        })),
        format: formatOf(spec.unit, format),
        axis: (values) => format.axis(values, spec.unit),
        kind: spec.kind,
        sparse: spec.sparse,
        thresholds: spec.thresholds,
        ceiling: spec.ceiling,
        whole: spec.whole,
        t,
        times: format,
        signal,
        onCursor: (share) => charts.forEach((one) => one.setCursor(share)),
      });
      charts.push(chart);
      return chart.element;
    });
    return h(
      "div",
      { class: "cpulse-chart-group", role: "group", "aria-label": t(`charts.groups.${group.name}`) },
      h("h4", { text: t(`charts.groups.${group.name}`) }),
      h("div", { class: "cpulse-chart-grid" }, ...made),
    );
  });

  // The folded charts have a stop of their own: what is closed takes no focus.
  for (const apart of [true, false]) {
    oneTabStop(
      charts.filter((chart) => (chart.options.group === INSIDE) === apart),
      signal,
    );
  }
  const inside = groups[GROUPS.findIndex(({ name }) => name === INSIDE)];

  const choices = /** @type {RangeName[]} */ (Object.keys(RANGES)).map((name) => {
    const input = h("input", { type: "radio", name: `cpulse-range-${nextNumber()}`, value: name });
    return {
      name,
      input,
      label: h("label", { class: "cpulse-choice" }, input, h("span", { text: t(`charts.ranges.${name}`) })),
    };
  });
  const shared = choices[0].input.name;
  for (const { name, input } of choices) {
    input.name = shared;
    input.addEventListener(
      "change",
      () => {
        if (input.checked) void service.setRange(name);
      },
      { signal },
    );
  }
  const note = h("p", { class: "cpulse-note", hidden: true, text: t("charts.short") });
  const element = h(
    "section",
    { class: "cpulse-section cpulse-charts", "aria-label": t("sections.charts") },
    h(
      "div",
      { class: "cpulse-head" },
      h("h3", { text: t("sections.charts") }),
      h(
        "div",
        { class: "cpulse-choices", role: "radiogroup", "aria-label": t("charts.range") },
        ...choices.map((one) => one.label),
      ),
    ),
    note,
    h("div", { class: "cpulse-chart-groups" }, ...groups.filter((group) => group !== inside)),
  );

  /** @type {import("./history.js").HistoryTrack | null} */
  let drawn = null;
  let version = -1;
  return {
    element,
    charts,
    inside,
    update() {
      show(element, service.snapshot !== null);
      const { history } = service;
      const { range, end, step, series, down } = history;
      for (const { name, input } of choices) {
        if (input.checked !== (name === range)) input.checked = name === range;
      }
      setAttr(element, "data-range", range);
      show(note, range === "7d" && service.snapshot?.chat.since_install === null);
      if (drawn === history && version === history.version) return;
      drawn = history;
      ({ version } = history);
      for (const chart of charts) chart.setData({ end, step, series, down });
    },
  };
}

/**
 * @param {ChartSpec["unit"]} unit
 * @param {import("../types").Format} format
 * @returns {(value: number | null | undefined) => string}
 */
function formatOf(unit, format) {
  if (unit === "percent") return (value) => format.percent(typeof value === "number" ? value / 100 : null);
  if (unit === "share") return format.percent;
  return unit === "number" ? format.compact : format[unit];
}

/**
 * Tab stops at one chart of all; the arrows up and down lead to the others.
 * @param {Chart[]} charts
 * @param {AbortSignal} signal
 */
function oneTabStop(charts, signal) {
  const stopAt = (/** @type {Chart} */ one) => charts.forEach((chart) => chart.setTabStop(chart === one));
  stopAt(charts[0]);
  charts.forEach((chart, index) => {
    chart.element.addEventListener("focusin", () => stopAt(chart), { signal });
    chart.element.addEventListener(
      "keydown",
      (event) => {
        const way = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
        if (!way || !(event.target instanceof SVGElement) || event.ctrlKey || event.metaKey || event.altKey) return;
        for (let next = index + way; next >= 0 && next < charts.length; next += way) {
          if (!charts[next].element.checkVisibility()) continue;
          event.preventDefault();
          return charts[next].focus();
        }
      },
      { signal },
    );
  });
}

let numbers = 0;
/** Two panels in one page must not share a radio group. */
function nextNumber() {
  numbers += 1;
  return numbers;
}
