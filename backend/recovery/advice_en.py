"""What the user is told, in English.

`TEXTS` holds, for each kind of failure, what happened and what to do; `PHRASES` the pieces that fill
the braces. `{at}` is the host in passing or nothing, `{server}` and `{model}` are their names or "the
model server" and "the model". A key never appears: no field holds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "cancelled": ("The chat was stopped.", ""),
    "timeout": ("{Server} did not answer in time.", "{slow}"),
    "stalled": ("{Model}{at} fell silent and its answer did not go on.", "{slow}"),
    "truncated": (
        "{Model}{at} ended its answer without saying that it was finished, so the end may be missing.",
        "Ask it to go on. Some compatible servers always end like this; then the answer is probably complete.",
    ),
    "length_limit": (
        "{Model}{at} stopped in mid-answer at its limit of output tokens.",
        "Ask it to go on, or ask for a shorter answer.",
    ),
    "empty_answer": (
        "{Model}{at} finished without writing a word.",
        "Send the message again, or choose another model{picker}.{template}",
    ),
    "reasoning_only": (
        "{Model}{at} only thought: it sent its reasoning and no answer.",
        "Send the message again, raise the model's output limit, turn its thinking off, or choose a model "
        "that does not reason{picker}.",
    ),
    "malformed": (
        "{Server} sent something that is no valid answer of a model.",
        "Send the message again. If it stays, {no_stream}",
    ),
    "connection": (
        "The connection to {server} broke or could not be made.",
        "Check the network, the proxy or VPN, and whether the server is running, then send the message again.{local}",
    ),
    "connection_refused": ("Nothing answers at {address}: the connection was refused.", "{refused}"),
    "dns": (
        "The host name {hostname} was not found.",
        "Check the spelling of the base URL{base}, and the network or VPN of {computer}.",
    ),
    "tls": (
        "No encrypted connection to {server} could be made.",
        "{scheme} If the certificate is not trusted, check the date of this computer, and any proxy in between.",
    ),
    "server_error": (
        "{Server} failed{status}.",
        "The fault is at the server. Send the message again in a while, or choose another model{picker}.{local}",
    ),
    "overloaded": (
        "{Server} is overloaded{status}.",
        "Wait a moment{wait} and send the message again, or choose another model{picker}.",
    ),
    "loading": (
        "{Server} is still loading {model}{status}.",
        "Wait until it is loaded{wait} and send the message again, or choose another model{picker}.{loading}",
    ),
    "crashed": (
        "{Model} crashed in {server}, or could not be loaded there{status}.",
        "Send the message again: the server then loads it anew. If it crashes again, it is too large for the memory, "
        "or the server is too old for it.{crashed}",
    ),
    "rate_limited": (
        "{Server} refuses more requests for now: the rate limit is reached{status}.",
        "{limit} A plan with higher limits or another model{picker} helps too.",
    ),
    "circuit_open": (
        "{Server} failed so often in the last minute that it is left alone for a while.",
        "It is tried again in {seconds}. Send the message again then; Copilot Pulse's panel can try it at once.",
    ),
    "mcp": (
        "The tool server{at} reported an error.",
        "The chat works without its tools. Copilot Pulse's panel shows its state and can try it again.",
    ),
    "quota": (
        "The credit or quota of the account{at} is used up{status}.",
        "{again} Add credit or check the plan at the provider, or use another key or provider {by_key}.",
    ),
    "auth": (
        "{Server} refused the API key{status}.",
        "Check the key {at_key}: it may be missing, incomplete, expired, or belong to "
        "another provider than the base URL{base}.",
    ),
    "forbidden": (
        "{Server} does not allow this request{status}.",
        "{why_forbidden}Check the account at the provider, or choose another model{picker}.",
    ),
    "model_not_found": ("{Server} does not have {the_model}{status}.", "{where_model}{pull}"),
    "bad_http": (
        "{Server}'s answer breaks the rules of HTTP, so it cannot be read.",
        "The fault is in the server, or in a proxy in front of it: update it, or choose another.{crashed}",
    ),
    "not_activated": (
        "{Server} has {model}, but the account has not activated it{status}.",
        "Activate the model for the account on the provider's website, or choose another model{picker}.",
    ),
    "no_provider": (
        "{Server} has no provider for {model} that fits this request{status}.",
        "Check the data policy and the provider settings of the account{at}, or choose another model{picker}.",
    ),
    "server_memory": (
        "{Server} has too little memory for {model}{status}.",
        "Choose a smaller model or a smaller quantization{picker}, give it a shorter context, or free memory: models "
        "that ComfyUI holds on the same graphics card can be unloaded there.{crashed}",
    ),
    "region": (
        "The provider{at} does not serve the country or region that the request comes from{status}.",
        "Choose a provider that serves it, or let {computer} reach this one by a permitted way.",
    ),
    "protected": (
        "A protection page answered in front of {server}, not the model{status}.",
        "It takes {program} for a robot or blocks its network. Switch a VPN or proxy off, try again later, or use an "
        "address of the provider that is meant for programs. The key is not the reason.",
    ),
    "redirected": (
        "{Server} led the request on to {target}, another server, to which the API key is not sent{status}.",
        "If that server is the right one, set the base URL {by_url} to {try_target}.",
    ),
    "network_login": (
        "A proxy or the network between {computer} and {server} wants a login first{status}.",
        "The user and the password of a proxy belong into its address (HTTP_PROXY, HTTPS_PROXY); the login page of a "
        "guest network opens in a browser. The API key is not the reason.",
    ),
    "not_found": (
        "{Server} has nothing at {called}{status}.",
        "Check the base URL{base} {at_url}. It usually ends in /v1, such as {example}.",
    ),
    "missing_v1": (
        "{called} does not exist{at}: the base URL seems to lack its version part.",
        "Set the base URL {by_url} to {try_url} and send the message again.",
    ),
    "html_body": (
        "{Server} answered with a web page instead of a model's answer{redirect}.",
        "The base URL{base} is the address of a website, not of a model's interface. Set it {by_url} "
        "to an OpenAI-compatible address, such as {example}.",
    ),
    "bad_url": (
        "The base URL{base} is no usable address.",
        "It starts with http:// or https:// and ends before /chat/completions, such as {example}. Correct it {by_url}.",
    ),
    "context_too_long": (
        "The conversation, with the workflow in it, is longer than {model}{at} can read.",
        "Start a new conversation, use a smaller workflow, or choose a model with a larger context{picker}.{context}",
    ),
    "bad_request": (
        "{Server} refused the request for {model}{status}.",
        "{why_refused}If you cannot change that, choose another model{picker}.",
    ),
    "no_tools": (
        "{Model}{at} cannot call tools, which {assistant} needs.",
        "Choose a model with tool support (function calling){picker}, such as qwen3, llama3.1 or gpt-4.1.{serve}",
    ),
    "no_images": (
        "{Model}{at} takes no images{status}.",
        "Choose a model that can see{picker}, or start a new conversation without the image.{vision}",
    ),
    "unparsed_tools": (
        "{Model}{at} wanted to call a tool, and the server passed its call on as plain text.",
        "The server does not parse the tool calls of this model: switch that on, or choose another model{picker}."
        "{parse}",
    ),
    "stopped_early": (
        "{Model}{at} ended its answer in an unusual way, so the end may be missing.",
        "Ask it to go on, or choose another model{picker}.",
    ),
    "content_filter": (
        "The provider's content filter refused the request or the answer{at}.",
        "Say it in other words, or choose another model or provider{picker}.",
    ),
    "unknown_tool": (
        "{Model}{at} kept calling a tool that does not exist.",
        "Send the message again, or choose a model that is better at calling tools{picker}. If an MCP "
        "server is down, its tools are missing: see Copilot Pulse's panel.",
    ),
    "max_turns": (
        "{Model}{at} used all its turns without coming to an end.",
        "Ask for less at a time, or choose a more capable model{picker}.",
    ),
    "model_behavior": (
        "{Model}{at} gave an answer that {assistant} cannot use.",
        "Send the message again, or choose another model{picker}.",
    ),
    "bad_messages": (
        "The agent of {assistant} cannot read the messages of this chat, so {model} was not asked.",
        "Begin a new chat. If another program than the page sent these messages, it has to be mended.",
    ),
    "user_error": (
        "The agent of {assistant} or one of its tools is set up wrongly.",
        "Update {package} and openai-agents; if it stays, report the error to {package}.",
    ),
    "fault": (
        "Copilot Pulse itself failed while the answer was made ({type}).",
        "Send the message again; if it stays, report the error with the details of Copilot Pulse's panel.",
    ),
    "internal": (
        "Code of {assistant} or of a library that it uses failed while the answer was made ({type}).",
        "Send the message again; if it stays, update {package}, or report the error to {package}.",
    ),
    "unknown": (
        "An unexpected error ended the answer of {model}{at} ({type}).",
        "Send the message again; if it stays, update {package}, or report the error to {package}.",
    ),
    "memory": (
        "{Computer} ran out of memory, so this chat was stopped.",
        "Close other programs, unload models in ComfyUI, then send the message again.",
    ),
    "recursion": (
        "The workflow or the answer is nested too deeply, so this chat was stopped.",
        "Try a simpler workflow, or start a new conversation.",
    ),
    "system": (
        "{Computer} is in trouble ({type}), so this chat was stopped.",
        "Check free disk space and open files, and restart {program}.",
    ),
}

# What only a host knows of itself; another host than Copilot in ComfyUI brings words of its own for these, or for any
# phrase below.
PLACES: Final[Mapping[str, str]] = {
    "program": "ComfyUI",
    "computer": "ComfyUI's computer",
    "assistant": "Copilot",
    "package": "ComfyUI-Copilot",
    "at_key": "in Copilot's API settings",
    "by_key": "in Copilot's API settings",
    "at_url": "in Copilot's API settings",
    "by_url": "in Copilot's API settings",
}

PHRASES: Final[Mapping[str, str]] = {
    "server": "the model server",
    "model": "the model",
    "model_named": "{name}",
    "at": " at {host}",
    "base": " ({base})",
    "status": " (HTTP {status})",
    "details": 'Details: "{words}"',
    "model_there": 'a model named "{name}"',
    "model_chosen": "the chosen model",
    "quote": 'The server says: "{words}"',
    "own_words": "Its own words above tell what it dislikes. ",
    "no_words": "It does not say why; its own log may. ",
    "option": "The model or the server does not know an option that {assistant} uses. ",
    "no_right": "The key may lack the right to use {model}, or the provider does not serve this network. ",
    "no_interface": "check that the base URL{base} belongs to an OpenAI-compatible interface.",
    "bad_call": "the model writes tool calls that its server cannot read: choose another model{picker}.",
    "damaged": "the server, or a proxy in front of it, damages its answers: update it, or choose another.",
    "template": (
        " Local models do this when their chat template does not fit, or when the prompt fills their whole context."
    ),
    "led": "The request was led on to {target}.",
    "led_here": "The request was led on to another address there: set the base URL {by_url} to {try_target}.",
    "asked": "The model asked was {name}.",
    "tried": "Tried {attempts} times{waiting}.",
    "waiting": ", with {seconds} of waiting",
    "partial": "The answer above is incomplete.",
    "seconds": "{n} s",
    "minutes": "{n} min",
    "hours": "{n} h",
    "days": "{n} days",
    "long": "more than a month",
    "wait": " ({seconds})",
    "limit": "Send the message again in {seconds}.",
    "limit_until": "The server names {until} as the end of the limit: send the message again then.",
    "again": "The server says that requests are possible again in {seconds}.",
    "again_until": "The server names {until} as the time from which requests are possible again.",
    "again_never": "Asking again does not help.",
    "limit_unknown": "Wait a minute and send the message again.",
    "picker": " in the chat's model list",
    "picker_workflow": " in Copilot's workflow LLM setting (WORKFLOW_LLM_MODEL)",
    "picker_other": " in {where}",
    "where_model": (
        "Choose another model in the chat's model list, or correct the name where it was set: the chat's "
        "model list, or Copilot's workflow LLM setting (WORKFLOW_LLM_MODEL)."
    ),
    "where_model_chat": "It was set in the chat's model list: choose another model there.",
    "where_model_workflow": (
        "It was set in Copilot's workflow LLM setting (WORKFLOW_LLM_MODEL): correct the name there."
    ),
    "where_model_other": "It was set in {where}: correct the name there.",
    "pull": ' Ollama has only the models that were pulled: run "ollama pull {name}".',
    "load": " In LM Studio, load the model first.",
    "load_one": (
        "No model is loaded there at the moment: load one in the server (LM Studio: Developer; text-generation-webui: "
        "Model), then send the message again."
    ),
    "slow": ("Check the server's state at the provider and send the message again, or choose another model{picker}."),
    "slow_in_between": (
        "The server, or a proxy in front of it, gave up waiting: it has a time limit of its own. Send the message "
        "again, shorten the conversation, or choose a faster model{picker}."
    ),
    "slow_local": (
        "A local model may still be loading or reading a long prompt: look at its own window or log, and "
        "send the message again when it is ready. The time allowed (first_token_timeout, stall_timeout) "
        "can be raised or switched off in Copilot Pulse's settings."
    ),
    "refused_local": (
        "Is the local server running? Start it (LM Studio: Developer, Start Server, port 1234; Ollama: "
        '"ollama serve", port 11434) and compare the port with the base URL{base}. If {program} runs in '
        "Docker, localhost is the container itself: use host.docker.internal."
    ),
    "refused": (
        "Check the host and the port of the base URL{base}, a firewall in between, and whether the server is running."
    ),
    "local": " Is the local server (LM Studio, Ollama) still running, with the model loaded?",
    "scheme_https": (
        "If the server speaks plain HTTP, as local servers do, let the base URL begin with http:// instead "
        "of https://{suggest}."
    ),
    "scheme_http": ("The port expects encryption: let the base URL begin with https:// instead of http://{suggest}."),
    "suggest": ": {url}",
    "loading": " A large local model takes minutes: watch the server's own window or log.",
    "crashed": (
        ' The server\'s own log says why (LM Studio: Developer; Ollama: "ollama serve"; llama.cpp and vLLM: their '
        "terminal)."
    ),
    "vision": " llama.cpp needs the model's --mmproj file for images.",
    "parse": (
        " vLLM: --enable-auto-tool-choice and --tool-call-parser; SGLang: --tool-call-parser; llama.cpp: --jinja; "
        "LM Studio and Ollama: a model that they list as trained for tools."
    ),
    "redirect": " (the request was led to {host}, probably to log in)",
    "context": (
        " A local server can be given a larger context length (LM Studio: when loading the model; Ollama: "
        "OLLAMA_CONTEXT_LENGTH; llama.cpp: --ctx-size; vLLM: --max-model-len)."
    ),
    "serve": " vLLM needs --enable-auto-tool-choice and --tool-call-parser, llama.cpp --jinja.",
    "no_key": "No API key was sent to {server}.",
    "bad_key": "The API key cannot be sent: it holds a line break, a space or a character that no key has.",
}
