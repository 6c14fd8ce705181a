// @ts-check
/** The points behind the charts: what the server kept, carried on by the snapshots that come in. Pure; bounded. */

/** @typedef {import("./types").History} History */
/** @typedef {import("./types").RangeName} RangeName */
/** @typedef {import("./types").SeriesName} SeriesName */
/** @typedef {import("./types").Snapshot} Snapshot */

/** Seconds a point stands for, and how many points a range has. */
export const RANGES = /** @type {const} */ ({
  "1m": { step: 1, points: 60 },
  "1h": { step: 5, points: 720 },
  "24h": { step: 60, points: 1440 },
});

/** @type {readonly SeriesName[]} */
export const SERIES = [
  "events_rate",
  "queue_fill",
  "latency_p50",
  "latency_p99",
  "first_token_p50",
  "tokens_per_second",
  "errors",
  "recovery_rate",
  "rss_bytes",
  "cpu_percent",
  "loop_lag_p99",
  "chats_active",
];

/** Of these the worst moment of a step counts; of the others the newest value. @type {ReadonlySet<SeriesName>} */
const PEAKS = new Set(["queue_fill", "latency_p99", "loop_lag_p99", "chats_active", "cpu_percent"]);
/** A hole of at most this many steps is late news and is filled; a longer one stays visible as a gap. */
const BRIDGE = 3;

export class HistoryTrack {
  /** @param {RangeName} range */
  constructor(range) {
    this.range = range;
    /** @type {number} */
    this.step = RANGES[range].step;
    /** @type {number} */
    this.points = RANGES[range].points;
    /** Wall time of the newest point's step. */
    this.end = 0;
    /** Rises with each change, so that a chart knows whether to draw. */
    this.version = 0;
    /** @type {import("./types").Series} */
    this.series = emptySeries(this.points);
    this._errorsSeen = -1;
  }

  /**
   * Take over what the server kept. Series of another length are cut or padded at their old end.
   *
   * @param {History} history
   */
  load(history) {
    this.step = history.step > 0 ? history.step : this.step;
    this.end = this._slot(history.end);
    for (const name of SERIES) {
      const given = Array.isArray(history.series?.[name]) ? history.series[name].slice(-this.points) : [];
      this.series[name] = [...Array(this.points - given.length).fill(null), ...given];
    }
    this.version += 1;
  }

  /**
   * Carry the charts on with a snapshot.
   *
   * @param {Snapshot} snapshot
   * @returns {boolean} false when the hole since the newest point asks for a fresh load
   */
  add(snapshot) {
    const slot = this._slot(snapshot.time);
    const total = snapshot.errors.total;
    const errors = this._errorsSeen < 0 ? 0 : total >= this._errorsSeen ? total - this._errorsSeen : total;
    this._errorsSeen = total;
    const values = sample(snapshot, this.range, errors);
    const missing = this.end === 0 ? 0 : Math.round((slot - this.end) / this.step);
    if (missing > this.points || missing < -1) return false;
    if (missing <= 0 && this.end !== 0) {
      for (const name of SERIES) {
        const list = this.series[name];
        list[list.length - 1] = merge(name, list[list.length - 1], values[name]);
      }
    } else {
      for (const name of SERIES) {
        const list = this.series[name];
        for (let left = missing; left > 1; left -= 1) {
          list.push(missing <= BRIDGE ? (name === "errors" ? 0 : values[name]) : null);
        }
        list.push(values[name]);
        list.splice(0, list.length - this.points);
      }
      this.end = slot;
    }
    this.version += 1;
    return missing <= BRIDGE;
  }

  /** @param {number} wall */
  _slot(wall) {
    return Math.floor(wall / this.step) * this.step;
  }
}

/** @param {number} points @returns {import("./types").Series} */
function emptySeries(points) {
  return /** @type {import("./types").Series} */ (
    Object.fromEntries(SERIES.map((name) => [name, Array(points).fill(null)]))
  );
}

/**
 * @param {SeriesName} name
 * @param {number | null} old
 * @param {number | null} value
 */
function merge(name, old, value) {
  if (value === null) return old;
  if (old === null) return value;
  if (name === "errors") return old + value;
  return PEAKS.has(name) ? Math.max(old, value) : value;
}

/**
 * @param {Snapshot} snapshot
 * @param {RangeName} range
 * @param {number} errors  new ones since the last sample
 * @returns {Record<SeriesName, number | null>}
 */
function sample(snapshot, range, errors) {
  const { events, chat, system } = snapshot;
  const rate = range === "1m" ? events.rate["1s"] : range === "1h" ? events.rate["10s"] : events.rate["60s"];
  return {
    events_rate: rate ?? null,
    queue_fill: events.queues.reduce((most, queue) => Math.max(most, queue.fill), 0),
    latency_p50: events.latency_seconds.p50,
    latency_p99: events.latency_seconds.p99,
    first_token_p50: chat.first_token_seconds.p50,
    tokens_per_second: chat.tokens_per_second.p50,
    errors,
    recovery_rate: snapshot.errors.recovery_rate,
    rss_bytes: system.rss_bytes,
    cpu_percent: system.cpu_percent,
    loop_lag_p99: system.loop_lag_seconds.p99,
    chats_active: chat.active,
  };
}
