// @ts-check
/** The points behind the charts: what the server kept, carried on by the snapshots that come in. Pure; bounded. */

/** @typedef {import("../types").History} History */
/** @typedef {import("../types").RangeName} RangeName */
/** @typedef {import("../types").SeriesName} SeriesName */
/** @typedef {import("../types").Snapshot} Snapshot */
/** @typedef {import("../types").LogEvent} LogEvent */
/** @typedef {Record<SeriesName, number | null>} Values */

/** The seconds of each range, and those that a point of it stands for until the server says otherwise. */
export const RANGES = /** @type {const} */ ({
  "1h": { step: 5, span: 3_600 },
  "24h": { step: 60, span: 86_400 },
  "7d": { step: 900, span: 604_800 },
});

/** @type {readonly SeriesName[]} */
export const SERIES = [
  "events_rate",
  "queue_fill",
  "queue_threshold",
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

/**
 * How the values of one step become its point; the server folds its history in the same way.
 * @type {Record<SeriesName, "mean" | "max" | "sum">}
 */
export const FOLDS = {
  events_rate: "mean",
  queue_fill: "max",
  queue_threshold: "mean",
  latency_p50: "mean",
  latency_p99: "max",
  first_token_p50: "mean",
  tokens_per_second: "mean",
  errors: "sum",
  recovery_rate: "mean",
  rss_bytes: "mean",
  cpu_percent: "mean",
  loop_lag_p99: "max",
  chats_active: "max",
};
/** A hole of at most this many steps is late news and is filled; a longer one stays visible as a gap. */
const BRIDGE = 3;
/** After so many own points the server's are fetched again: it has seen every second, we only what was sent. */
const OWN_POINTS = 12;
/** Events older than this many seconds belong to an earlier point: a panel gets the last ones when it opens. */
const FRESH = 60;

export class HistoryTrack {
  /** @param {RangeName} range */
  constructor(range) {
    this.range = range;
    /** @type {number} */
    this.step = RANGES[range].step;
    /** How many points the range has. @type {number} */
    this.points = RANGES[range].span / RANGES[range].step;
    /** Wall time at which the newest point's step begins. */
    this.end = 0;
    /** Where a step begins, within the step: the server counts from another moment than the wall clock. */
    this._phase = 0;
    /** Own points since the last load. */
    this._own = 0;
    /** How many values the newest point's means are made of. @type {Partial<Record<SeriesName, number>>} */
    this._counts = {};
    /** Rises with each change, so that a chart knows whether to draw. */
    this.version = 0;
    /** @type {import("../types").Series} */
    this.series = emptySeries(this.points);
    /** Times in which the program did not run, as the server told them. @type {[number, number][]} */
    this.down = [];
    this._errorsSeen = -1;
  }

  /**
   * Take over what the server kept. Series of another length are cut or padded at their old end.
   *
   * @param {History} history
   */
  load(history) {
    this.step = history.step > 0 ? history.step : this.step;
    this.points = Math.round(RANGES[this.range].span / this.step);
    this.down = Array.isArray(history.down) ? history.down : [];
    this._phase = history.end % this.step;
    this.end = history.end - this.step;
    this._own = 0;
    this._counts = {};
    for (const name of SERIES) {
      const given = Array.isArray(history.series?.[name]) ? history.series[name].slice(-this.points) : [];
      this.series[name] = [...Array(this.points - given.length).fill(null), ...given];
    }
    this.version += 1;
  }

  /**
   * Carry the charts on with a snapshot and the events that came with it.
   *
   * @param {Snapshot} snapshot
   * @param {readonly LogEvent[]} [events]
   * @returns {boolean} false when it is time to load the server's points again
   */
  add(snapshot, events = []) {
    const slot = this._slot(snapshot.time);
    const total = snapshot.errors.total;
    const errors = this._errorsSeen < 0 ? 0 : total >= this._errorsSeen ? total - this._errorsSeen : total;
    this._errorsSeen = total;
    const values = sample(snapshot, events, errors);
    const missing = this.end === 0 ? 1 : Math.round((slot - this.end) / this.step);
    if (missing > this.points || missing < -1) return false;
    for (let left = missing; left > 1; left -= 1) this._push(missing <= BRIDGE ? { ...values, errors: 0 } : null);
    if (missing > 0) {
      this._push(values);
      this.end = slot;
      this._own += missing;
    } else {
      this._fold(values);
    }
    this.version += 1;
    return missing <= BRIDGE && this._own < OWN_POINTS;
  }

  /** Begin a new point. @param {Values | null} values */
  _push(values) {
    this._counts = {};
    for (const name of SERIES) {
      const list = this.series[name];
      list.push(null);
      list.splice(0, list.length - this.points);
    }
    if (values) this._fold(values);
  }

  /** Add values to the newest point. @param {Values} values */
  _fold(values) {
    for (const name of SERIES) {
      const value = values[name];
      if (value === null || value === undefined) continue;
      const list = this.series[name];
      const last = list.length - 1;
      const old = list[last];
      const count = this._counts[name] ?? (old === null ? 0 : 1);
      this._counts[name] = count + 1;
      if (old === null || old === undefined) list[last] = value;
      else if (FOLDS[name] === "sum") list[last] = old + value;
      else list[last] = FOLDS[name] === "max" ? Math.max(old, value) : old + (value - old) / (count + 1);
    }
  }

  /** When the step that a moment lies in begins. @param {number} wall */
  _slot(wall) {
    return Math.floor((wall - this._phase) / this.step) * this.step + this._phase;
  }
}

/** @param {number} points @returns {import("../types").Series} */
function emptySeries(points) {
  return /** @type {import("../types").Series} */ (
    Object.fromEntries(SERIES.map((name) => [name, Array(points).fill(null)]))
  );
}

/**
 * What the charts show of a moment. The first-token time and the speed are those of the chats of this moment, not
 * the quantiles over an hour that the tiles show.
 *
 * @param {Snapshot} snapshot
 * @param {readonly LogEvent[]} events
 * @param {number} errors  new ones since the last sample
 * @returns {Values}
 */
function sample(snapshot, events, errors) {
  const { chat, system } = snapshot;
  const first = [];
  const speed = [];
  for (const { type, time, data } of events) {
    if (time < snapshot.time - FRESH) continue;
    if (type === "chat.first_token") first.push(Number(data.seconds));
    else if (type === "chat.finished" && Number(data.stream_seconds) > 0) {
      speed.push(Number(data.stream_tokens) / Number(data.stream_seconds));
    }
  }
  return {
    events_rate: snapshot.events.rate["1s"] ?? null,
    queue_fill: snapshot.events.queues.reduce((most, queue) => Math.max(most, queue.fill), 0),
    queue_threshold: snapshot.events.queues[0]?.throttle?.threshold ?? null,
    latency_p50: snapshot.events.latency_seconds.p50,
    latency_p99: snapshot.events.latency_seconds.p99,
    first_token_p50: median(first),
    tokens_per_second: median(speed),
    errors,
    recovery_rate: snapshot.errors.recovery_rate,
    rss_bytes: system.rss_bytes,
    cpu_percent: system.cpu_percent,
    loop_lag_p99: system.loop_lag_seconds.p99,
    chats_active: chat.active,
  };
}

/** @param {number[]} values */
function median(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
}
