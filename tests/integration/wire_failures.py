"""Silence, and what servers say when they do not answer: rows of wire_rows.py."""

# ruff: noqa: E501  (what servers send is quoted as it comes)

from __future__ import annotations

from typing import Any

from tests.support.raw_server import Reply
from tests.support.wire_shapes import (
    CATEGORY,
    DONE,
    FULL,
    HALF,
    HEAD,
    WORDS,
    Row,
    answer,
    call,
    choice,
    chunk,
    event,
    refusal,
    status,
    stream,
    texts,
    told,
    whole,
)


def loading(seconds: float, _: dict[str, Any]) -> Reply:
    """A server that loads its model for 12 s."""
    return answer() if seconds >= 12 else refusal(503, "Loading model", type="unavailable_error", code=503)


_ROLE = choice({"role": "assistant", "content": ""})
PATIENCE = (
    whole("E", "75 s without a byte after the role", stream(_ROLE, 75.0, *texts(*WORDS))),
    whole("E", "100 s before the headers", Reply(100.0, *answer().parts)),
    Row(
        "E",
        "45 s while a tool call is held back",
        (
            stream(
                *texts("I look. ", finish=None),
                45.0,
                choice({"tool_calls": [call("list_nodes", CATEGORY, index=0, id="a")]}),
                choice({}, "tool_calls"),
            ),
            answer(),
        ),
        text="I look. " + FULL,
        requests=2,
        tools=("list_nodes",),
    ),
    whole("E", "503 while the model is loaded for 12 s", *([loading] * 1), requests=0),
)

FAILURES_IN_A_STREAM = (
    told(
        "F",
        "an error in the choice",
        stream(choice({}, "error", error={"code": 402, "message": "Insufficient credits. Add more at the provider."})),
        says=("credit",),
    ),
    told(
        "F",
        "a failed balance and no choices",
        stream(
            {"id": "c", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
            done=False,
        ),
        says=("balance",),
    ),
    Row(
        "F",
        "an event of error with plain text, once",
        (Reply(HEAD, event("Too many requests, please slow down", "error")), answer()),
        requests=2,
    ),
    told(
        "F",
        "an event of error with plain text, for ever",
        Reply(HEAD, event("Too many requests, please slow down", "error")),
        says=("rate limit",),
        requests=4,
    ),
    Row(
        "F",
        "a failure as the text, once",
        (
            stream(*texts('{"message":"Too many tokens, please wait before trying again."}', finish="error_finish")),
            answer(),
        ),
        requests=2,
    ),
    told(
        "F",
        "a failure as the text, for ever",
        stream(*texts('{"message":"Too many tokens, please wait before trying again."}', finish="error_finish")),
        says=("limit",),
        requests=4,
    ),
    whole(
        "F",
        "events parted by single newlines",
        Reply(HEAD, *(event(one)[:-1] for one in texts(*WORDS)), b"data: [DONE]\n"),
    ),
    told(
        "F",
        "the encoding told twice",
        Reply(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            *(b"%x\r\n%s\r\n" % (len(one), one) for one in (*map(event, texts(*WORDS)), DONE)),
            b"0\r\n\r\n",
        ),
        says=("answer",),
        never=("firewall", "connection to"),
        requests=-1,
        or_whole=True,
    ),
    told(
        "F",
        "an error in the delta",
        stream(choice({"error": {"message": "Insufficient credits", "code": 402}})),
        says=("credit",),
    ),
    whole(
        "F",
        "the field of data twice",
        Reply(HEAD, *(b"data: " + event(one) for one in texts(*WORDS)), b"data: data: [DONE]\n\n"),
    ),
    told("F", "an error as plain words", stream({"error": "Insufficient credits", "code": 402}), says=("credit",)),
    told(
        "F",
        "a detail without choices",
        stream({"detail": "Insufficient balance", "status_code": 402}),
        says=("balance",),
    ),
    told(
        "F",
        "a code and a message without choices",
        stream({"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"}),
        says=("key",),
    ),
    told(
        "F",
        "an event of error with JSON",
        Reply(
            HEAD,
            event(
                {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}, "error"
            ),
        ),
        says=("key",),
    ),
    told(
        "F",
        "an error inside of data after text",
        stream(
            *texts(*WORDS[:12], finish=None),
            {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
            done=False,
        ),
        text=HALF,
        says=("quota",),
    ),
    whole(
        "F",
        "signs of life that are no JSON",
        Reply(
            HEAD,
            event("ping", "ping"),
            b": hi\n\n",
            event("keep-alive"),
            *(event(one) for one in texts(*WORDS)),
            event({"type": "ping"}, "ping"),
            CATEGORY,
            DONE,
        ),
    ),
    told(
        "F",
        "a failure in plain words and an error at the end",
        stream(*texts("Error: ", "insufficient balance", finish="error")),
        text="Error: insufficient balance",
        says=("balance",),
    ),
    told(
        "F",
        "errors as a list",
        stream({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}),
        says=("key",),
    ),
    told(
        "F",
        "an error as JSON in a string",
        stream({"error": '{"code": 402, "message": "Insufficient credits"}'}),
        says=("credit",),
    ),
    told(
        "F",
        "an error code and error_msg",
        stream({"error_code": 18, "error_msg": "Open api qps request limit reached"}),
        says=("limit",),
        requests=4,
    ),
    whole(
        "F",
        "a status of success beside the answer",
        stream(*({**one, "base_resp": {"status_code": 0, "status_msg": ""}} for one in texts(*WORDS))),
    ),
    told(
        "F",
        "a field of error",
        Reply(
            HEAD,
            b'error: {"code":400,"message":"the request exceeds the available context size. try increasing it"}\n\n',
        ),
        says=("longer than",),
    ),
    told(
        "F",
        "a status inside a stream",
        stream(chunk(error={"code": 400, "message": "prompt is too long: 1284668 tokens > 1000000 maximum"})),
        says=("longer than",),
    ),
    told(
        "F",
        "a number of the filter's",
        stream(
            {
                "choices": None,
                "input_sensitive": True,
                "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"},
            }
        ),
        says=("filter",),
    ),
    told(
        "F",
        "an error in the provider's own object",
        stream(*texts(*WORDS[:12], finish=None), {**choice({}), "x_groq": {"id": "r", "error": "over capacity"}}),
        says=("overloaded",),
        text=HALF,
        requests=4,
    ),
    told(
        "F",
        "an error in another interface's event",
        stream(
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "It had an error"}}}
        ),
        says=("It had an error",),
        requests=4,
    ),
    told(
        "F",
        "a line of JSON without its field",
        Reply(
            HEAD,
            *map(event, texts(*WORDS[:12], finish=None)),
            b'{"error":{"message":"Insufficient credits","code":402}}\n',
        ),
        says=("credit",),
        text=HALF,
    ),
    whole(
        "F",
        "a web page in mid-answer, once",
        Reply(
            HEAD,
            *map(event, texts(*WORDS[:12], finish=None)),
            b"<html><head><title>502 Bad Gateway</title></head></html>\n",
        ),
        answer(),
    ),
    told(
        "F",
        "a text of JSON in an event of error",
        Reply(HEAD, event('"Insufficient balance"', "error")),
        says=("balance",),
    ),
    told(
        "F",
        "plain words with a good status",
        Reply(HEAD.replace(b"text/event-stream", b"text/plain") + b"Rate limit exceeded, retry in 2 seconds"),
        says=("rate limit",),
        requests=4,
    ),
    Row("F", "plain words instead of JSON, once", (Reply(HEAD, event("Internal Server Error")), answer()), requests=2),
)

