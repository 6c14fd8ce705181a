// @ts-check
/**
 * The settings in ComfyUI's dialog. ComfyUI keeps the values; our server checks each change, takes it over at once,
 * and reads the kept ones at its start. Names and tooltips stand in `locales/<language>/settings.json`.
 */

/** The sections in their order; all but the first are for who wants to know more. */
export const SECTIONS = /** @type {const} */ ([
  "basics",
  "general",
  "limits",
  "retries",
  "breakers",
  "mcp",
  "stream",
  "panel",
]);

/** @typedef {(typeof SECTIONS)[number]} Section */
/**
 * A row of `GET /copilot-pulse/settings`, as far as the dialog needs it.
 * @typedef {object} SettingRow
 * @property {string} name
 * @property {"boolean" | "integer" | "number" | "text"} type
 * @property {number | boolean | string} default
 * @property {number} low
 * @property {number} high
 * @property {string} [env]
 * @property {boolean} [panel]  false: only the server's environment decides it
 */

export const PREFIX = "CopilotPulse.";

/** Where a setting stands, in this order, and how far one click moves it. What is new on the server comes first. */
export const PLACES = /** @type {Record<string, { section: Section, step?: number }>} */ ({
  stall_timeout: { section: "basics", step: 5 },
  first_token_timeout: { section: "basics", step: 5 },
  max_retries: { section: "basics", step: 1 },
  prices: { section: "basics" },
  enabled: { section: "general" },
  updates_per_second: { section: "stream", step: 1 },
  update_bytes_per_second: { section: "stream", step: 1_000 },
  queue_size: { section: "stream", step: 10 },
  put_timeout: { section: "stream", step: 0.5 },
  resume_grace: { section: "stream", step: 5 },
  stream_keep: { section: "stream", step: 60 },
  stream_keep_bytes: { section: "stream", step: 1_000_000 },
  first_token_per_1000_chars: { section: "limits", step: 0.5 },
  retry_base: { section: "retries", step: 0.1 },
  retry_max: { section: "retries", step: 1 },
  retry_budget: { section: "retries", step: 5 },
  breaker_share: { section: "breakers", step: 0.05 },
  breaker_min_calls: { section: "breakers", step: 1 },
  breaker_window: { section: "breakers", step: 5 },
  breaker_open: { section: "breakers", step: 1 },
  breaker_probes: { section: "breakers", step: 1 },
  mcp_timeout: { section: "mcp", step: 0.5 },
  mcp_retry: { section: "mcp", step: 1 },
  mcp_tool_timeout: { section: "mcp", step: 5 },
  panel_refresh: { section: "panel", step: 0.2 },
  loop_stall: { section: "panel", step: 0.05 },
});

/** `queue_size` is `CopilotPulse.QueueSize` in ComfyUI. @param {string} name */
export function settingId(name) {
  return (
    PREFIX +
    name
      .split("_")
      .map((word) => word[0].toUpperCase() + word.slice(1))
      .join("")
  );
}

/**
 * @typedef {object} SettingsHost
 * @property {(name: string, value: unknown) => Promise<Response>} post  sends a change to our server
 * @property {(id: string, value: unknown) => unknown} set  puts a value back into ComfyUI's settings
 * @property {(summary: string, detail: string) => void} warn
 * @property {import("../types").Translate} t
 * @property {(key: string) => { name?: string, tooltip?: string } | undefined} text  of `settings.json`
 */

/**
 * What ComfyUI's `registerExtension` wants under `settings`: the server's settings, with its defaults and limits.
 *
 * @param {readonly SettingRow[]} rows
 * @param {SettingsHost} host
 */
export function comfySettings(rows, host) {
  const order = Object.keys(PLACES);
  return rows
    .filter((row) => row.panel !== false)
    .map((row) => {
      const id = settingId(row.name);
      const text = host.text(id.replaceAll(".", "_"));
      const { section = "general", step } = PLACES[row.name] ?? {};
      const isNumber = row.type !== "boolean" && row.type !== "text";
      return {
        id,
        name: text?.name ?? row.name,
        tooltip: text?.tooltip,
        type: /** @type {"boolean" | "number" | "text"} */ (isNumber ? "number" : row.type),
        defaultValue: row.default,
        category: ["Copilot Pulse", sectionTitle(section, host.t), row.name],
        sortOrder: order.length - order.indexOf(row.name),
        attrs: isNumber ? { min: row.low, max: row.high, step: step ?? 1 } : undefined,
        onChange: watcher(id, row, host),
      };
    });
}

/**
 * The heading of a section. ComfyUI sorts them by the alphabet, so those for who wants to know more begin alike.
 * @param {Section | "top"} section
 * @param {import("../types").Translate} t
 */
export function sectionTitle(section, t) {
  const title = t(`settings.sections.${section}`);
  return section === "basics" || section === "top" ? title : t("settings.advancedSection", { title });
}

/**
 * Have a test message sent to the webhook; the answer is what went wrong, or "".
 * @param {{ t: import("../types").Translate, post: (path: string, body: unknown) => Promise<Response> }} host
 * @returns {Promise<string>}
 */
export async function tryWebhook({ t, post }) {
  try {
    const response = await post("/copilot-pulse/webhook/test", {});
    const answer = await response.json().catch(() => ({}));
    if (response.ok && answer.ok) return "";
    const reason = answer.error ?? `HTTP ${answer.status ?? response.status}`;
    return t("settings.webhook.failed", { reason });
  } catch {
    return t("settings.away");
  }
}

/**
 * Why the server did not take a value over, in words.
 * @param {SettingRow} row
 * @param {Response} response
 * @param {import("../types").Translate} t
 * @returns {Promise<string>}
 */
export async function refusal(row, response, t) {
  const answer = await response.json().catch(() => ({}));
  const problem = answer?.problems?.[0];
  if (response.status === 400) {
    // Anything else says nothing of the value.
    if (row.name === "prices" && problem?.value) return t("settings.noPrice", { entry: problem.value });
    if (row.type !== "boolean" && row.type !== "text") return t("settings.allowed", { low: row.low, high: row.high });
    if (typeof problem?.allowed === "string") return problem.allowed;
  }
  return `HTTP ${response.status}: ${answer?.error ?? response.statusText}`;
}

/** @param {string} id @param {SettingRow} row @param {SettingsHost} host */
function watcher(id, row, host) {
  let begun = false;
  /** What ComfyUI shows, and what the server is known to have. @type {unknown} */
  let shown;
  /** @type {unknown} */
  let held;
  let turn = Promise.resolve();
  return (/** @type {unknown} */ value) => {
    // The first call tells the value at registration: the server has read it from ComfyUI's file by itself.
    if (!begun) {
      begun = true;
      shown = held = value;
    } else if (value !== shown) {
      shown = value;
      // One after the other: side by side the older one could arrive last.
      turn = turn.then(() => change(value));
    }
  };

  /** @param {unknown} value */
  async function change(value) {
    if (value !== shown) return; // a newer one stands behind it
    let response;
    try {
      response = await host.post(row.name, value);
    } catch {
      host.warn(host.t("settings.rejected"), host.t("settings.unreachable"));
      return;
    }
    if (response.ok) {
      held = value;
      return;
    }
    host.warn(host.t("settings.rejected"), await refusal(row, response, host.t));
    // A text is the reader's work: what is wrong with it is told, and it stays to be mended.
    if (row.type !== "text" && shown === value) {
      shown = held;
      host.set(id, held);
    }
  }
}
