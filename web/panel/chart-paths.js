// @ts-check
/** From numbers to SVG paths. Pure. */

/**
 * Where a plot lies: its edges in pixels, and the place of a value on its scale.
 * @typedef {{ left: number, right: number, bottom: number, y: (value: number) => number }} Frame
 */
/** @typedef {readonly (number | null)[]} Values */

/**
 * The line through a series; a gap breaks it, and a lone point is a dot. Where several points share a pixel column,
 * its lowest and highest are drawn, so a spike of one second stays visible in a day.
 *
 * @param {Values} values
 * @param {Frame} frame
 */
export function linePath(values, { left, right, y }) {
  const count = values.length;
  const stride = count < 2 ? 0 : (right - left) / (count - 1);
  const perColumn = Math.max(1, Math.floor(count / Math.max(1, right - left)));
  let shape = "";
  let open = false;
  for (let start = 0; start < count; start += perColumn) {
    let low = -1;
    let high = -1;
    for (let index = start; index < Math.min(count, start + perColumn); index += 1) {
      const value = values[index];
      if (value === null || value === undefined) continue;
      if (low < 0 || value < /** @type {number} */ (values[low])) low = index;
      if (high < 0 || value > /** @type {number} */ (values[high])) high = index;
    }
    if (low < 0) {
      if (open) shape += DOT;
      open = false;
      continue;
    }
    for (const index of low === high ? [low] : low < high ? [low, high] : [high, low]) {
      const x = count < 2 ? right : left + index * stride;
      shape += `${open ? "L" : "M"}${x.toFixed(1)},${y(/** @type {number} */ (values[index])).toFixed(1)}`;
      open = true;
    }
  }
  return open ? shape + DOT : shape;
}

/** A line without length: its round cap is a dot. */
const DOT = "h0.01";

/** How long a bar may stand for, in seconds. */
const BARS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400];
/** Pixels that a bar and its gap need. */
const BAR = 4;

/**
 * The shortest time for which a bar is wide enough to be seen; several steps are summed up in it.
 *
 * @param {number} step  seconds
 * @param {number} count  steps
 * @param {number} room  pixels
 */
export function barSeconds(step, count, room) {
  const least = (step * count * BAR) / Math.max(1, room);
  return BARS.find((seconds) => seconds >= least && seconds % step === 0) ?? step * Math.ceil(least / step);
}

/**
 * The sums of steps by bar; a bar begins at a round time, so that it stays what it is while time goes on.
 *
 * @param {Values} values
 * @param {{ end: number, step: number, seconds: number }} time  `end`: wall time at which the newest step begins
 * @returns {{ from: number, to: number, sum: number | null }[]}  the indices of the first and last step of each
 */
export function bars(values, { end, step, seconds }) {
  /** @type {{ from: number, to: number, sum: number | null }[]} */
  const found = [];
  let bar = NaN;
  values.forEach((value, index) => {
    const here = Math.floor((end - (values.length - 1 - index) * step + step / 2) / seconds);
    if (here !== bar) found.push({ from: index, to: index, sum: null });
    bar = here;
    const last = found[found.length - 1];
    last.to = index;
    if (value !== null && value !== undefined) last.sum = (last.sum ?? 0) + value;
  });
  return found;
}

/**
 * The path of bars.
 *
 * @param {{ from: number, to: number, sum: number | null }[]} made
 * @param {number} count  steps
 * @param {Frame} frame
 */
export function barPath(made, count, { left, right, bottom, y }) {
  const room = right - left;
  let shape = "";
  for (const { from, to, sum } of made) {
    if (!sum) continue;
    const x = left + (from / count) * room;
    const width = Math.max(1, ((to - from + 1) / count) * room - 1);
    shape += `M${x.toFixed(1)},${bottom}V${Math.min(bottom - 2, y(sum)).toFixed(1)}h${width.toFixed(1)}V${bottom}z`;
  }
  return shape;
}

/** Seconds between two labels of the time axis. */
const SPACINGS = [300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800];
/** Pixels that a label needs. */
const LABEL = 48;

/**
 * Round times between two moments, by the reader's clock, as many as have room.
 *
 * @param {number} from  wall time
 * @param {number} to  wall time
 * @param {number} room  pixels
 * @returns {{ times: number[], days: boolean }}  `days`: they are whole days
 */
export function timeTicks(from, to, room) {
  // Beyond two days the time of day says nothing without its day.
  const least = Math.max(to - from > 172_800 ? 86_400 : 0, ((to - from) * LABEL) / Math.max(1, room));
  const spacing = SPACINGS.find((seconds) => seconds >= least) ?? SPACINGS[SPACINGS.length - 1];
  const times = [];
  // Day by day: a day on which the clocks change has not 24 hours.
  const midnight = new Date(from * 1000);
  midnight.setHours(0, 0, 0, 0);
  for (; midnight.getTime() / 1000 < to; midnight.setDate(midnight.getDate() + Math.max(1, spacing / 86_400))) {
    const day = midnight.getTime() / 1000;
    for (let time = day; time < day + 86_400; time += spacing) {
      if (time > from && time < to) times.push(time);
    }
  }
  return { times, days: spacing >= 86_400 };
}

/** The known value nearest to a place, or -1. @param {readonly Values[]} series @param {number} at */
export function nearest(series, at) {
  const count = series[0]?.length ?? 0;
  const has = (/** @type {number} */ index) => series.some((values) => (values[index] ?? null) !== null);
  for (let off = 0; off < count; off += 1) {
    if (at - off >= 0 && has(at - off)) return at - off;
    if (at + off < count && has(at + off)) return at + off;
  }
  return -1;
}

/** Every point of a line as a dot. @param {string} shape */
export function dots(shape) {
  return shape.replaceAll(DOT, "").replace(/[ML]([^ML]+)/g, `M$1${DOT}`);
}

/** A line that goes on over its gaps. @param {string} shape */
export function joined(shape) {
  return shape.replaceAll(DOT, "").replace(/(?!^)M/g, "L");
}

/**
 * The newest point, or the one before when the running step has no value yet; of sparse values the newest there is.
 *
 * @param {Values} values
 * @param {boolean} [sparse]
 */
export function newest(values, sparse = false) {
  if (sparse) return values.findLast((value) => value !== null) ?? null;
  return values[values.length - 1] ?? values[values.length - 2] ?? null;
}

/** The next of 1, 2, 4, 5, 8, 10 ... above: half of each is a short number too. @param {number} value */
export function niceAbove(value) {
  if (!(value > 0)) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  const lead = value / power;
  return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 4 ? 4 : lead <= 5 ? 5 : lead <= 8 ? 8 : 10) * power;
}
