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

/**
 * One bar a step, or the highest of a few steps where a bar would be narrower than three pixels.
 *
 * @param {Values} values
 * @param {Frame} frame
 */
export function barPath(values, { left, right, bottom, y }) {
  const count = values.length;
  const room = right - left;
  const per = Math.max(1, Math.ceil((count * 3) / room));
  const width = Math.max(1, (room * per) / count - 1);
  let shape = "";
  for (let start = 0; start < count; start += per) {
    let top = 0;
    for (let index = start; index < Math.min(count, start + per); index += 1) top = Math.max(top, values[index] ?? 0);
    if (!top) continue;
    const x = left + (start / count) * room;
    shape += `M${x.toFixed(1)},${bottom}V${Math.min(bottom - 2, y(top)).toFixed(1)}h${width.toFixed(1)}V${bottom}z`;
  }
  return shape;
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
