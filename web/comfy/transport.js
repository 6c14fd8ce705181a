// @ts-check
/** The one setting of streams that only the page has: whether Copilot's chats may use a WebSocket. */

import { sectionTitle } from "./settings.js";

export const TRANSPORT = "CopilotPulse.Transport";

/**
 * What ComfyUI's `registerExtension` wants for it.
 * @param {import("../types").Translate} t
 * @param {{ name?: string, tooltip?: string } | undefined} text  of `settings.json`
 */
export function transportSetting(t, text) {
  return {
    id: TRANSPORT,
    name: text?.name ?? "Transport",
    tooltip: text?.tooltip,
    type: "combo",
    options: [
      { value: "auto", text: t("away.transport.auto") },
      { value: "http", text: t("away.transport.http") },
    ],
    defaultValue: "auto",
    category: ["Copilot Pulse", sectionTitle("stream", t), "transport"],
    sortOrder: 0,
  };
}
