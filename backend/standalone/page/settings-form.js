// @ts-check
/**
 * The settings as a form, where there is no settings dialog of ComfyUI: the few that matter first, the rest folded
 * away. Each change is sent at once; one that the server refuses is put back, with what is allowed.
 */

import { PLACES, refusal, SECTIONS, settingId, tryWebhook } from "../../../web/comfy/settings.js";
import { h, setText } from "../../../web/panel/dom.js";

/** @typedef {import("../../../web/comfy/settings.js").SettingRow} SettingRow */
/** @typedef {import("../../../web/types").Translate} Translate */
/**
 * @typedef {object} FormOptions
 * @property {readonly (SettingRow & { value: string | number | boolean })[]} rows  of `GET /copilot-pulse/settings`
 * @property {boolean} webhook  whether there is one to try
 * @property {Translate} t
 * @property {(key: string) => { name?: string, tooltip?: string } | undefined} text  of `settings.json`
 * @property {(path: string, body: unknown) => Promise<Response>} post
 */

/** @param {FormOptions} options @returns {HTMLElement} */
export function createSettingsForm({ rows, webhook, t, text, post }) {
  const known = new Map(rows.filter(({ panel }) => panel !== false).map((row) => [row.name, row]));
  /** @param {string} name */
  const line = (name) => {
    const row = known.get(name);
    return row ? settingLine(row, { t, text, post }) : null;
  };
  const names = [...Object.keys(PLACES), ...[...known.keys()].filter((name) => !(name in PLACES))];
  const of = (/** @type {string} */ section) =>
    names.filter((name) => (PLACES[name]?.section ?? "general") === section).map(line);
  const advanced = SECTIONS.filter((section) => section !== "basics").map((section) => {
    const lines = of(section).filter((each) => each !== null);
    const title = h("legend", { text: t(`settings.sections.${section}`) });
    return lines.length ? h("fieldset", { class: "set-group" }, title, ...lines) : null;
  });
  return h(
    "div",
    { class: "set" },
    ...of("basics"),
    webhook ? webhookLine({ t, post }) : null,
    h("details", { class: "set-more" }, h("summary", { text: t("settings.advanced") }), h("div", {}, ...advanced)),
  );
}

/**
 * @param {SettingRow & { value: string | number | boolean }} row
 * @param {Pick<FormOptions, "t" | "text" | "post">} host
 */
function settingLine(row, { t, text, post }) {
  const id = settingId(row.name).replaceAll(".", "_");
  const { name = row.name, tooltip = "" } = text(id) ?? {};
  const isSwitch = row.type === "boolean";
  const { step = 1 } = PLACES[row.name] ?? {};
  const said = h("span", { class: "set-said", role: "status" });
  const hint = h("span", { class: "set-hint", id: `${id}-hint` }, `${tooltip} `, h("code", { text: row.env ?? "" }));
  const input = isSwitch
    ? h("input", { type: "checkbox", id, "aria-describedby": hint.id })
    : row.type === "text"
      ? h("textarea", { id, rows: 2, spellcheck: "false", maxlength: row.high, "aria-describedby": hint.id })
      : h("input", { type: "number", id, min: row.low, max: row.high, step: "any", "aria-describedby": hint.id });
  if (!isSwitch && row.type !== "text") input.setAttribute("data-step", String(step));
  let accepted = row.value;
  const put = (/** @type {string | number | boolean} */ value) => {
    if (input instanceof HTMLInputElement && isSwitch) input.checked = value === true;
    else input.value = String(value);
  };
  const read = () =>
    input instanceof HTMLInputElement && isSwitch
      ? input.checked
      : row.type === "text"
        ? input.value.replace(/\s*\n\s*/g, "; ").trim()
        : Number(input.value);
  put(accepted);
  let changes = 0;
  let turn = Promise.resolve();
  /** @param {string | number | boolean} value @param {number} number  which change it is */
  const send = async (value, number) => {
    if (number !== changes || value === accepted) return;
    const problem = await change(row, value, { t, post });
    if (!problem) accepted = value;
    if (number !== changes) return; // the next one stands there already
    said.toggleAttribute("data-bad", problem !== "");
    setText(said, problem || t("settings.saved"));
    // A text is the reader's work: what is wrong with it is told, and it stays to be mended.
    if (problem && row.type !== "text") put(accepted);
  };
  input.addEventListener("change", () => {
    const value = read();
    const number = (changes += 1);
    // One after the other: side by side the older one could arrive last.
    turn = turn.then(() => send(value, number));
  });
  return h(
    "div",
    { class: `set-line${isSwitch ? " set-switch" : ""}` },
    h("label", { for: id, text: name }),
    input,
    said,
    hint,
  );
}

/**
 * Send a change; the answer is what is wrong with it, or "".
 * @param {SettingRow} row
 * @param {unknown} value
 * @param {Pick<FormOptions, "t" | "post">} host
 * @returns {Promise<string>}
 */
async function change(row, value, { t, post }) {
  try {
    const response = await post("/copilot-pulse/settings", { [row.name]: value });
    return response.ok ? "" : await refusal(row, response, t);
  } catch {
    return t("settings.away");
  }
}

/** A button that sends a test message to the webhook. @param {Pick<FormOptions, "t" | "post">} host */
function webhookLine({ t, post }) {
  const said = h("span", { class: "set-said", role: "status" });
  const test = h("button", { type: "button", class: "set-test", text: t("settings.webhook.test") });
  test.addEventListener("click", async () => {
    test.disabled = true;
    setText(said, "");
    const problem = await tryWebhook({ t, post });
    said.toggleAttribute("data-bad", problem !== "");
    setText(said, problem || t("settings.webhook.sent"));
    test.disabled = false;
  });
  return h("div", { class: "set-line" }, h("span", { text: t("settings.webhook.name") }), test, said);
}
