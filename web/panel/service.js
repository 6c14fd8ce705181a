// @ts-check
/**
 * The panel's state: listens to a transport, keeps what is needed and no more, and fires `change` when it moved.
 * Views know only this. Nothing is sent or asked for before `open()` and after `close()` or while the page is hidden.
 */

import { HistoryTrack } from "./history.js";

/** @typedef {import("../types").Snapshot} Snapshot */
/** @typedef {import("../types").LogEvent} LogEvent */
/** @typedef {import("../types").Transport} Transport */
/** @typedef {import("../types").RangeName} RangeName */
/** @typedef {import("../types").Connection} Connection */

/** The server forgets a panel that has not renewed its lease for a while; contract: every 20 s. */
const LEASE_MS = 20_000;
const LOG_LIMIT = 500;
/** A server that takes longer for one answer is told as one that does not answer. */
const PATIENCE_MS = 10_000;
/** Once updates come steadily, a silence of so long is told: the server hangs, or the way to it does. */
const SILENCE_MS = 8_000;
const STEADY = 5;
const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000];
/** How many ended chats are shown at a glance; the server remembers as many. */
const RECENT = 50;
export const ENDED = new Set(["done", "failed", "cancelled", "interrupted"]);
const STATES = /** @type {Record<string, import("../types").ChatState>} */ ({
  completed: "done",
  failed: "failed",
  cancelled: "cancelled",
  interrupted: "interrupted",
});

/**
 * A chat of the store as a row of the list.
 * @param {import("../types").StoredChat} row
 * @returns {import("../types").ChatRow}
 */
export function fromStored({ outcome, retries = 0, tokens_estimated: estimated, ...row }) {
  const state = STATES[outcome ?? ""] ?? "waiting";
  const known = { retries, attempts: retries + 1, saved: state === "done" && retries > 0, ...row };
  return { ...known, tokens_estimated: Boolean(estimated), state };
}

const JSON_HEADERS = { "Content-Type": "application/json" };

/** The last request about the lease of each transport's page. @type {WeakMap<Transport, Promise<unknown>>} */
const turns = new WeakMap();

/**
 * Requests about a page's lease go one after the other: side by side one could overtake another, and the server would
 * take a panel that has just been opened for one that was closed.
 * @template T
 * @param {Transport} transport
 * @param {() => Promise<T>} send
 * @returns {Promise<T>}
 */
function inTurn(transport, send) {
  const before = turns.get(transport);
  const turn = before ? before.then(send) : send();
  turns.set(
    transport,
    turn.catch(() => undefined),
  );
  return turn;
}

/** An answer that says no. `status` is HTTP's, the message the server's reason or nothing. */
class Refusal extends Error {
  /** @param {number} status @param {string} [reason] */
  constructor(status, reason = "") {
    super(reason);
    this.status = status;
  }

  /** @param {Response} response */
  static async of(response) {
    const { error } = Object(await response.json().catch(() => null));
    return new Refusal(response.status, typeof error === "string" ? error : "");
  }
}

export class PulseService extends EventTarget {
  /** @param {{ transport: Transport, range?: RangeName }} options */
  constructor({ transport, range = "1h" }) {
    super();
    this.transport = transport;
    /** @type {Snapshot | null} */
    this.snapshot = null;
    /** @type {Connection} */
    this.connection = "connecting";
    /** What the server said when it refused us last: a status, and its reason if it gave one. */
    this.refusal = "";
    /** Newest last; at most 500. @type {LogEvent[]} */
    this.log = [];
    /** How many events came in since the panel opened; a view compares it to see what is new. */
    this.logged = 0;
    this.history = new HistoryTrack(range);
    /** @type {AbortController | null} */
    this._life = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._leaseTimer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._retryTimer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._silenceTimer = undefined;
    /** Updates in a row. */
    this._steady = 0;
    this._failures = 0;
    this._updates = 0;
    this._updatesAtLease = 0;
    /** @type {Promise<void> | null} */
    this._loading = null;
    /** The history that is being fetched. @type {HistoryTrack | null} */
    this._asked = null;
    /** @type {Set<string>} */
    this._seen = new Set();
    this._takenAt = 0;
    /** Whether the store was asked for the chats of before. */
    this._askedBefore = false;
    /** Whether the server keeps history on disk; null until it was asked. @type {boolean | null} */
    this.stored = null;
    /**
     * The newest chats that the store knows, from before the server's start too.
     * @type {import("../types").ChatRow[]}
     */
    this.before = [];
  }

