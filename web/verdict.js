// @ts-check
/** One sentence on how Copilot is, and what to do if it is not well. Pure. */

/** @typedef {import("./types").Snapshot} Snapshot */
/** @typedef {import("./types").Params} Params */
/** @typedef {import("./types").ErrorRow} ErrorRow */
/** @typedef {import("./types").Translate} Translate */

/**
 * @typedef {object} Verdict
 * @property {"pass" | "warn" | "fail" | "off"} status
 * @property {string} title
 * @property {string} advice  empty when nothing is to be done
 */

/** How long a failed chat stays the headline, in seconds. */
const FRESH = 300;

/**
 * @param {{ snapshot: Snapshot | null, connection: import("./types").Connection }} state
 * @param {import("./types").Translate} t
 * @param {import("./types").Format} format
 * @returns {Verdict}
 */
export function verdict({ snapshot, connection }, t, format) {
  if (connection === "absent") return say("fail", "absent");
  if (connection === "unreachable") return say("fail", "unreachable");
  if (!snapshot) return say("off", "connecting");
  const { health } = snapshot;
  const cause = findCause(snapshot, format);
  if (cause) {
    // The server's word on how bad it is stands, unless it has not noticed yet.
    const status = health.status === "pass" ? cause.status : health.status === "fail" ? "fail" : cause.status;
    if (cause.error) {
      const params = { when: format.when(cause.error.time, snapshot.time), what: kindText(cause.error, t) };
      return { status, title: t("verdict.failed.title", params), advice: kindAdvice(cause.error, t) || t("verdict.failed.advice") };
    }
    return say(status, cause.key, cause.params);
  }
  if (health.status !== "pass") {
    return { status: health.status, title: health.summary || t(`verdict.${health.status}.title`), advice: health.advice ?? "" };
  }
  const n = snapshot.chat.active;
  if (n > 0) return say("pass", "busy", { n });
  return say("pass", snapshot.chat.completed > 0 ? "well" : "ready");

  /** @param {Verdict["status"]} status @param {string} key @param {Params} [params] @returns {Verdict} */
  function say(status, key, params) {
    return { status, title: t(`verdict.${key}.title`, params), advice: known(t, `verdict.${key}.advice`, params) };
  }
}

/**
 * The gravest thing that the figures show and that we have words for in every language.
 *
 * @param {Snapshot} snapshot
 * @param {import("./types").Format} format
 * @returns {{ status: "warn" | "fail", key: string, params?: Params, error?: ErrorRow } | null}
 */
function findCause(snapshot, format) {
  const copilotSeams = snapshot.seams.filter((seam) => seam.name !== "http" && seam.name !== "log");
  if (copilotSeams.length && copilotSeams.every((seam) => !seam.attached)) return { status: "warn", key: "noCopilot" };

  const open = snapshot.errors.breakers.find((breaker) => breaker.state === "open" && !isMcp(breaker.name, snapshot));
  if (open) {
    const params = { name: shortName(open.name), wait: format.duration(open.retry_in ?? 0) };
    return { status: "fail", key: "breakerOpen", params };
  }

  const last = newestFailure(snapshot);
  if (last && snapshot.time - last.time < FRESH) return { status: "warn", key: "failed", error: last };

  const full = snapshot.events.queues.find((queue) => queue.zone === "degraded");
  if (full) return { status: "warn", key: "queueFull", params: { name: full.name, fill: format.percent(full.fill) } };

  const down = snapshot.mcp.filter((row) => row.state === "down");
  if (down.length) {
    return { status: "warn", key: "mcpDown", params: { n: down.length, names: down.map((row) => row.server).join(", ") } };
  }
  const loose = copilotSeams.filter((seam) => !seam.attached);
  if (loose.length) return { status: "warn", key: "seamLoose", params: { n: loose.length, names: loose.map((seam) => seam.name).join(", ") } };
  return null;
}

/** @param {string} name @param {Snapshot} snapshot */
function isMcp(name, snapshot) {
  return name.startsWith("mcp") || snapshot.mcp.some((row) => row.server === name || (row.host && name.includes(row.host)));
}

/** The newest chat failure that no later success has outlived. @param {Snapshot} snapshot */
function newestFailure(snapshot) {
  const recent = snapshot.errors.recent ?? [];
  let found = null;
  for (const row of recent) {
    if (row.outcome === "gave_up" && (!found || row.time > found.time)) found = row;
  }
  return found;
}

/** What happened, as a short phrase. @param {ErrorRow} row @param {Translate} t */
export function kindText(row, t) {
  return known(t, `kinds.${row.kind}`, errorParams(row)) || t("kinds.unknown", errorParams(row));
}

/** What to do about it; empty if we know nothing better than the error itself. @param {ErrorRow} row @param {Translate} t */
export function kindAdvice(row, t) {
  return known(t, `kindAdvice.${row.kind}`, errorParams(row));
}

/** @param {ErrorRow} row @returns {Params} */
function errorParams(row) {
  return { host: row.host || row.where || "–", model: row.model || "–", type: row.type };
}

/** The text of a key, or nothing when no language has it. @param {Translate} t @param {string} key @param {Params} [params] */
export function known(t, key, params) {
  const text = t(key, params);
  return text === key ? "" : text;
}

/** A URL's host; any other name as it is. @param {string} name */
export function shortName(name) {
  return name.replace(/^\w+:\/\//, "").replace(/\/.*$/, "") || name;
}
