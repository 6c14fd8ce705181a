// @ts-check
/** The page's own words; the panel brings its own. */

const WORDS = {
  en: {
    other: "中文",
    otherLabel: "切换到中文",
    asking: "{model} at {host}",
    scripted: "Scripted model, no key, no network",
    chat: "Chat",
    panel: "Monitor",
    views: "Views",
    placeholder: "Write a message",
    message: "Message",
    send: "Send",
    stop: "Stop",
    fresh: "New chat",
    you: "You",
    answer: "Answer",
    tryFaults: "Make the model misbehave",
    tryThese: "Try",
    repaired: "Repaired",
    told: "Explained",
    plain: "No fault",
    welcomeTitle: "Watch an answer survive",
    welcome:
      "Say hello, or press a button below: the model on the other side will drop the connection, fall silent or " +
      "refuse. What can be repaired is repaired before your eyes; the rest ends in a sentence that says what to do. " +
      "The monitor shows how.",
    welcomeReal: "Your messages go to {model} at {host}. The monitor shows what happens on the way.",
    waiting: "Waiting for the model",
    waitingFor: "Waiting for the model, {seconds} s",
    streaming: "Answering",
    silent: "The model has been silent for {seconds} s",
    tool: "Calling {tool}",
    toolFor: "Calling {tool}, {seconds} s",
    retrying: "Attempt {attempt} of {of} broke; asking again",
    retryingIn: "Attempt {attempt} of {of} broke; asking again in {seconds} s",
    connecting: "This server does not answer; trying again",
    repairing: "The answer broke; asking again",
    repairingFor: "The answer broke; asking again, {seconds} s",
    silentAsk: "The model has been silent for {seconds} s; it is asked again in {left} s",
    silentEnd: "The model has been silent for {seconds} s; the answer ends in {left} s",
    brokeHere: "connection broke here, asking again …",
    silentHere: "fell silent here, asking again …",
    seam: "Repaired here",
    copy: "Copy",
    copied: "Copied",
    copyFailed: "Not copied",
    again: "Send again",
    againIn: "Send again (in {seconds} s)",
    settings: "Settings",
    noSettings: "The server does not show its settings ({reason}).",
    close: "Close",
    theme: "Appearance",
    system: "As the system",
    light: "Light",
    dark: "Dark",
    trouble: "Monitor: something needs a look",
    lost: "The connection to this server is lost; trying to come back, {seconds} s",
    meta: "{seconds} s, {updates} updates, {bytes}",
    metaOne: "{seconds} s, 1 update, {bytes}",
    metaRetries: "{n} retried",
    metaReturned: "came back for the rest",
    stopped: "Stopped",
    broken: "The connection to this server broke before the answer was complete",
    forgotten: "This server has nothing more of this answer: it was started anew",
    unreachable: "This server cannot be reached. Is it still running?",
    refused: "The server refused the message: {reason}",
    empty: "The server sent no text",
    examples: ["What can you do?", "Which nodes do I need for an upscale?", "What time is it?"],
  },
  zh: {
    other: "English",
    otherLabel: "Switch to English",
    asking: "{model}（{host}）",
    scripted: "模拟模型，不需要密钥和网络",
    chat: "对话",
    panel: "监控",
    views: "视图",
    placeholder: "输入消息",
    message: "消息",
    send: "发送",
    stop: "停止",
    fresh: "新对话",
    you: "你",
    answer: "回答",
    tryFaults: "让模型出点错",
    tryThese: "试试",
    repaired: "会修复",
    told: "会说明",
    plain: "无故障",
    welcomeTitle: "看看回答如何挺过故障",
    welcome:
      "打个招呼，或按下面的按钮：对面的模型会断线、停止输出或拒绝请求。能修复的当场修复，不能修复的会用一句话说明该怎么办。监控面板显示经过。",
    welcomeReal: "你的消息会发给 {host} 的 {model}。监控面板显示途中发生的一切。",
    waiting: "等待模型",
    waitingFor: "等待模型，已 {seconds} 秒",
    streaming: "正在回答",
    silent: "模型已 {seconds} 秒没有输出",
    tool: "正在调用 {tool}",
    toolFor: "正在调用 {tool}，已 {seconds} 秒",
    retrying: "第 {attempt}/{of} 次尝试失败，正在重试",
    retryingIn: "第 {attempt}/{of} 次尝试失败，{seconds} 秒后重试",
    connecting: "服务器没有响应，正在重试",
    repairing: "回答中断，正在重新请求",
    repairingFor: "回答中断，正在重新请求，已 {seconds} 秒",
    silentAsk: "模型已 {seconds} 秒没有输出，{left} 秒后重新请求",
    silentEnd: "模型已 {seconds} 秒没有输出，{left} 秒后结束回答",
    brokeHere: "连接在此中断，正在重新请求……",
    silentHere: "输出在此停住，正在重新请求……",
    seam: "在此修复",
    copy: "复制",
    copied: "已复制",
    copyFailed: "未能复制",
    again: "重新发送",
    againIn: "重新发送（{seconds} 秒后）",
    settings: "设置",
    noSettings: "服务器不显示设置（{reason}）。",
    close: "关闭",
    theme: "外观",
    system: "跟随系统",
    light: "浅色",
    dark: "深色",
    trouble: "监控：有情况需要留意",
    lost: "与服务器的连接已断开，正在重新连接，已 {seconds} 秒",
    meta: "{seconds} 秒，{updates} 次更新，{bytes}",
    metaOne: "{seconds} 秒，1 次更新，{bytes}",
    metaRetries: "重试 {n} 次",
    metaReturned: "重新连接后取回其余部分",
    stopped: "已停止",
    broken: "回答尚未完整，与服务器的连接就断开了",
    forgotten: "服务器已重新启动，没有这个回答的其余部分",
    unreachable: "无法连接服务器。它还在运行吗？",
    refused: "服务器拒绝了这条消息：{reason}",
    empty: "服务器没有发送文字",
    examples: ["你能做什么？", "放大图片需要哪些节点？", "现在几点？"],
  },
};

/** @typedef {"en" | "zh"} Locale */
/** @typedef {keyof typeof WORDS.en} Word */

const KEY = "copilot-pulse.locale";

/** The language chosen before, else the browser's. @returns {Locale} */
export function startLocale() {
  const chosen = localStorage.getItem(KEY) ?? navigator.language;
  return chosen.startsWith("zh") ? "zh" : "en";
}

/** @param {Locale} locale */
export function keepLocale(locale) {
  localStorage.setItem(KEY, locale);
}

/**
 * @param {Locale} locale
 * @param {Word} word
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function say(locale, word, values = {}) {
  return String(WORDS[locale][word]).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** @param {Locale} locale */
export function examples(locale) {
  return WORDS[locale].examples;
}
