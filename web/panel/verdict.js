// @ts-check
/** One sentence on how Copilot is, and what to do if it is not well. Pure. */

/** @typedef {import("../types").Snapshot} Snapshot */
/** @typedef {import("../types").Params} Params */
/** @typedef {import("../types").ErrorRow} ErrorRow */
/** @typedef {import("../types").Translate} Translate */

/** @typedef {import("../types").Format} Format */
/** @typedef {import("../types").HealthProblem} HealthProblem */

/**
 * @typedef {object} Verdict
 * @property {"pass" | "info" | "warn" | "fail" | "off"} status
 * @property {string} title
 * @property {string} advice  empty when nothing is to be done
 * @property {string[]} more  what else is not well, one sentence each
 * @property {{ of: "breaker" | "mcp", name: string } | null} [retry]  what can be tried again at once
 */

/** Checks that tell of failed chats; the newest failure itself says more than their number. */
const FAILURES = new Set(["chats_failed", "chats_all_failed"]);

/**
 * The server judges; this only finds the words, in the reader's language if we have them.
 *
 * @param {object} state
 * @param {Snapshot | null} state.snapshot
 * @param {import("../types").Connection} state.connection
 * @param {string} [state.refusal]
 * @param {number} [state.age]
 * @param {Translate} t
 * @param {Format} format
 * @returns {Verdict}
 */
export function verdict({ snapshot, connection, refusal = "", age = 0 }, t, format) {
  if (connection === "absent") return plain(t, "fail", "absent");
  if (connection === "private") return plain(t, "off", "private");
  const away = connection === "refused" ? plain(t, "fail", "refused", { refusal }) : plain(t, "fail", "unreachable");
  if (!snapshot) return connection === "connecting" || connection === "lost" ? plain(t, "off", "connecting") : away;
  const last = ofServer(snapshot, t, format, age);
  if (connection === "live" || connection === "connecting") return last;
  const told = connection === "lost" ? plain(t, "off", "lost") : away;
  return { ...told, more: [t("verdict.lastKnown", { time: format.clock(snapshot.time, true), title: last.title })] };
}

/**
 * @param {Translate} t
 * @param {Verdict["status"]} status
 * @param {string} key
 * @param {Params} [params]
 * @returns {Verdict}
 */
function plain(t, status, key, params) {
  return {
    status,
    title: t(`verdict.${key}.title`, params),
    advice: known(t, `verdict.${key}.advice`, params),
    more: [],
  };
}

/**
 * What the server itself said last.
 * @param {Snapshot} snapshot
 * @param {Translate} t
 * @param {Format} format
 * @param {number} age  seconds since the snapshot was made
 * @returns {Verdict}
 */
function ofServer(snapshot, t, format, age) {
  const { health, chat } = snapshot;
  const all = health.problems ?? [];
  // A failure after which a chat went well is no longer how things are.
  const problems = all.filter((problem) => problem.code !== "chats_failed" || !mendedSince(snapshot));
  const words = (/** @type {HealthProblem} */ problem) => problemText(problem, snapshot, t, format, age);
  const past = all.filter((problem) => !problems.includes(problem)).map((problem) => words(problem).title);
  if (problems.length) {
    const [first, ...rest] = problems.map(words);
    const more = [...rest.map((text) => text.title), ...past];
    const retry = retryOf(problems, snapshot);
    const { title, advice } = first;
    const status = problems.reduce((worst, { status }) => (status === "fail" ? "fail" : worst), problems[0].status);
    if (!harmless(health)) return { status: past.length ? status : health.status, title, advice, more, retry };
    return { status: "info", title: t("verdict.harmless", { what: title }), advice, more, retry };
  }
  if (past.length) {
    const well = chat.active > 0 ? plain(t, "pass", "busy", { n: chat.active }) : plain(t, "pass", "well");
    return { ...well, more: past.map((title) => t("verdict.past", { title })) };
  }
  if (health.status !== "pass") {
    const title = health.summary || t(`verdict.${health.status}.title`);
    return { status: health.status, title, advice: health.advice ?? "", more: [] };
  }
  if (chat.active > 0) return plain(t, "pass", "busy", { n: chat.active });
  return plain(t, "pass", chat.completed > 0 ? "well" : "ready");
}

/** Whether the newest chat that ended by itself went well. @param {Snapshot} snapshot */
function mendedSince({ chat }) {
  return (chat.current ?? []).find(({ state }) => state === "done" || state === "failed")?.state === "done";
}

/**
 * What the reader can have tried again at once.
 * @param {HealthProblem[]} problems
 * @param {Snapshot} snapshot
 * @returns {Verdict["retry"]}
 */
