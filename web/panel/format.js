// @ts-check
/** Numbers, sizes and times as people read them, by locale. Pure functions; nothing here touches the page. */

/** @typedef {import("../types").Format} Format */

export const NONE = "–";
/** Stands before what was estimated, and on the same line as it. */
export const ABOUT = "≈\u00a0";

/** Units of each kind of value, the smallest first: from which size on it is used, and what it is called. */
const UNITS = /** @type {const} */ ({
  number: [[1, ""]],
  percent: [[1, "%"]],
  share: [[0.01, "%"]],
  seconds: [
    [1e-6, " µs"],
    [1e-3, " ms"],
    [1, " s"],
  ],
  bytes: [
    [1, " B"],
    [1e3, " kB"],
    [1e6, " MB"],
    [1e9, " GB"],
    [1e12, " TB"],
  ],
});

/** @param {unknown} value @returns {value is number} */
function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * @param {string} locale  a BCP 47 tag; an unusable one falls back to English
 * @returns {Format}
 */
export function createFormat(locale) {
  const tag = usable(locale);
  const fixed = [0, 1, 2, 3].map(
    (digits) => new Intl.NumberFormat(tag, { maximumFractionDigits: digits, minimumFractionDigits: digits }),
  );
  const cents = new Intl.NumberFormat(tag, { minimumFractionDigits: 2, maximumFractionDigits: 4 });
  // Chinese counts in ten thousands: as exact a figure has a digit more behind the point.
  const [short, shortExact] = [tag.startsWith("zh") ? 2 : 1, 3].map(
    (digits) => new Intl.NumberFormat(tag, { notation: "compact", maximumFractionDigits: digits }),
  );
  const clocks = [false, true].map(
    (precise) =>
      new Intl.DateTimeFormat(tag, {
        hour: "2-digit",
        minute: "2-digit",
        hourCycle: "h23",
        ...(precise ? { second: "2-digit" } : {}),
      }),
  );
  const date = new Intl.DateTimeFormat(tag, { month: "short", day: "numeric" });
  const weekday = new Intl.DateTimeFormat(tag, { weekday: "short" });
  const relative = new Intl.RelativeTimeFormat(tag, { numeric: "auto", style: "narrow" });
  /** @type {Record<string, Intl.NumberFormat>} */
  const units = {};
  /** @param {number} value @param {"minute" | "hour" | "day"} unit */
  const unitText = (value, unit) => {
    units[unit] ??= new Intl.NumberFormat(tag, { style: "unit", unit, unitDisplay: "short" });
    return units[unit].format(value);
  };

  /** Three significant digits at most, and no trailing noise. @param {number} value */
  const brief = (value) => {
    const size = Math.abs(value);
    if (size >= 99.5 || Number.isInteger(value)) return fixed[0].format(value);
    return size >= 9.95 ? fixed[0].format(value) : fixed[1].format(value);
  };

  /** @type {Format} */
  const format = {
    number: (value, digits) =>
      !known(value) ? NONE : digits === undefined ? brief(value) : fixed[Math.min(3, digits)].format(value),
    // Up to four digits as they are, so that the same figure looks the same wherever it stands.
    compact: (value) => (!known(value) ? NONE : Math.abs(value) < 9999.5 ? brief(value) : short.format(value)),
    percent: (share) => {
      if (!known(share)) return NONE;
      const value = Math.round(share * 1e8) / 1e6; // 0.07 * 100 is not 7
      return `${fixed[value > 0 && value < 9.95 && !Number.isInteger(value) ? 1 : 0].format(value)}%`;
    },
    bytes: (value) => {
      if (!known(value)) return NONE;
      const names = ["B", "kB", "MB", "GB", "TB"];
      let size = Math.abs(value);
      let index = 0;
      while (size >= 999.5 && index < names.length - 1) {
        size /= 1000;
        index += 1;
      }
      return `${value < 0 ? "\u2212" : ""}${brief(size)} ${names[index]}`;
    },
    seconds: (value) => {
      if (!known(value)) return NONE;
      if (value === 0) return "0 s";
      if (value < 0.0009995) return `${brief(value * 1e6)} µs`;
      if (value < 0.9995) return `${brief(value * 1e3)} ms`;
      return value < 99.5 ? `${brief(value)} s` : format.duration(value);
    },
    duration: (value) => {
      if (!known(value)) return NONE;
      const whole = Math.max(0, Math.round(value));
      if (whole < 60) return `${fixed[0].format(whole)} s`;
      if (whole < 3600) return pair(unitText(Math.floor(whole / 60), "minute"), whole < 600 ? whole % 60 : 0, "s");
      if (whole < 86400) {
        const minutes = Math.floor((whole % 3600) / 60);
        return unitText(Math.floor(whole / 3600), "hour") + (minutes ? ` ${unitText(minutes, "minute")}` : "");
      }
      const hours = Math.floor((whole % 86400) / 3600);
      return unitText(Math.floor(whole / 86400), "day") + (hours ? ` ${unitText(hours, "hour")}` : "");
    },
    axis: (values, unit) => {
      const top = Math.max(...values);
      if (unit === "number" && top >= 1000) return values.map((value) => shortExact.format(value));
      const [size, name] = UNITS[unit].findLast(([least]) => top >= least) ?? UNITS[unit][0];
      const scaled = values.map((value) => value / size);
      // So many digits that equal distances look equal: 0, 2.5, 5 and not 0, 3, 5.
      const step = (scaled[scaled.length - 1] - scaled[0]) / Math.max(1, scaled.length - 1);
      const exact = (/** @type {number} */ digits) =>
        scaled.every((value) => Math.abs(value - Math.round(value * 10 ** digits) / 10 ** digits) < 0.02 * step);
      const digits = [0, 1, 2].find(exact) ?? 3;
      return scaled.map((value) => fixed[digits].format(value) + name);
    },
    clock: (wall, precise = false) => clocks[precise ? 1 : 0].format(new Date(wall * 1000)),
    day: (wall) => date.format(new Date(wall * 1000)),
    weekday: (wall) => weekday.format(new Date(wall * 1000)),
    money: (value, sign = "") => {
      if (!known(value)) return NONE;
      if (value > 0 && value < 0.0001) return `<${sign}${cents.format(0.0001)}`;
      return sign + (value !== 0 && value < 0.1 ? cents : fixed[value >= 1000 ? 0 : 2]).format(value);
    },
    when: (wall, now) => {
      const past = Math.max(0, now - wall);
      // "A chat failed now" and "60s ago" are no words.
      if (past < 59.5) return relative.format(-Math.max(1, Math.round(past)), "second");
      if (past < 3570) return relative.format(-Math.round(past / 60), "minute");
      if (past < 84_600) return relative.format(-Math.round(past / 3600), "hour");
      return relative.format(-Math.round(past / 86400), "day");
    },
  };
  return format;
}

/** @param {string} first @param {number} rest @param {string} unit */
function pair(first, rest, unit) {
  return rest ? `${first} ${rest} ${unit}` : first;
}

/** @param {string} locale */
function usable(locale) {
  try {
    return Intl.getCanonicalLocales(locale)[0] ?? "en";
  } catch {
    return "en";
  }
}
