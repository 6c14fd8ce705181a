// @ts-check
/**
 * Line and bar charts as SVG, drawn by us. SVG because its strokes take the theme's colours from CSS variables, so a
 * change of theme costs nothing. A chart draws at most once a frame, only when its data or size changed and only
 * while it is on screen; there is no running loop.
 */

import {
  barPath,
  bars,
  barSeconds,
  dots,
  joined,
  linePath,
  nearest,
  newest,
  niceAbove,
  timeTicks,
} from "./chart-paths.js";
import { button, h, setAttr, setText, svg } from "./dom.js";

/**
 * @typedef {object} Line
 * @property {string} key
 * @property {string} label
 * @property {1 | 2 | 3} tone  which of the three series colours
 * @property {"mean" | "max" | "sum"} [fold]  how a row of the table sums up several points
 */
/**
 * @typedef {object} ChartOptions
 * @property {string} title
 * @property {string} [group]
 * @property {Line[]} lines
 * @property {(value: number | null | undefined) => string} format
 * @property {(values: readonly number[]) => string[]} axis  the labels of the scale, all in one unit
 * @property {"line" | "bars"} [kind]  bars are sums of counts
 * @property {number[]} [thresholds]  values that get a dashed line
 * @property {number} [ceiling]  the top of the scale; else it follows the data
 * @property {boolean} [sparse]  values come now and then: dots, joined by a faint line, and the newest one is read out
 * @property {boolean} [whole]  values are whole numbers, and so are the labels
 * @property {import("../types").Translate} t
 * @property {Pick<import("../types").Format, "clock" | "duration" | "weekday" | "day">} times
 * @property {AbortSignal} signal
 * @property {(share: number | null) => void} onCursor  told where the reader points, 0 (oldest) to 1 (now)
 */
/**
 * @typedef {object} ChartData
 * @property {number} end  wall time of the newest point
 * @property {number} step  seconds between two points
 * @property {Record<string, readonly (number | null)[]>} series
 * @property {readonly [number, number][]} [down]  wall times between which nothing ran
 */

const HEIGHT = 80;
const TOP = 8;
const BOTTOM = 17;
const LEFT = 50;
const RIGHT = 4;
const TABLE_ROWS = 30;

