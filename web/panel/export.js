// @ts-check
/** What the panel shows as a file: CSV for a spreadsheet, JSON for programs. */

import { h } from "./dom.js";

/** @typedef {Record<string, unknown>} Row */

/**
 * Rows as CSV by RFC 4180: the columns of all rows, the first row's first. Text that a spreadsheet would take for a
 * formula gets an apostrophe in front.
 *
 * @param {readonly object[]} rows
 */
export function csv(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const lines = rows.map((row) => columns.map((name) => cell(/** @type {Row} */ (row)[name])).join(","));
  return [columns.map(cell).join(","), ...lines, ""].join("\r\n");
}

/** @param {unknown} value */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/**
 * The charts' points as rows: a time each, and a column a series.
 *
 * @param {import("./history.js").HistoryTrack} history
 */
export function chartRows({ series, end, step, points }) {
  const names = /** @type {import("../types").SeriesName[]} */ (Object.keys(series));
  return Array.from({ length: points }, (_, index) => ({
    time: new Date((end - (points - 1 - index) * step) * 1000).toISOString(),
    ...Object.fromEntries(names.map((name) => [name, series[name][index] ?? null])),
  }));
}

/**
 * Hand a file to the reader.
 * @param {string} name  without its ending
 * @param {"csv" | "json"} kind
 * @param {readonly object[]} rows
 */
export function download(name, kind, rows) {
  const text = kind === "csv" ? `\uFEFF${csv(rows)}` : JSON.stringify(rows, null, 2);
  const type = kind === "csv" ? "text/csv;charset=utf-8" : "application/json";
  const address = URL.createObjectURL(new Blob([text], { type }));
  const day = new Date().toISOString().slice(0, 16).replace(/[T:]/g, "-");
  const link = h("a", { href: address, download: `copilot-pulse-${name}-${day}.${kind}` });
  document.body.append(link);
  link.click();
  link.remove();
  // The browser has taken the file over once the click's task is done.
  setTimeout(() => URL.revokeObjectURL(address), 0);
}