TOO_LONG = (
    told(
        "G",
        "prompt_tokens against max_seq_len",
        refusal(400, "length of prompt_tokens (68957) must be less than max_seq_len (65536)"),
        says=("longer than",),
    ),
    told(
        "G",
        "inputs tokens and max_new_tokens",
        status(
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
                "error_type": "validation",
            },
        ),
        says=("longer than",),
    ),
    told(
        "G",
        "the same inside of a stream",
        stream(
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
                "error_type": "validation",
            },
            done=False,
        ),
        says=("longer than",),
    ),
)
NUMBERS = (
    told(
        "H",
        "code 2013 with words",
        status(
            400,
            {
                "error": {
                    "message": "invalid params, function name or parameters is empty (2013)",
                    "type": "bad_request_error",
                    "code": "2013",
                }
            },
        ),
        says=("function name or parameters is empty",),
        never=("longer than",),
    ),
)
LIMITS = (
    told(
        "I",
        "reset at a date",
        refusal(429, "Usage limit reached for 5 hour. Your limit will reset at 2026-12-25 07:41:44", code="1308"),
        says=("limit",),
        never=("wait a minute",),
    ),
    told(
        "I",
        "resets in seconds",
        status(
            429,
            {
                "error": {
                    "type": "usage_limit_reached",
                    "message": "The usage limit has been reached",
                    "resets_in_seconds": 529498,
                }
            },
        ),
        says=("days",),
    ),
    Row(
        "I",
        "too many tokens, twice",
        (
            refusal(429, "Too many tokens, please wait before trying again."),
            refusal(429, "Too many tokens, please wait before trying again."),
            answer(),
        ),
        requests=3,
    ),
    told(
        "I",
        "access again on a date",
        refusal(
            400,
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            type="invalid_request_error",
        ),
        says=("quota",),
    ),
    Row(
        "I",
        "a reset in a header",
        (refusal(429, "Rate limit reached", headers={"x-ratelimit-reset-requests": "6s"}), answer()),
        requests=2,
    ),
    Row(
        "I",
        "the minute is used up, and the day is not",
        (
            refusal(
                429,
                "Tokens per minute limit exceeded - too many tokens processed.",
                code="token_quota_exceeded",
                headers={
                    "x-ratelimit-limit-requests-day": "14400",
                    "x-ratelimit-remaining-requests-day": "14391",
                    "x-ratelimit-reset-requests-day": "33011.38",
                    "x-ratelimit-limit-tokens-minute": "60000",
                    "x-ratelimit-remaining-tokens-minute": "120",
                    "x-ratelimit-reset-tokens-minute": "11.38",
                },
            ),
            answer(),
        ),
        requests=2,
    ),
    told(
        "I",
        "a wait of hours in seconds",
        refusal(429, "Rate limit of 50 per 86400s exceeded. Please wait 42345 seconds"),
        says=("12 h",),
    ),
)
MISSING_MODELS = (
    told(
        "J",
        "a model that is not activated",
        refusal(
            404,
            "Your account 2100 has not activated the model m. Please activate the model service in the Ark Console.",
            code="ModelNotOpen",
        ),
        says=("activate",),
        never=("base URL",),
    ),
    told(
        "J",
        "no endpoint for images",
        refusal(404, "No endpoints found that support image input", code=404),
        says=("image",),
    ),
    told(
        "J",
        "no endpoint for the data policy",
        refusal(404, "No endpoints found matching your data policy (Free model publication).", code=404),
        says=("data policy",),
    ),
)
# The frame of a content network's page is the same whatever has happened.
GATEWAY = "<!DOCTYPE html><head><title>api.example.com | {}</title></head><body><div id='cf-error-details'></div></body></html>"
_CRASHED = refusal(400, "The model has crashed without additional information. (Exit code: 18446744072635812000)")
CRASHES = (
    Row("K", "a crash, once", (_CRASHED, answer()), requests=2),
    told("K", "a crash, for ever", _CRASHED, says=("crashed",), requests=-1),
    told(
        "K",
        "no images without mmproj",
        refusal(
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            type="server_error",
        ),
        says=("image",),
    ),
)
STATUSES = (
    Row("L", "498 once", (refusal(498, "capacity exceeded", code="capacity_exceeded"), answer()), requests=2),
    told(
        "L",
        "a region that is not served",
        refusal(400, "User location is not supported for the API use.", status="FAILED_PRECONDITION"),
        says=("region",),
    ),
    told(
        "L",
        "a protection page",
        status(
            403,
            '<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head><body>cloudflare</body></html>',
            Server="cloudflare",
        ),
        says=("protection",),
    ),
    told(
        "L",
        "a gateway's page for ever",
        status(502, GATEWAY.format("502: Bad gateway")),
        says=("failed",),
        never=("robot",),
        requests=4,
    ),
    Row("L", "a gateway's page, once", (status(520, GATEWAY.format("520: Unknown error")), answer()), requests=2),
    Row(
        "L",
        "424 once",
        (status(424, {"error": "Request failed during generation", "error_type": "generation"}), answer()),
        requests=2,
    ),
    Row("L", "499 once", (refusal(499, "context canceled"), answer()), requests=2),
    Row(
        "L",
        "a call that its server cannot read, once",
        (refusal(500, "error parsing tool call: raw='{]'"), answer()),
        requests=2,
    ),
    told(
        "L",
        "a server that wants no second try",
        refusal(500, "Broken", headers={"x-should-retry": "false"}),
        says=("Broken",),
    ),
    told("L", "a proxy that wants a login", status(407, ""), says=("proxy", "login"), never=("may lack",)),
)

REDIRECTS = (
    told(
        "M",
        "a redirect to another origin",
        status(307, "", Location="{other}/chat/completions"),
        says=("led",),
        requests=1,
        other=refusal(401, "Missing API key"),
    ),
    told(
        "M",
        "a redirect on the same host that changes the method",
        status(301, "", Location="/api/v1/chat/completions"),
        status(405, {"detail": "Method Not Allowed"}),
        says=("led on", "/api/v1"),
        requests=2,
    ),
    whole("M", "a redirect that keeps the method", status(308, "", Location="/v1/chat/completions/"), answer()),
)
