// The stand-in's sidebar tab: enough of a chat for browser tests. Like the original, it has no destroy(), takes
// the whole element, keeps its settings in localStorage, and looks `fetch` up when it sends.
import { app } from "../../scripts/app.js";

const TAB = "comfyui-copilot";
const ROOT = "comfyui-copilot-plugin";
const messages = [];
let abort = null;

function configured(name, fallback) {
  return localStorage.getItem(name) || fallback;
}

async function* lines(prompt, signal) {
  // In the original's order, and as there: the base URL only with a key and the hosted service's public key.
  const headers = {
    "Content-Type": "application/json",
    accept: "application/json",
    "Access-Control-Allow-Origin": "*",
    Authorization: `Bearer ${configured("chatApiKey", "")}`,
    "trace-id": crypto.randomUUID?.() ?? "00000000-0000-4000-8000-000000000000",
    "Accept-Language": app.extensionManager.setting.get("Comfy.Locale") || "en",
  };
  if (configured("openaiApiKey", "").trim() && configured("rsaPublicKey", ""))
    headers["Openai-Base-Url"] = configured("openaiBaseUrl", "");
  for (const [name, key] of [["Base-Url", "workflowLLMBaseUrl"], ["Api-Key", "workflowLLMApiKey"], ["Model", "workflowLLMModel"]])
    if (configured(key, "")) headers[`Workflow-LLM-${name}`] = configured(key, "");
  headers["Openai-Api-Key"] = configured("openaiApiKey", "");
  const response = await fetch("/api/chat/invoke", {
    method: "POST",
    headers,
    body: JSON.stringify({
      session_id: configured("sessionId", "standin-session"),
      prompt,
      mock: false,
      intent: null,
      ext: [{ type: "model_select", data: [configured("copilotModel", "fake-model")] }],
      messages,
      images: [],
      workflow_checkpoint_id: null,
    }),
    signal,
  });
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) yield JSON.parse(part);
  }
  if (rest.trim()) yield JSON.parse(rest);
}

function bubble(log, role, text) {
  const element = document.createElement("div");
  element.className = `copilot-standin-${role}`;
  element.style.cssText = "white-space: pre-wrap; padding: 6px 10px; margin: 6px; border-radius: 8px;";
  element.style.background = role === "user" ? "var(--comfy-input-bg)" : "transparent";
  element.textContent = text;
  log.append(element);
  return element;
}

async function send(log, state, prompt) {
  bubble(log, "user", prompt);
  messages.push({ role: "user", content: prompt });
  const answer = bubble(log, "assistant", "");
  let text = "";
  state.dataset.state = "busy";
  abort = new AbortController();
  try {
    for await (const line of lines(prompt, abort.signal)) {
      text = line.text;
      answer.textContent = text;
      answer.dataset.finished = String(line.finished);
      log.scrollTop = log.scrollHeight;
      if (line.finished) state.dataset.state = "idle";
    }
  } catch (error) {
    answer.dataset.error = String(error);
    state.dataset.state = "idle";
  }
  messages.push({ role: "assistant", content: text });
}

function render(element) {
  element.style.height = "100%";
  const root = document.createElement("div");
  root.id = ROOT;
  root.dataset.state = "idle";
  root.style.cssText = "display: flex; flex-direction: column; height: 100%; color: var(--input-text);";
  const log = document.createElement("div");
  log.className = "copilot-standin-log";
  log.style.cssText = "flex: 1; overflow: auto;";
  const input = document.createElement("textarea");
  input.placeholder = "Ask the stand-in";
  input.style.cssText = "background: var(--comfy-input-bg); color: inherit; margin: 6px;";
  const buttons = document.createElement("div");
  const ask = document.createElement("button");
  ask.textContent = "Send";
  ask.className = "copilot-standin-send";
  const stop = document.createElement("button");
  stop.textContent = "Stop";
  stop.className = "copilot-standin-stop";
  buttons.append(ask, stop);
  root.append(log, input, buttons);
  element.append(root);
  ask.addEventListener("click", () => {
    const prompt = input.value.trim();
    input.value = "";
    if (prompt) send(log, root, prompt);
  });
  stop.addEventListener("click", () => abort?.abort());
}

app.registerExtension({
  name: "CopilotStandin",
  async setup() {
    app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: "pi pi-comments",
      title: "Copilot",
      tooltip: "Copilot (stand-in)",
      type: "custom",
      render,
    });
  },
});