  /** Seconds since the snapshot was made, for what counts; 0 while nothing new comes. */
  get age() {
    return this.connection === "live" ? (performance.now() - this._takenAt) / 1000 : 0;
  }

  /** Whether a figure changes by itself: something runs, waits or is paused. */
  get counts() {
    if (!this.snapshot || this.connection !== "live" || document.visibilityState === "hidden") return false;
    const { chat, errors, mcp } = this.snapshot;
    return chat.active > 0 || [...errors.breakers, ...mcp].some(({ retry_in: left }) => (left ?? 0) > 0);
  }

  /** What stands before the numbers of the reader's prices. */
  get sign() {
    return this.snapshot?.chat.currency ?? "";
  }

  /** Whether the last figures are old ones: the live connection is away. */
  get stale() {
    return this.connection !== "live" && this.connection !== "connecting";
  }

  /** Ask for live data until `close()`. Calling it twice changes nothing. */
  open() {
    if (this._life) return;
    this._life = new AbortController();
    const { signal } = this._life;
    this.transport.addEventListener("update", (event) => this._onUpdate(event), { signal });
    this.transport.addEventListener("open", () => this._reload(), { signal });
    this.transport.addEventListener("close", () => this._onClose(), { signal });
    document.addEventListener("visibilitychange", () => this._onVisibility(), { signal });
    this._reload();
  }

  /** Give the lease back and stop every timer and request. The last state stays readable. */
  close() {
    if (!this._life) return;
    this._life.abort();
    this._life = null;
    this._stopTimers();
    this._release();
  }

  /** Show another range; its past is fetched. @param {RangeName} range */
  async setRange(range) {
    if (range === this.history.range) return;
    this.history = new HistoryTrack(range);
    this._changed("history");
    await this._loadHistory();
  }

  /** @param {string} chatId @returns {Promise<Response>} */
  stopChat(chatId) {
    return this._post(`/copilot-pulse/chats/${encodeURIComponent(chatId)}/stop`, {});
  }

  /** @param {string} server @returns {Promise<Response>} */
  probeMcp(server) {
    return this._post("/copilot-pulse/mcp/probe", { server });
  }

  /** @param {string} server @param {boolean} dismissed @returns {Promise<Response>} */
  dismissMcp(server, dismissed) {
    return this._post("/copilot-pulse/mcp/dismiss", { server, dismissed });
  }

  /** @param {string} name @returns {Promise<Response>} */
  probeBreaker(name) {
    return this._post("/copilot-pulse/breakers/probe", { name });
  }

  /** The redacted report for a bug report, as indented JSON. @returns {Promise<string>} */
  async diagnostics() {
    const response = await this.transport.fetch("/copilot-pulse/diagnostics", { signal: this._life?.signal });
    if (!response.ok) throw new Error(`${response.status}`);
    return JSON.stringify(await response.json(), null, 2);
  }

  /**
   * Ask the event store, such as `chats?limit=20`.
   * @template T
   * @param {string} what
   * @returns {Promise<T | null>} null: the store is off, or knows nothing of it; `stored` tells which
   */
  async ask(what) {
    const path = what.startsWith("?") ? what : `/${what}`;
    const response = await this.transport.fetch(`/copilot-pulse/events${path}`, { signal: this._life?.signal });
    if (response.status === 404) {
      const { message } = await Refusal.of(response);
      this.stored = message !== "" && !/ is off\b/.test(message);
      return null;
    }
    if (!response.ok) throw await Refusal.of(response);
    this.stored = true;
    return /** @type {T} */ (await response.json());
  }