export class Chart {
  /** @param {ChartOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {ChartData} */
    this.data = { end: 0, step: 1, series: {} };
    this._width = 0;
    this._visible = true;
    this._dirty = false;
    this._frame = 0;
    /** @type {number | null} */
    this._cursor = null;
    this._tableShown = false;
    this._high = 1;
    /** Where the reader points, before it snaps to what is known. @type {number | null} */
    this._pointed = null;
    this._barSeconds = 1;
    /** @type {{ from: number, to: number, sum: number | null }[]} */
    this._bars = [];
    /** @type {Record<string, { dot: SVGCircleElement, text: SVGTextElement }>} */
    this._tips = {};
    /** @type {Record<string, SVGPathElement>} */
    this._paths = {};
    /** @type {Record<string, SVGPathElement>} */
    this._joins = {};
    /** @type {Record<string, HTMLElement>} */
    this._values = {};
    this._plot = svg("svg", { class: "cpulse-plot", height: HEIGHT, tabindex: 0, role: "img" });
    this._plotBox = h("div", { class: "cpulse-plot-box" });
    this._grid = [0, 1, 2].map(() => ({
      rule: svg("line", { class: "cpulse-grid", x1: LEFT }),
      label: svg("text", { class: "cpulse-axis", x: LEFT - 6, "text-anchor": "end" }),
    }));
    this._now = svg("text", { class: "cpulse-axis", y: HEIGHT - 4, "text-anchor": "end" });
    /** @type {{ rule: SVGLineElement, label: SVGTextElement }[]} */
    this._times = [];
    this._timeBox = svg("g");
    this._down = svg("path", { class: "cpulse-down" });
    this._unit = h("span", { class: "cpulse-unit" });
    this._thresholds = (options.thresholds ?? []).map((value, index) => ({
      value,
      rule: svg("line", { class: `cpulse-threshold cpulse-threshold-${index + 1}`, x1: LEFT }),
    }));
    this._pointer = svg("line", { class: "cpulse-pointer", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this._when = svg("text", {
      class: "cpulse-axis cpulse-when",
      y: HEIGHT - 4,
      "text-anchor": "middle",
      visibility: "hidden",
    });
    this._empty = svg("text", {
      class: "cpulse-axis",
      y: (HEIGHT - BOTTOM + TOP) / 2 + 4,
      "text-anchor": "middle",
      visibility: "hidden",
    });
    this._table = h("table", { class: "cpulse-table" });
    this._tableBox = h("div", { class: "cpulse-table-box", tabindex: 0, hidden: true }, this._table);
    this.element = this._build();
  }

  /** Take new data over; drawn before the next frame if the chart can be seen. @param {ChartData} data */
  setData(data) {
    this.data = data;
    // Out of sight nothing is drawn, but a screen reader goes there without scrolling.
    if (!this._visible) this._drawCursor();
    this._mark();
  }

  /** Show what is known nearest to a place, or the newest values for null. @param {number | null} share */
  setCursor(share) {
    const count = this._count();
    const pointed = share === null || count < 2 ? null : Math.round(Math.max(0, Math.min(1, share)) * (count - 1));
    if (pointed === this._pointed) return;
    this._pointed = pointed;
    this._drawCursor();
  }

  /** Whether Tab stops here; of all charts of a panel it stops at one. @param {boolean} stop */
  setTabStop(stop) {
    const toggle = /** @type {HTMLElement} */ (this._toggle);
    for (const element of [this._plot, toggle, this._tableBox]) setAttr(element, "tabindex", stop ? 0 : -1);
  }

  /** Give the focus to what is shown of it. */
  focus() {
    (this._tableShown ? this._tableBox : this._plot).focus();
  }

  /** Draw now. Public for those who measure it. */
  draw() {
    this._dirty = false;
    if (this._tableShown) {
      this._fillTable();
    } else if (this._width > LEFT + RIGHT) {
      this._sumUp();
      this._high = this._findHigh();
      this._drawGrid();
      this._drawTimes();
      for (const line of this.options.lines) {
        const { kind, sparse } = this.options;
        const values = this.data.series[line.key] ?? [];
        const shape =
          kind === "bars" ? barPath(this._bars, values.length, this._frameOf()) : linePath(values, this._frameOf());
        setAttr(this._paths[line.key], "d", sparse ? dots(shape) : shape);
        if (sparse) setAttr(this._joins[line.key], "d", joined(shape));
      }
    }
    this._drawCursor();
  }

  // --- building ---

  _build() {
    const { title, lines, kind = "line", sparse = false, t, signal } = this.options;
    const several = lines.length > 1;
    const legend = h("div", { class: "cpulse-legend" });
    this._plot.append(
      this._down,
      ...this._grid.flatMap(({ rule, label }) => [rule, label]),
      this._timeBox,
      this._now,
      ...this._thresholds.map(({ rule }) => rule),
    );
    for (const { key, label, tone } of lines) {
      this._joins[key] = svg("path", { class: `cpulse-series cpulse-join cpulse-tone-${tone}` });
      this._paths[key] = svg("path", {
        class: `cpulse-series cpulse-series-${sparse ? "dots" : kind} cpulse-tone-${tone}`,
      });
      this._plot.append(...(sparse ? [this._joins[key]] : []), this._paths[key]);
      this._values[key] = h("span", { class: "cpulse-value" });
      this._tips[key] = {
        dot: svg("circle", { class: `cpulse-tip-dot cpulse-tone-${tone}`, r: 3, visibility: "hidden" }),
        text: svg("text", { class: "cpulse-tip", visibility: "hidden" }),
      };
      const name = several ? h("span", { class: `cpulse-key cpulse-tone-${tone}`, text: label }) : null;
      legend.append(h("span", { class: "cpulse-reading" }, name, this._values[key]));
    }
    this._empty.textContent = t("charts.empty");
    const tips = Object.values(this._tips).flatMap(({ dot, text }) => [dot, text]);
    this._plot.append(this._pointer, this._when, ...tips, this._empty);
    this._down.append(svg("title"));
    /** @type {Element} */ (this._down.firstChild).textContent = t("charts.down");
    this._plotBox.append(this._plot);
    const toggle = button(
      { label: t("charts.asTable", { title }), icon: "table", kind: "quiet" },
      () => this._toggleTable(toggle),
      signal,
    );
    toggle.setAttribute("aria-pressed", "false");
    this._toggle = toggle;
    const figure = h(
      "figure",
      { class: "cpulse-chart" },
      h(
        "figcaption",
        { class: several ? "cpulse-caption-several" : null },
        h("span", { class: "cpulse-chart-title", text: title }),
        this._unit,
        legend,
        toggle,
      ),
      this._plotBox,
      this._tableBox,
    );
    this._listen(figure, signal);
    return figure;
  }

  /** @param {HTMLElement} figure @param {AbortSignal} signal */
  _listen(figure, signal) {
    const plot = this._plot;
    plot.addEventListener("pointermove", (event) => this._tell(this._shareAt(event.offsetX)), {
      signal,
      passive: true,
    });
    plot.addEventListener("pointerleave", () => this._tell(null), { signal });
    plot.addEventListener("blur", () => this._tell(null), { signal });
    plot.addEventListener("keydown", (event) => this._onKey(event), { signal });
    const size = new ResizeObserver((entries) => {
      const width = Math.floor(entries[entries.length - 1].contentRect.width);
      if (width && width !== this._width) {
        this._width = width;
        this._mark();
      }
    });
    size.observe(this._plotBox);
    const sight = new IntersectionObserver((entries) => {
      this._visible = entries[entries.length - 1].isIntersecting;
      if (this._visible && this._dirty) this._mark();
    });
    // The whole figure: the plot alone is out of sight while its table is shown.
    sight.observe(figure);
    signal.addEventListener(
      "abort",
      () => {
        size.disconnect();
        sight.disconnect();
        cancelAnimationFrame(this._frame);
      },
      { once: true },
    );
  }

  _mark() {
    this._dirty = true;
    if (!this._visible || this._frame || this.options.signal.aborted) return;
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      if (this._dirty) this.draw();
    });
  }

  // --- drawing ---

  _count() {
    return this.data.series[this.options.lines[0].key]?.length ?? 0;
  }

  /** The bars of the data, where bars are drawn. */
  _sumUp() {
    if (this.options.kind !== "bars") return;
    const { end, step, series } = this.data;
    this._barSeconds = barSeconds(step, this._count(), this._width - LEFT - RIGHT);
    this._bars = bars(series[this.options.lines[0].key] ?? [], { end, step, seconds: this._barSeconds });
    setText(this._unit, this.options.t("charts.per", { time: this.options.times.duration(this._barSeconds) }));
  }

  /** The top of the scale, rounded so that the middle line has a short label; it begins at 0. */
  _findHigh() {
    const { ceiling, whole = false, kind } = this.options;
    let high = -Infinity;
    for (const { key } of this.options.lines) {
      const values = kind === "bars" ? this._bars.map(({ sum }) => sum) : (this.data.series[key] ?? []);
      for (const value of values) if (value !== null && value > high) high = value;
    }
    if (ceiling !== undefined) return ceiling;
    if (high === -Infinity) return 0;
    return whole ? 2 * Math.ceil(niceAbove(high) / 2) : niceAbove(high);
  }

  /** The plot's place for the path functions. @returns {import("./chart-paths.js").Frame} */
  _frameOf() {
    return { left: LEFT, right: this._width - RIGHT, bottom: HEIGHT - BOTTOM, y: (value) => this._y(value) };
  }

  /** @param {number} value */
  _y(value) {
    const share = this._high > 0 ? value / this._high : 0;
    return HEIGHT - BOTTOM - Math.max(0, Math.min(1, share)) * (HEIGHT - BOTTOM - TOP);
  }

  /** @param {number} index @param {number} count */
  _x(index, count) {
    return LEFT + (count < 2 ? 1 : index / (count - 1)) * (this._width - LEFT - RIGHT);
  }

  _drawGrid() {
    const high = this._high;
    const nothing = this._isEmpty();
    const right = this._width - RIGHT;
    const ticks = [0, high / 2, high];
    const labels = nothing || high <= 0 ? ticks.map(() => "") : this.options.axis(ticks);
    this._grid.forEach(({ rule, label }, index) => {
      const value = ticks[index];
      const y = Math.round(this._y(value)) + 0.5;
      setAttr(rule, "x2", right);
      setAttr(rule, "visibility", nothing && index ? "hidden" : "visible");
      setAttr(rule, "y1", high > 0 ? y : HEIGHT - BOTTOM + 0.5);
      setAttr(rule, "y2", high > 0 ? y : HEIGHT - BOTTOM + 0.5);
      setAttr(label, "y", y + 3);
      setText(label, labels[index]);
    });
    for (const { value, rule } of this._thresholds) {
      const y = Math.round(this._y(value)) + 0.5;
      setAttr(rule, "x2", right);
      setAttr(rule, "visibility", nothing ? "hidden" : "visible");
      setAttr(rule, "y1", y);
      setAttr(rule, "y2", y);
    }
    setAttr(this._empty, "x", (LEFT + right) / 2);
    setAttr(this._empty, "visibility", nothing ? "visible" : "hidden");
  }

  /** Labels at round times, and the times in which nothing ran. */
  _drawTimes() {
    const { end, step, down = [] } = this.data;
    const { t, times } = this.options;
    const right = this._width - RIGHT;
    const from = end - step * (this._count() - 1);
    const room = right - LEFT;
    const x = (/** @type {number} */ time) =>
      LEFT + Math.max(0, Math.min(1, (time - from) / Math.max(1, end - from))) * room;
    setAttr(this._now, "x", right);
    setText(this._now, end ? t("charts.now") : "");
    const found = end ? timeTicks(from, end, room) : { times: [], days: false };
    const shown = found.times.filter((time) => x(time) > LEFT + 14 && x(time) < right - 40);
    while (this._times.length < shown.length) {
      const rule = svg("line", { class: "cpulse-grid", y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 3 });
      const label = svg("text", { class: "cpulse-axis", y: HEIGHT - 4, "text-anchor": "middle" });
      this._times.push({ rule, label });
      this._timeBox.append(rule, label);
    }
    this._times.forEach(({ rule, label }, index) => {
      const time = shown[index];
      const visible = time === undefined ? "hidden" : "visible";
      setAttr(rule, "visibility", visible);
      setAttr(label, "visibility", visible);
      if (time === undefined) return;
      for (const name of ["x1", "x2"]) setAttr(rule, name, x(time).toFixed(1));
      setAttr(label, "x", x(time).toFixed(1));
      setText(label, found.days ? times.weekday(time) : times.clock(time));
    });
    const holes = down.filter(([begin, over]) => over > from && begin < end + step);
    const shape = holes.map(([begin, over]) => {
      const [left, width] = [x(begin), Math.max(1, x(over) - x(begin))];
      return `M${left.toFixed(1)},${TOP}h${width.toFixed(1)}V${HEIGHT - BOTTOM}h-${width.toFixed(1)}z`;
    });
    setAttr(this._down, "d", shape.join(""));
  }

  /** Whether nothing ran at a place. @param {number} at */
  _isDown(at) {
    const { end, step, down = [] } = this.data;
    const time = end - (this._count() - 1 - at) * step;
    return down.some(([from, to]) => time > from && time < to);
  }

  _isEmpty() {
    return this.options.lines.every(({ key }) => (this.data.series[key] ?? []).every((value) => value === null));
  }

  // --- reading ---

  /** @param {number} x */
  _shareAt(x) {
    const room = this._width - LEFT - RIGHT;
    return room > 0 ? (x - LEFT) / room : null;
  }

  /** @param {number | null} share */
  _tell(share) {
    this.options.onCursor(share === null ? null : Math.max(0, Math.min(1, share)));
  }

  /** @param {KeyboardEvent} event */
  _onKey(event) {
    const count = this._count();
    if (count < 2 || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this._cursor ?? count - 1;
    const known = this.options.lines.map(({ key }) => this.data.series[key] ?? []);
    const next = (/** @type {number} */ way) => {
      for (let index = at + way; index >= 0 && index < count; index += way) {
        if (known.some((values) => values[index] !== null)) return index;
      }
      return at;
    };
    const moves = /** @type {Record<string, number>} */ ({
      ArrowLeft: this.options.kind === "bars" ? at - 1 : next(-1),
      ArrowRight: this.options.kind === "bars" ? at + 1 : next(1),
      PageUp: at - 10,
      PageDown: at + 10,
      Home: 0,
      End: count - 1,
    });
    if (event.key === "Escape") this._tell(null);
    else if (event.key in moves) this._tell(moves[event.key] / (count - 1));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  _drawCursor() {
    const count = this._count();
    const { t, lines, title } = this.options;
    const { series } = this.data;
    const known = lines.map(({ key }) => series[key] ?? []);
    const pointed = this._pointed !== null && this._pointed < count && !this._isEmpty() ? this._pointed : null;
    const asleep = pointed !== null && this._isDown(pointed);
    const snapped = pointed === null || asleep || this.options.kind === "bars" ? pointed : nearest(known, pointed);
    const at = snapped === -1 ? null : snapped;
    this._cursor = at;
    const readings = lines.map(({ key, label }) => {
      const told = asleep ? t("charts.down") : this._told(key, at);
      setText(this._values[key], told);
      return lines.length > 1 ? `${label} ${told}` : told;
    });
    const drawn = at !== null && this._width > LEFT + RIGHT;
    const visible = drawn ? "visible" : "hidden";
    for (const element of [this._pointer, this._when]) setAttr(element, "visibility", visible);
    for (const element of [this._timeBox, this._now]) setAttr(element, "display", drawn ? "none" : null);
    if (at === null || !drawn) {
      this._hideTips();
      setAttr(this._plot, "aria-label", t("charts.summary", { title, now: readings.join(", ") }));
      return;
    }
    const time = this._timeAt(at);
    const x = this._x(at, count);
    for (const name of ["x1", "x2"]) setAttr(this._pointer, name, x.toFixed(1));
    const half = 3 * time.length;
    setAttr(this._when, "x", Math.max(LEFT + half, Math.min(this._width - RIGHT - half, x)).toFixed(1));
    setText(this._when, time);
    if (asleep) this._hideTips();
    else this._drawTips(at, x);
    setAttr(this._plot, "aria-label", t("charts.reading", { title, time, values: readings.join(", ") }));
  }

  /**
   * The value of a line at a place, or what stands for the whole range.
   * @param {string} key
   * @param {number | null} at
   */
  _told(key, at) {
    const { kind, format, sparse, t, times } = this.options;
    const values = this.data.series[key] ?? [];
    if (kind !== "bars") return format(at === null ? newest(values, sparse) : values[at]);
    if (at !== null) return format(this._bars.find(({ from, to }) => at >= from && at <= to)?.sum);
    if (values.every((value) => value === null)) return format(null);
    const sum = values.reduce((total, value) => /** @type {number} */ (total) + (value ?? 0), 0);
    return t("charts.total", { sum: format(sum), time: times.duration(values.length * this.data.step) });
  }

  /** @param {number} at */
  _timeAt(at) {
    const { end, step } = this.data;
    const time = end - (this._count() - 1 - at) * step;
    const { clock, weekday } = this.options.times;
    const span = step * this._count();
    return span > 86_400 ? `${weekday(time)} ${clock(time)}` : clock(time, step < 60);
  }

  /** Dots on the lines at the pointer, and their values beside them. @param {number} at @param {number} x */
  _drawTips(at, x) {
    const right = x > (LEFT + this._width) / 2;
    /** @type {number[]} */
    const taken = [];
    for (const { key } of this.options.lines) {
      const { dot, text } = this._tips[key];
      const bar = this._bars.find(({ from, to }) => at >= from && at <= to);
      const value = this.options.kind === "bars" ? (bar?.sum ?? null) : (this.data.series[key]?.[at] ?? null);
      const y = value === null ? 0 : Math.max(TOP + 2, this._y(value));
      const shown = value !== null && taken.every((other) => Math.abs(other - y) > 11);
      if (shown) taken.push(y);
      setAttr(dot, "visibility", value === null || this.options.kind === "bars" ? "hidden" : "visible");
      setAttr(text, "visibility", shown ? "visible" : "hidden");
      if (value === null) continue;
      setAttr(dot, "cx", x.toFixed(1));
      setAttr(dot, "cy", this._y(value).toFixed(1));
      setAttr(text, "x", (x + (right ? -7 : 7)).toFixed(1));
      setAttr(text, "y", Math.min(HEIGHT - BOTTOM - 3, y + 3.5).toFixed(1));
      setAttr(text, "text-anchor", right ? "end" : "start");
      setText(text, this.options.format(value));
    }
  }

  _hideTips() {
    for (const { dot, text } of Object.values(this._tips)) {
      setAttr(dot, "visibility", "hidden");
      setAttr(text, "visibility", "hidden");
    }
  }

  // --- the table view ---

  /** @param {HTMLElement} toggle */
  _toggleTable(toggle) {
    this._tableShown = !this._tableShown;
    toggle.setAttribute("aria-pressed", String(this._tableShown));
    this._plotBox.hidden = this._tableShown;
    this._tableBox.hidden = !this._tableShown;
    this.draw();
  }

  /** Newest first; a long range is summed up in 30 rows, and the heading says how. */
  _fillTable() {
    const { t, lines, format, times, title } = this.options;
    const { step, series } = this.data;
    const count = this._count();
    const per = Math.max(1, Math.ceil(count / TABLE_ROWS));
    const spoken = (/** @type {Line} */ { label, fold = "mean" }) =>
      per > 1 ? t(`charts.folds.${fold}`, { label, time: times.duration(per * step) }) : label;
    const head = h(
      "tr",
      {},
      h("th", { scope: "col", text: t("charts.time") }),
      ...lines.map((line) => h("th", { scope: "col", text: spoken(line) })),
    );
    const rows = [];
    for (let last = count - 1; last >= 0; last -= per) {
      const from = Math.max(0, last - per + 1);
      const cells = lines.map(({ key, fold = "mean" }) => {
        const values = (series[key] ?? []).slice(from, last + 1).filter((value) => value !== null);
        return h("td", {
          text: values.length || !this._isDown(last) ? format(folded(values, fold)) : t("charts.down"),
        });
      });
      rows.push(h("tr", {}, h("th", { scope: "row", text: this._timeAt(last) }), ...cells));
    }
    this._table.replaceChildren(h("caption", { text: title }), h("thead", {}, head), h("tbody", {}, ...rows));
  }
}

/** Several values as one; null if there is none. @param {number[]} values @param {"mean" | "max" | "sum"} fold */
function folded(values, fold) {
  if (!values.length) return null;
  if (fold === "max") return Math.max(...values);
  const sum = values.reduce((total, value) => total + value, 0);
  return fold === "sum" ? sum : sum / values.length;
}
