// @ts-check
/**
 * The door to ComfyUI's frontend, and the only file here that does something when it is loaded: it starts the
 * extension, once. Everything else in this folder is imported from here.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { PulseExtension, tellOfSecondCopy } from "./comfy/extension.js";

/** Where in the page the copy of this plugin that runs leaves its address: two copies would wrap every chat twice. */
const RUNNING = Symbol.for("copilot-pulse.running");
const page = /** @type {Record<symbol, unknown>} */ (/** @type {unknown} */ (window));

if (page[RUNNING] === undefined) {
  page[RUNNING] = import.meta.url;
  await new PulseExtension(api, app).start();
} else tellOfSecondCopy(app, String(page[RUNNING]), import.meta.url);