  /** What the store knows of a chat's events, oldest first. @param {string} chatId @returns {Promise<LogEvent[]>} */
  async eventsOf(chatId) {
    try {
      const answer = /** @type {{ events: (LogEvent & { slot?: number })[] } | null} */ (
        await this.ask(`?chat=${encodeURIComponent(chatId)}&limit=${LOG_LIMIT}`)
      );
      return (answer?.events ?? []).filter(({ type }) => type !== "store.answer");
    } catch {
      return []; // the log says that nothing matches
    }
  }

  // --- data in ---

  /** @param {Event} event */
  _onUpdate(event) {
    if (document.visibilityState === "hidden") return;
    const update = /** @type {CustomEvent<import("../types").Update>} */ (event).detail;
    if (!isOurs(update?.snapshot)) return;
    this._updates += 1;
    this._expectMore(performance.now() - this._takenAt);
    this._takeSnapshot(update.snapshot, update.events ?? []);
    this._takeEvents(update.events ?? []);
    this._failures = 0;
    this._setConnection("live");
  }

  /** An update came, so many ms after what was there; the next one is due. @param {number} gap */
  _expectMore(gap) {
    clearTimeout(this._silenceTimer);
    this._steady += 1;
    if (this._steady < STEADY) return;
    this._silenceTimer = setTimeout(() => this._onClose(), Math.max(SILENCE_MS, 4 * gap));
  }

  /** @param {Snapshot} snapshot @param {LogEvent[]} events */
  _takeSnapshot(snapshot, events) {
    this._adopt(snapshot);
    const enough = this.history.add(
      snapshot,
      events.filter((event) => !this._seen.has(keyOf(event))),
    );
    this._changed("snapshot");
    // The store may have opened later than the panel.
    if (!this._askedBefore) void this._loadBefore(snapshot);
    if (!enough) void this._loadHistory();
  }

  /**
   * Event ids and totals begin anew with each run of the server: what is known of an earlier run goes.
   * @param {Snapshot} snapshot
   */
  _adopt(snapshot) {
    const before = this.snapshot;
    this.snapshot = snapshot;
    this._takenAt = performance.now();
    if (!before || before.boot === snapshot.boot) return;
    this.log = [];
    this._seen.clear();
    this.history = new HistoryTrack(this.history.range);
    this._askedBefore = false;
    this.stored = null;
    this._changed("events");
    void this._loadHistory();
    void this._loadBefore(snapshot);
  }

  /** @param {LogEvent[]} events */
  _takeEvents(events) {
    let added = 0;
    for (const event of events) {
      const key = keyOf(event);
      if (event.type === "chat.delta" || this._seen.has(key)) continue;
      this._seen.add(key);
      this.log.push(event);
      added += 1;
    }
    if (!added) return;
    this.logged += added;
    // The remembered errors come first and may be newer than the events that follow.
    if (this.log.some((event, index) => index > 0 && event.time < this.log[index - 1].time)) {
      this.log.sort((a, b) => a.time - b.time);
    }
    if (this.log.length > LOG_LIMIT) this.log.splice(0, this.log.length - LOG_LIMIT);
    if (this._seen.size > 4 * LOG_LIMIT) this._seen = new Set(this.log.map(keyOf));
    this._changed("events");
  }

  /**
   * Errors that the server remembers from before this panel was open become the log's beginning.
   * @param {Snapshot} snapshot
   */
  _seedLog(snapshot) {
    if (this.log.length) return;
    const rows = [...(snapshot.errors.recent ?? [])].sort((a, b) => a.time - b.time);
    this._takeEvents(
      rows.map((row, index) => ({
        id: `recent:${row.error_id ?? row.time}:${row.outcome ?? index}`,
        type: "error",
        time: row.time,
        source: "history",
        data: { ...row },
      })),
    );
  }

