// @ts-check
/**
 * Line and bar charts as SVG, drawn by us. SVG because its strokes take the theme's colours from CSS variables, so a
 * change of theme costs nothing. A chart draws at most once a frame, only when its data or size changed and only
 * while it is on screen; there is no running loop.
 */

import { barPath, dots, joined, linePath, newest, niceAbove } from "./chart-paths.js";
import { button, h, setAttr, setText, svg } from "./dom.js";

/**
 * @typedef {object} Line
 * @property {string} key
 * @property {string} label
 * @property {1 | 2 | 3} tone  which of the three series colours
 */
/**
 * @typedef {object} ChartOptions
 * @property {string} title
 * @property {Line[]} lines
 * @property {(value: number | null | undefined) => string} format
 * @property {(values: readonly number[]) => string[]} axis  the labels of the scale, all in one unit
 * @property {"line" | "bars"} [kind]
 * @property {number[]} [thresholds]  values that get a dashed line
 * @property {number} [ceiling]  the top of the scale; else it follows the data
 * @property {boolean} [sparse]  values come now and then: dots, joined by a faint line, and the newest one is read out
 * @property {boolean} [fromZero]  the scale begins at 0 (the default)
 * @property {boolean} [whole]  values are whole numbers, and so are the labels
 * @property {import("../types").Translate} t
 * @property {(wall: number, precise?: boolean) => string} clock
 * @property {AbortSignal} signal
 * @property {(share: number | null) => void} onCursor  told where the reader points, 0 (oldest) to 1 (now)
 */
