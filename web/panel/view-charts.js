// @ts-check
/** The charts, in the order of the three layers, under one range switch and one pointer. */

import { Chart } from "./charts.js";
import { h, setAttr, show } from "./dom.js";
import { RANGES } from "./history.js";

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
 * @property {boolean} [fromZero]
 * @property {boolean} [whole]
 */

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
      { name: "memory", lines: [["rss_bytes", "rss", 1]], unit: "bytes", fromZero: false },
      { name: "cpu", lines: [["cpu_percent", "cpu", 1]], unit: "percent" },
      { name: "loopLag", lines: [["loop_lag_p99", "p99", 1]], unit: "seconds" },
    ],
  },
];

/** @param {ViewContext} context @returns {import("../types").View & { charts: Chart[] }} */
export function createCharts(context) {
  const { t, format, service, signal } = context;
  /** @type {Chart[]} */
  const charts = [];
  const groups = GROUPS.map((group) => {
    const made = group.charts.map((spec) => {
      const chart = new Chart({
        title: t(`charts.${spec.name}`),
        lines: spec.lines.map(([key, label, tone]) => ({ key, label: t(`charts.lines.${label}`), tone })),
        format: formatOf(spec.unit, format),
        axis: (values) => format.axis(values, spec.unit),
        kind: spec.kind,
        sparse: spec.sparse,
        thresholds: spec.thresholds,
        ceiling: spec.ceiling,
        fromZero: spec.fromZero,
        whole: spec.whole,
        t,
        clock: format.clock,
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
    h("div", { class: "cpulse-chart-groups" }, ...groups),
  );

  /** @type {import("./history.js").HistoryTrack | null} */
  let drawn = null;
  let version = -1;
  return {
    element,
    charts,
    update() {
      show(element, service.snapshot !== null);
      const { history } = service;
      const { range, end, step, series } = history;
      for (const { name, input } of choices) {
        if (input.checked !== (name === range)) input.checked = name === range;
      }
      setAttr(element, "data-range", range);
      if (drawn === history && version === history.version) return;
      drawn = history;
      ({ version } = history);
      for (const chart of charts) chart.setData({ end, step, series });
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

let numbers = 0;
/** Two panels in one page must not share a radio group. */
function nextNumber() {
  numbers += 1;
  return numbers;
}