  // --- connection ---

  /** The live connection broke: say so, and look at once whether the server is still there. */
  _onClose() {
    if (this.connection === "live" || this.connection === "connecting") this._setConnection("lost");
    this._reload();
  }

  /** Fetch everything anew: at the start, after a reconnect or its loss, when the page is seen again. */
  _reload() {
    if (!this._life || this._loading || document.visibilityState === "hidden") return;
    clearTimeout(this._retryTimer);
    this._loading = this._load(this._life.signal).finally(() => {
      this._loading = null;
    });
  }

  /** The same, if need be after what is being fetched now: the lease of that may have been given back meanwhile. */
  _reloadAgain() {
    if (this._loading) void this._loading.then(() => this._reload());
    else this._reload();
  }

  /** @param {AbortSignal} signal */
  async _load(signal) {
    clearTimeout(this._silenceTimer);
    this._steady = 0;
    const updates = this._updates;
    try {
      const response = await this.transport.fetch("/copilot-pulse/metrics", {
        headers: { Accept: "application/json" },
        signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
      });
      if (signal.aborted) return;
      if (response.status === 404) return this._retryLater("absent");
      if (!response.ok) throw await Refusal.of(response);
      const snapshot = /** @type {Snapshot} */ (await response.json());
      if (signal.aborted) return;
      if (snapshot.private) {
        this.snapshot = null; // what was seen before it was private is not for these eyes either
        this._changed("snapshot");
        return this._retryLater("private");
      }
      if (!isOurs(snapshot)) return this._retryLater("absent");
      // An update that came while the answer was on its way is newer.
      if (updates === this._updates) this._adopt(snapshot);
      this._seedLog(snapshot);
      this._changed("snapshot");
      this._failures = 0;
      this._setConnection(this.transport.connected ? "live" : this.connection === "connecting" ? "connecting" : "lost");
      // What they bring may come late, and must not hold up the next look at the server.
      void this._loadHistory();
      void this._loadBefore(snapshot);
      await this._lease();
    } catch (error) {
      if (!signal.aborted) this._failed(error);
    }
  }

  /** The chats of before the server's start, if it has not yet had as many as are shown. @param {Snapshot} snapshot */
  async _loadBefore(snapshot) {
    const { current, since_install: install } = snapshot.chat;
    // Without a store there is nothing to ask.
    if (!install || current.length >= RECENT) return;
    this._askedBefore = true;
    try {
      const answer = /** @type {{ chats: import("../types").StoredChat[] } | null} */ (
        await this.ask(`chats?limit=${RECENT}`)
      );
      this.before = (answer?.chats ?? []).map(fromStored);
      this._changed("snapshot");
    } catch {
      // The rows of this run are there; the next reload asks again.
    }
  }

  /**
   * The running chats, oldest first, and the last ones that ended, newest first, those of an earlier run too.
   * @returns {import("../types").ChatRow[]}
   */
  get chats() {
    const rows = this.snapshot?.chat.current ?? [];
    const known = new Set(rows.map((row) => row.chat_id));
    const older = this.before.filter((row) => ENDED.has(row.state) && !known.has(row.chat_id));
    return [...rows, ...older].slice(0, Math.max(RECENT, rows.length));
  }

  async _loadHistory() {
    const signal = this._life?.signal;
    const track = this.history;
    if (!signal || this._asked === track) return;
    this._asked = track;
    try {
      const response = await this.transport.fetch(`/copilot-pulse/history?range=${track.range}`, { signal });
      if (!response.ok) return;
      const history = /** @type {import("../types").History} */ (await response.json());
      if (signal.aborted || track !== this.history) return;
      track.load(history);
      this._changed("history");
    } catch (error) {
      // The charts go on from the live snapshots; the next reload asks again.
      if (!signal.aborted && !(error instanceof TypeError || error instanceof SyntaxError)) throw error;
    } finally {
      if (this._asked === track) this._asked = null;
    }
  }