/**
 * @typedef {object} ChartData
 * @property {number} end  wall time of the newest point
 * @property {number} step  seconds between two points
 * @property {Record<string, readonly (number | null)[]>} series
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
    this._scale = { low: 0, high: 1 };
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
    this._times = ["start", "end"].map((anchor) =>
      svg("text", { class: "cpulse-axis", y: HEIGHT - 4, "text-anchor": anchor }),
    );
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
    this._mark();
  }

  /** Show the values at a place, or the newest ones for null. @param {number | null} share */
  setCursor(share) {
    const count = this._count();
    const cursor = share === null || count < 2 ? null : Math.round(Math.max(0, Math.min(1, share)) * (count - 1));
    if (cursor === this._cursor) return;
    this._cursor = cursor;
    this._drawCursor();
  }

  /** Draw now. Public for those who measure it. */
  draw() {
    this._dirty = false;
    if (this._tableShown) {
      this._fillTable();
    } else if (this._width > LEFT + RIGHT) {
      this._scale = this._findScale();
      this._drawGrid();
      for (const line of this.options.lines) {
        const { kind, sparse } = this.options;
        const values = this.data.series[line.key] ?? [];
        const shape = kind === "bars" ? barPath(values, this._frameOf()) : linePath(values, this._frameOf());
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
      ...this._grid.flatMap(({ rule, label }) => [rule, label]),
      ...this._times,
      ...this._thresholds.map(({ rule }) => rule),
    );
    for (const { key, label, tone } of lines) {
      this._joins[key] = svg("path", { class: `cpulse-series cpulse-join cpulse-tone-${tone}` });
      this._paths[key] = svg("path", {
        class: `cpulse-series cpulse-series-${sparse ? "dots" : kind} cpulse-tone-${tone}`,
      });
      this._plot.append(...(sparse ? [this._joins[key]] : []), this._paths[key]);
      this._values[key] = h("span", { class: "cpulse-value" });
      const name = several ? h("span", { class: `cpulse-key cpulse-tone-${tone}`, text: label }) : null;
      legend.append(h("span", { class: "cpulse-reading" }, name, this._values[key]));
    }
    this._empty.textContent = t("charts.empty");
    this._plot.append(this._pointer, this._when, this._empty);
    this._plotBox.append(this._plot);
    const toggle = button(
      { label: t("charts.asTable", { title }), icon: "table", kind: "quiet" },
      () => this._toggleTable(toggle),
      signal,
    );
    toggle.setAttribute("aria-pressed", "false");
    const figure = h(
      "figure",
      { class: "cpulse-chart" },
      h(
        "figcaption",
        { class: several ? "cpulse-caption-several" : null },
        h("span", { class: "cpulse-chart-title", text: title }),
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

  /** Low and high end of the scale, rounded so that the middle line has a short label. */
  _findScale() {
    const { ceiling, fromZero = true, whole = false } = this.options;
    let low = Infinity;
    let high = -Infinity;
    for (const { key } of this.options.lines) {
      for (const value of this.data.series[key] ?? []) {
        if (value === null) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (ceiling !== undefined) return { low: 0, high: ceiling };
    if (high === -Infinity) return { low: 0, high: 0 };
    if (whole) return { low: 0, high: 2 * Math.ceil(niceAbove(high) / 2) };
    if (fromZero) return { low: 0, high: niceAbove(high) };
    // Not less than a fiftieth of the value: a tremble is no trend.
    const span = niceAbove(Math.max((high - low) * 1.2, high / 50));
    const floor = Math.max(0, Math.floor(low / (span / 2)) * (span / 2));
    return { low: floor, high: floor + (high > floor + span ? 2 * span : span) };
  }

  /** The plot's place for the path functions. @returns {import("./chart-paths.js").Frame} */
  _frameOf() {
    return { left: LEFT, right: this._width - RIGHT, bottom: HEIGHT - BOTTOM, y: (value) => this._y(value) };
  }

  /** @param {number} value */
  _y(value) {
    const { low, high } = this._scale;
    const share = high > low ? (value - low) / (high - low) : 0;
    return HEIGHT - BOTTOM - Math.max(0, Math.min(1, share)) * (HEIGHT - BOTTOM - TOP);
  }

  /** @param {number} index @param {number} count */
  _x(index, count) {
    return LEFT + (count < 2 ? 1 : index / (count - 1)) * (this._width - LEFT - RIGHT);
  }

  _drawGrid() {
    const { low, high } = this._scale;
    const nothing = this._isEmpty();
    const right = this._width - RIGHT;
    const ticks = [low, (low + high) / 2, high];
    const labels = nothing || high <= low ? ticks.map(() => "") : this.options.axis(ticks);
    this._grid.forEach(({ rule, label }, index) => {
      const value = ticks[index];
      const y = Math.round(this._y(value)) + 0.5;
      setAttr(rule, "x2", right);
      setAttr(rule, "visibility", nothing && index ? "hidden" : "visible");
      setAttr(rule, "y1", high > low ? y : HEIGHT - BOTTOM + 0.5);
      setAttr(rule, "y2", high > low ? y : HEIGHT - BOTTOM + 0.5);
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
    const { end, step } = this.data;
    const precise = step * this._count() <= 120;
    setAttr(this._times[0], "x", LEFT);
    setAttr(this._times[1], "x", right);
    setText(this._times[0], end ? this.options.clock(end - step * (this._count() - 1), precise) : "");
    setText(this._times[1], end ? this.options.t("charts.now") : "");
    setAttr(this._empty, "x", (LEFT + right) / 2);
    setAttr(this._empty, "visibility", nothing ? "visible" : "hidden");
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
    const moves = /** @type {Record<string, number>} */ ({
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
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
    const at = this._cursor !== null && this._cursor < count ? this._cursor : null;
    const { t, lines, format, clock, title } = this.options;
    const { end, step, series } = this.data;
    const readings = lines.map(({ key, label }) => {
      const values = series[key] ?? [];
      const value = at === null ? newest(values, this.options.sparse) : values[at];
      setText(this._values[key], format(value));
      return lines.length > 1 ? `${label} ${format(value)}` : format(value);
    });
    if (at === null || this._width <= LEFT + RIGHT || this._isEmpty()) {
      setAttr(this._pointer, "visibility", "hidden");
      setAttr(this._when, "visibility", "hidden");
      for (const label of this._times) setAttr(label, "visibility", "visible");
      setAttr(this._plot, "aria-label", t("charts.summary", { title, now: readings.join(", ") }));
      return;
    }
    const time = clock(end - (count - 1 - at) * step, step < 60);
    const x = this._x(at, count);
    for (const name of ["x1", "x2"]) setAttr(this._pointer, name, x.toFixed(1));
    setAttr(this._pointer, "visibility", "visible");
    setAttr(this._when, "x", Math.max(LEFT + 22, Math.min(this._width - RIGHT - 24, x)).toFixed(1));
    setText(this._when, time);
    setAttr(this._when, "visibility", "visible");
    for (const label of this._times) setAttr(label, "visibility", "hidden");
    setAttr(this._plot, "aria-label", t("charts.reading", { title, time, values: readings.join(", ") }));
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

  /** Newest first; a long range is summed up in 30 rows (the highest value of each). */
  _fillTable() {
    const { t, lines, format, clock, title } = this.options;
    const { end, step, series } = this.data;
    const count = this._count();
    const per = Math.max(1, Math.ceil(count / TABLE_ROWS));
    const head = h(
      "tr",
      {},
      h("th", { scope: "col", text: t("charts.time") }),
      ...lines.map(({ label }) => h("th", { scope: "col", text: label })),
    );
    const rows = [];
    for (let last = count - 1; last >= 0; last -= per) {
      const from = Math.max(0, last - per + 1);
      const cells = lines.map(({ key }) => {
        let most = /** @type {number | null} */ (null);
        for (const value of (series[key] ?? []).slice(from, last + 1)) {
          if (value !== null && (most === null || value > most)) most = value;
        }
        return h("td", { text: format(most) });
      });
      rows.push(
        h("tr", {}, h("th", { scope: "row", text: clock(end - (count - 1 - last) * step, step < 60) }), ...cells),
      );
    }
    this._table.replaceChildren(h("caption", { text: title }), h("thead", {}, head), h("tbody", {}, ...rows));
  }
}
