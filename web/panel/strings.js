// @ts-check
/**
 * The panel's texts. They stand in `locales/<language>/main.json` under one key of our own. ComfyUI hands out all
 * packs' files at once; its own translator loses the Chinese of custom nodes in some versions, so we look up ourselves.
 */

/** @typedef {import("../types").Translate} Translate */

const ROOT_KEY = "copilotPulse";
const FALLBACK = "en";

/**
 * A translator for one locale: its own texts, else the language's, else English, else the key itself.
 *
 * @param {unknown} messages  `{ [locale]: { copilotPulse: {...} } }`, as `GET /i18n` answers
 * @param {string} locale
 * @returns {Translate}
 */
export function createTranslate(messages, locale) {
  const chain = [...new Set([locale, locale.split("-")[0], FALLBACK])];
  const roots = chain.map((name) => branch(branch(messages, name), ROOT_KEY)).filter((root) => root !== undefined);
  /** @type {Map<string, Intl.PluralRules>} */
  const rules = new Map();

  return (key, params = {}) => {
    for (const root of roots) {
      /** @type {unknown} */
      let found = root;
      for (const part of key.split(".")) found = branch(found, part);
      if (found && typeof found === "object" && typeof params.n === "number") {
        const tag = root === roots[0] ? locale : FALLBACK;
        found = branch(found, pluralOf(rules, tag, params.n)) ?? branch(found, "other");
      }
      if (typeof found === "string") return fill(found, params);
    }
    return key;
  };
}

/**
 * What a page calls the program that serves it, and the one that answers the user. `host` names a branch of the texts
 * `names` with words of that host's own.
 * @typedef {{ program?: string, assistant?: string, host?: string }} Names
 */

/** What only a host knows of itself: what it and its assistant are called, and where key and base URL are set. */
const PLACES = ["program", "assistant", "atKey", "atUrl"];

/**
 * The same translator, with these words filled in, and `{Program}` and `{Assistant}` for the start of a sentence. What
 * a page does not name is called by the words of its language.
 *
 * @param {Translate} t
 * @param {Names} [names]
 * @returns {Translate}
 */
export function withNames(t, names = {}) {
  const { host, ...given } = names;
  /** @type {Record<string, string>} */
  const own = {};
  for (const name of PLACES) {
    const key = `names.${host}.${name}`;
    const found = host ? t(key, own) : key;
    own[name] =
      /** @type {Record<string, string>} */ (given)[name] ?? (found === key ? t(`names.${name}`, own) : found);
  }
  // A given name stands as it is: it may be a command.
  own.Program = given.program ?? (host ? own.program : capital(own.program));
  own.Assistant = given.assistant ?? capital(own.assistant);
  // Chinese sets a space around a Latin name, and none around its own words.
  return (key, params) => t(key, { ...own, ...params }).replace(/(\p{Script=Han}) (?=\p{Script=Han})/gu, "$1");
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {unknown} node @param {string} key @returns {unknown} */
function branch(node, key) {
  return node && typeof node === "object" && Object.hasOwn(node, key)
    ? /** @type {Record<string, unknown>} */ (node)[key]
    : undefined;
}

/** @param {Map<string, Intl.PluralRules>} rules @param {string} tag @param {number} n */
function pluralOf(rules, tag, n) {
  let rule = rules.get(tag);
  if (!rule) {
    try {
      rule = new Intl.PluralRules(tag);
    } catch {
      rule = new Intl.PluralRules(FALLBACK);
    }
    rules.set(tag, rule);
  }
  return rule.select(n);
}

/** @param {string} text @param {import("../types").Params} params */
function fill(text, params) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(params, name) ? String(params[name]) : whole));
}