  /** Renew the lease, and look whether the live feed still feeds. */
  async _lease() {
    clearTimeout(this._leaseTimer);
    const signal = this._life?.signal;
    if (!signal || document.visibilityState === "hidden") return;
    if (!this.transport.clientId) {
      // The socket has not come so far yet, and without its name nothing can be sent to us.
      this._retryTimer = setTimeout(() => this._reloadAgain(), RETRY_MS[0]);
      return;
    }
    this._updatesAtLease = this._updates;
    this._leaseTimer = setTimeout(() => this._onLeaseDue(), LEASE_MS);
    const lease = { client_id: this.transport.clientId, open: true };
    // Not ended with the panel: what gives it back waits for it.
    await inTurn(this.transport, async () => {
      if (!signal.aborted) await this._post("/copilot-pulse/panel", lease, AbortSignal.timeout(PATIENCE_MS));
    });
  }

  _onLeaseDue() {
    // No update for a whole lease: the feed is broken or slow, so look over HTTP instead of showing old figures.
    if (this._updates === this._updatesAtLease) this.transport.connected ? this._reload() : this._onClose();
    else this._lease().catch((error) => this._failed(error));
  }

  _release() {
    const body = JSON.stringify({ client_id: this.transport.clientId, open: false });
    const init = { method: "POST", headers: JSON_HEADERS, body, keepalive: true };
    const send = () =>
      this.transport.fetch("/copilot-pulse/panel", { ...init, signal: AbortSignal.timeout(PATIENCE_MS) });
    inTurn(this.transport, send).catch(() => undefined);
  }

  _onVisibility() {
    if (document.visibilityState === "hidden") {
      this._stopTimers();
      this._release();
    } else {
      this._reloadAgain();
    }
  }

  /** @param {unknown} error */
  _failed(error) {
    const refused = error instanceof Refusal && (error.status === 401 || error.status === 403);
    if (refused) this.refusal = `HTTP ${error.status}${error.message ? `: ${error.message}` : ""}`;
    this._retryLater(refused ? "refused" : "unreachable");
  }

  /** @param {"unreachable" | "refused" | "absent" | "private"} connection */
  _retryLater(connection) {
    if (!this._life) return;
    this._setConnection(connection);
    clearTimeout(this._retryTimer);
    const wait = RETRY_MS[Math.min(this._failures, RETRY_MS.length - 1)];
    this._failures += 1;
    this._retryTimer = setTimeout(() => this._reload(), wait);
  }

  _stopTimers() {
    clearTimeout(this._silenceTimer);
    clearTimeout(this._leaseTimer);
    clearTimeout(this._retryTimer);
  }

  /**
   * @param {string} path
   * @param {unknown} body
   * @param {AbortSignal} [signal]
   */
  async _post(path, body, signal = this._life?.signal) {
    const response = await this.transport.fetch(path, {
      method: "POST",
      headers: JSON_HEADERS,
      body: JSON.stringify(body),
      signal,
    });
    if (!response.ok) throw await Refusal.of(response);
    return response;
  }

  /** @param {Connection} connection */
  _setConnection(connection) {
    if (this.connection === connection) return;
    this.connection = connection;
    this._changed("connection");
  }

  /** @param {"snapshot" | "events" | "history" | "connection"} part */
  _changed(part) {
    this.dispatchEvent(new CustomEvent("change", { detail: part }));
  }
}

/**
 * Another program may have the port now, and answer everything with some JSON.
 * @param {Snapshot | undefined} snapshot
 */
function isOurs(snapshot) {
  return Array.isArray(snapshot?.chat?.current);
}

/** By what an event is known: a remembered error is the same as the event that told it. @param {LogEvent} event */
function keyOf({ id, type, data }) {
  return type === "error" && data.error_id ? `error:${data.error_id}:${data.outcome}:${data.attempt}` : String(id);
}
