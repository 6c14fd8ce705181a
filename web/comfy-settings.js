// @ts-check
/**
 * The settings in ComfyUI's dialog. ComfyUI keeps the values; our server checks each change, takes it over at once,
 * and reads the kept ones at its start. Names and tooltips stand in `locales/<language>/settings.json`.
 */

/** @typedef {"stream" | "limits" | "retries" | "breakers" | "mcp" | "panel" | "general"} Section */
/** @typedef {{ name: string, section: Section, value: number | boolean, low?: number, high?: number, step?: number }} Setting */

export const PREFIX = "CopilotPulse.";

/** The server's settings (`backend/settings.py`), in the order in which a section shows them. @type {readonly Setting[]} */
export const SETTINGS = [
  { name: "enabled", section: "general", value: true },
  { name: "updates_per_second", section: "stream", value: 30, low: 1, high: 60, step: 1 },
  { name: "update_bytes_per_second", section: "stream", value: 64_000, low: 4_000, high: 10_000_000, step: 1_000 },
  { name: "queue_size", section: "stream", value: 1000, low: 10, high: 100_000, step: 10 },
  { name: "put_timeout", section: "stream", value: 5, low: 0, high: 60, step: 0.5 },
  { name: "resume_grace", section: "stream", value: 30, low: 0, high: 600, step: 5 },
  { name: "stream_keep", section: "stream", value: 600, low: 0, high: 86_400, step: 60 },
  { name: "stream_keep_bytes", section: "stream", value: 32_000_000, low: 100_000, high: 1_000_000_000, step: 1_000_000 },
  { name: "first_token_timeout", section: "limits", value: 60, low: 0, high: 3600, step: 5 },
  { name: "first_token_per_1000_chars", section: "limits", value: 1, low: 0, high: 60, step: 0.5 },
  { name: "stall_timeout", section: "limits", value: 30, low: 0, high: 3600, step: 5 },
  { name: "max_retries", section: "retries", value: 3, low: 0, high: 10, step: 1 },
  { name: "retry_base", section: "retries", value: 0.5, low: 0, high: 30, step: 0.1 },
  { name: "retry_max", section: "retries", value: 10, low: 0, high: 120, step: 1 },
  { name: "retry_budget", section: "retries", value: 30, low: 0, high: 600, step: 5 },
  { name: "breaker_share", section: "breakers", value: 0.5, low: 0.05, high: 1, step: 0.05 },
  { name: "breaker_min_calls", section: "breakers", value: 5, low: 1, high: 1000, step: 1 },
  { name: "breaker_window", section: "breakers", value: 60, low: 1, high: 3600, step: 5 },
  { name: "breaker_open", section: "breakers", value: 20, low: 0.1, high: 3600, step: 1 },
  { name: "breaker_probes", section: "breakers", value: 1, low: 1, high: 10, step: 1 },
  { name: "mcp_timeout", section: "mcp", value: 5, low: 0.1, high: 300, step: 0.5 },
  { name: "mcp_retry", section: "mcp", value: 20, low: 0.1, high: 3600, step: 1 },
  { name: "mcp_tool_timeout", section: "mcp", value: 120, low: 0, high: 3600, step: 5 },
  { name: "panel_refresh", section: "panel", value: 1, low: 0.2, high: 60, step: 0.2 },
  { name: "loop_stall", section: "panel", value: 0.25, low: 0.05, high: 60, step: 0.05 },
];

/** `queue_size` is `CopilotPulse.QueueSize` in ComfyUI. @param {string} name */
export function settingId(name) {
  return PREFIX + name.split("_").map((word) => word[0].toUpperCase() + word.slice(1)).join("");
}

/**
 * @typedef {object} SettingsHost
 * @property {(name: string, value: unknown) => Promise<Response>} post  sends a change to our server
 * @property {(id: string, value: unknown) => unknown} set  puts a value back into ComfyUI's settings
 * @property {(summary: string, detail: string) => void} warn
 * @property {import("./types").Translate} t
 * @property {(key: string) => { name?: string, tooltip?: string } | undefined} text  of `settings.json`
 */

/**
 * What ComfyUI's `registerExtension` wants under `settings`. What the server's environment alone decides is left out.
 *
 * @param {SettingsHost} host
 * @param {ReadonlySet<string>} locked  names that the server would refuse
 */
export function comfySettings(host, locked = new Set()) {
  return SETTINGS.filter(({ name }) => !locked.has(name)).map((setting, index) => {
    const id = settingId(setting.name);
    const text = host.text(id.replaceAll(".", "_"));
    return {
      id,
      name: text?.name ?? setting.name,
      tooltip: text?.tooltip,
      type: /** @type {"boolean" | "number"} */ (typeof setting.value === "boolean" ? "boolean" : "number"),
      defaultValue: setting.value,
      category: ["Copilot Pulse", host.t(`settings.sections.${setting.section}`), setting.name],
      sortOrder: SETTINGS.length - index,
      attrs: typeof setting.value === "number" ? { min: setting.low, max: setting.high, step: setting.step } : undefined,
      onChange: watcher(id, setting, host),
    };
  });
}

/** @param {string} id @param {Setting} setting @param {SettingsHost} host */
function watcher(id, setting, host) {
  let begun = false;
  /** @type {unknown} */
  let accepted;
  return (/** @type {unknown} */ value) => {
    // The first call tells the value at registration: the server has read it from ComfyUI's file by itself.
    if (!begun || value === accepted) {
      begun = true;
      accepted = value;
      return;
    }
    const before = accepted;
    accepted = value;
    void change(value, before);
  };

  /** @param {unknown} value @param {unknown} before */
  async function change(value, before) {
    let response;
    try {
      response = await host.post(setting.name, value);
    } catch {
      host.warn(host.t("settings.rejected"), host.t("settings.unreachable"));
      return;
    }
    if (response.ok) return;
    const answer = await response.json().catch(() => ({}));
    const { low, high } = setting;
    const allowed = low === undefined || high === undefined ? answer?.problems?.[0]?.allowed : host.t("settings.allowed", { low, high });
    host.warn(host.t("settings.rejected"), typeof allowed === "string" ? allowed : `HTTP ${response.status}`);
    if (accepted === value) {
      accepted = before;
      host.set(id, before);
    }
  }
}