function retryOf(problems, { errors, mcp }) {
  const codes = new Set(problems.map(({ code }) => code));
  const breaker = errors.breakers.find(({ state }) => state === "open");
  if (codes.has("breaker_open") && breaker) return { of: "breaker", name: breaker.name };
  const server = mcp.find(({ state, probing }) => state === "down" && !probing);
  return codes.has("mcp_down") && server ? { of: "mcp", name: server.server } : null;
}

/**
 * Whether all that is not well is of the kind that stops no chat and asks nobody to act, such as tools whose server
 * was given up by its owner. The server sorts such problems behind all others.
 *
 * @param {{ impact?: string }} health
 */
function harmless(health) {
  return health.impact === "none";
}

/**
 * A health problem in words: in the reader's language if we have them, else the server's.
 *
 * @param {HealthProblem} problem
 * @param {Snapshot} snapshot
 * @param {Translate} t
 * @param {Format} format
 * @param {number} [age]  seconds since the snapshot was made
 */
export function problemText(problem, snapshot, t, format, age = 0) {
  const code = problem.code ?? "";
  const failure = FAILURES.has(code) ? newestFailure(snapshot) : null;
  const values = { ...(problem.values ?? {}) };
  const paused = code === "breaker_open" ? snapshot.errors.breakers.find(({ state }) => state === "open") : undefined;
  // What the check noted when it changed would stand still.
  if (paused?.retry_in) values.retry_in = Math.max(0, paused.retry_in - age);
  const params = healthParams(values, format);
  if (failure) {
    params.when = format.when(failure.time, snapshot.time);
    params.what = kindText(failure, t);
    const title = t(code === "chats_all_failed" ? "health.chats_all_failed.title" : "health.chat_failed.title", params);
    return { title, advice: kindAdvice(failure, t) || t("health.chat_failed.advice") };
  }
  const title = known(t, `health.${code}.title`, params);
  if (title) return { title, advice: known(t, `health.${code}.advice`, params) };
  return { title: problem.output || problem.check, advice: problem.advice ?? "" };
}

/**
 * The values of a check as text: times with their unit, names without their scheme.
 * @param {Record<string, unknown>} values
 * @param {Format} format
 */
function healthParams(values, format) {
  /** @type {Params} */
  const params = {};
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === "number") {
      const timed =
        name === "seconds" ? format.seconds(value) : name === "retry_in" ? format.duration(Math.ceil(value)) : null;
      params[name] = timed ?? (name === "share" ? format.percent(value) : format.number(value));
    } else {
      params[name] = name === "names" ? String(value).split(", ").map(shortName).join(", ") : String(value);
    }
  }
  return params;
}

/** Seconds for which the server holds a failed chat for news. */
export const NEWS = 300;

/**
 * The newest failure that tells why. That a server is left alone for a while is only what follows from it.
 *
 * @param {Snapshot} snapshot
 * @returns {ErrorRow | null}
 */
function newestFailure(snapshot) {
  const failures = (snapshot.errors.recent ?? [])
    .filter((row) => row.outcome === "gave_up" && row.time > snapshot.time - NEWS)
    .sort((a, b) => b.time - a.time);
  return failures.find((row) => row.kind !== "circuit_open") ?? failures[0] ?? null;
}

/** What happened, as a short phrase. @param {import("../types").Failure} row @param {Translate} t */
export function kindText(row, t) {
  return known(t, `kinds.${row.kind}`, errorParams(row)) || t("kinds.unknown", errorParams(row));
}

/**
 * What to do about it; empty if we know nothing better than the error itself.
 * @param {ErrorRow} row
 * @param {Translate} t
 */
export function kindAdvice(row, t) {
  return known(t, `kindAdvice.${row.kind}`, errorParams(row));
}

/** @param {import("../types").Failure} row @returns {Params} */
function errorParams(row) {
  return { host: row.host || row.where || "–", model: row.model || "–", type: row.type ?? "–" };
}

/**
 * The text of a key, or nothing when no language has it.
 * @param {Translate} t
 * @param {string} key
 * @param {Params} [params]
 */
export function known(t, key, params) {
  const text = t(key, params);
  return text === key ? "" : text;
}

/**
 * The host, and the model if there is one, in a breaker's name (`llm:host:port model`) or a URL; any other name as it
 * is.
 * @param {string} name
 */
export function shortName(name) {
  const [place, ...model] = name.replace(/^(llm|mcp):/, "").split(" ");
  const host = place.replace(/^\w+:\/\//, "").replace(/\/.*$/, "") || place;
  return [host, ...model].join(" ");
}
