"""The table of rules: which error is of which kind. Read from above; the first rule that matches decides.

A rule names what must be true, and all that it names must be true: the type (by `package.Class`, see
facts.py, or one of our own classes), the HTTP status, the provider's code, words of the message. Rules of
one kind that differ in what they look at stand side by side. `wrapper` marks types that only carry another
error: the carried one decides if a rule knows it. docs/errors.md prints this table.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, NamedTuple

from . import errors
from . import words as w
from .addresses import host_of
from .facts import Facts, retry_after
from .lazy import LazyPattern

_HAS_VERSION: Final = LazyPattern(r"/(?:v\d|openai|compatible-mode)")
_SOON: Final = 120.0
_TERSE: Final = 24
_TWICE: Final = LazyPattern(r"/(chat/completions|completions|responses|messages)/.{0,40}chat/completions")


class Rule(NamedTuple):
    """One row. `spoken` asks for an answer of the server: a status or a body. `types` are alternatives."""

    kind: str
    doc: str
    types: tuple[str | type[BaseException], ...] = ()
    status: tuple[int | range, ...] = ()
    codes: frozenset[str] = frozenset()
    words: LazyPattern | None = None
    when: Callable[[Facts], bool] | None = None
    spoken: bool = False
    wrapper: bool = False
    always: bool = False

    def matches(self, facts: Facts) -> bool:
        """True if everything that the rule names holds."""
        if self.always:
            return True
        if self.spoken and facts.status is None and not facts.body:
            return False
        if self.types and not any(_is(facts, t) for t in self.types):
            return False
        if self.status and (facts.status is None or not any(_in(facts.status, s) for s in self.status)):
            return False
        if (self.codes or self.words is not None) and not self._told(facts):
            return False
        return self.when is None or self.when(facts)

    def _told(self, facts: Facts) -> bool:
        """By the code or by the words."""
        if self.codes & facts.codes or self.codes & facts.named:
            return True
        return self.words is not None and self.words.search(facts.text) is not None


def _is(facts: Facts, wanted: str | type[BaseException]) -> bool:
    return wanted in facts.names if isinstance(wanted, str) else isinstance(facts.error, wanted)


def _in(status: int, wanted: int | range) -> bool:
    return status in wanted if isinstance(wanted, range) else status == wanted


def _lacks_version(facts: Facts) -> bool:
    return facts.url is not None and _HAS_VERSION.search(facts.path) is None


def _names_no_route(facts: Facts) -> bool:
    return w.NO_ROUTE.search(facts.message.lower()) is not None


def _no_such_address(facts: Facts) -> bool:
    """Nothing serves the path, which has no version: a page, a framework's own words, or no words at all."""
    if facts.redirected_to is not None or not _lacks_version(facts):
        return False
    return facts.html or not facts.body or facts.status == 405 or _names_no_route(facts)


def _keeps_robots_out(facts: Facts) -> bool:
    if "challenge" in facts.headers.get("cf-mitigated", ""):
        return True
    if facts.html or isinstance(facts.error, errors.HtmlBody):
        # A page of a gateway or of a login says "denied" as well, and its status says what it means.
        other = facts.status in (401, 407) or (facts.status != 503 and (facts.status or 0) >= 500)
        titled = not other and w.PROTECTED.search(facts.text) is not None
        return titled or w.PROTECTED_PAGE.search(facts.page) is not None
    return facts.status == 403 and facts.text.startswith("error code: ") and bool(w.PROTECTED.search(facts.text))


def _limits_by_page(facts: Facts) -> bool:
    return facts.html and w.LIMITED_PAGE.search(facts.page) is not None


def _region_by_page(facts: Facts) -> bool:
    return facts.html and w.REGION.search(facts.page) is not None


def _paid_for_soon(facts: Facts) -> bool:
    """A budget for what is under way, which comes back by itself: no credit is needed, but a moment."""
    wait = retry_after(facts, limited=False).seconds
    return wait is not None and 0 < wait <= _SOON and not facts.codes & w.QUOTA_CODES


def _by_the_server(facts: Facts) -> bool:
    """Told as the server's own fault, or inside an answer: what the model wrote, and not what it was sent."""
    return facts.status is None or facts.status < 400 or facts.status >= 500


def _led_elsewhere(facts: Facts) -> bool:
    here, there = host_of(facts.url), host_of(facts.redirected_to)
    return bool(here and there) and here != there


def _names_the_model(facts: Facts) -> bool:
    return facts.param == "model"


def _bars_the_account(facts: Facts) -> bool:
    return facts.status in (400, 401, 403)


def _of_the_model(facts: Facts) -> bool:
    """The words are about the server's machine and not about the user's key or limits."""
    return facts.status not in (401, 402, 403, 407, 429)


def _says_why(facts: Facts) -> bool:
    """The server answered, and not with a status that leaves no doubt: its words may be believed."""
    if facts.status is None:
        return facts.body
    return facts.status not in (401, 402, 407, 408, 429, 451) and (facts.status < 500 or facts.status == 501)


def _tunnel_ends_nowhere(facts: Facts) -> bool:
    """A tunnel's entrance answered, and no model server: in words, as a web page or by a header of its own."""
    if facts.status is None or facts.status < 400:
        return False
    return "ngrok-error-code" in facts.headers or bool(w.TUNNEL.search(facts.text) or w.TUNNEL.search(facts.page))


def _errno(*numbers: int) -> Callable[[Facts], bool]:
    def check(facts: Facts) -> bool:
        return isinstance(facts.error, OSError) and facts.error.errno in numbers

    return check


def _ascii_only(facts: Facts) -> bool:
    return isinstance(facts.error, UnicodeEncodeError) and facts.error.encoding in ("ascii", "latin-1")


def _address_may_be_wrong(facts: Facts) -> bool:
    return facts.status is None or facts.status < 400 or facts.status in (404, 405, 406, 410, 415)


def _heals_soon(facts: Facts) -> bool:
    """A limit for a short time, whatever else is said of quotas. No wait helps a request larger than the limit,
    nor an account whose limit is none."""
    if w.CONTEXT_SURELY.search(facts.text) or w.NO_LIMIT.search(facts.text) or w.PER_DAY.search(facts.text):
        return False
    if w.PER_MINUTE.search(facts.text):
        return True
    wait = facts.told.seconds
    return wait is not None and wait <= _SOON and not facts.codes & w.QUOTA_CODES


def _limited_soon(facts: Facts) -> bool:
    """The same without the status: what is told inside a stream, or with another number."""
    limited = facts.codes & w.RATE_CODES or w.RATE.search(facts.text) is not None
    return facts.status != 429 and _says_why(facts) and bool(limited) and _heals_soon(facts)


def _names_no_time(facts: Facts) -> bool:
    return not facts.told.any


def _ends_sometime(facts: Facts) -> bool:
    """A limit whose end is told. A day's limit does not end in a minute, whatever a server adds of when to retry."""
    if facts.codes & w.QUOTA_CODES or any(
        pattern.search(facts.text) for pattern in (w.CREDIT, w.CONTEXT_SURELY, w.NO_LIMIT)
    ):
        return False
    seconds = facts.told.seconds
    of_a_day = seconds is not None and seconds <= _SOON and w.PER_DAY.search(facts.text) is not None
    return facts.told.any and not of_a_day


def _of_the_context(facts: Facts) -> bool:
    """The words are about the conversation, and about this request rather than a limit of a time."""
    if w.NOT_CONTEXT.search(facts.text):
        return False
    limited = facts.status == 429 or w.PER_MINUTE.search(facts.text) is not None
    return not limited or w.CONTEXT_SURELY.search(facts.text) is not None


def _of_the_tools(facts: Facts) -> bool:
    """The tools themselves are refused, and not something else that is asked for together with them."""
    if facts.codes & w.NO_TOOLS_CODES or w.MODEL_WITHOUT_TOOLS.search(facts.text):
        return True
    return w.NO_TOOLS.search(w.WITH_TOOLS.sub(" ", facts.text)) is not None


def _of_a_model(facts: Facts) -> bool:
    """The words are the server's own, and not those of a tool that looked for a model file."""
    return bool(facts.codes & w.MODEL_CODES) or w.TOLD_BY_A_TOOL.search(facts.text) is None


def _numbered(kind: str) -> Callable[[Facts], bool]:
    return lambda facts: w.number_kind(facts.provider, facts.codes) == kind


def _talks_of_else(facts: Facts) -> bool:
    return (
        facts.spoken
        and not facts.html
        and not _lacks_version(facts)
        and len(facts.message) > _TERSE
        and (not _names_no_route(facts))
    )


_GONE = (
    "asyncio.CancelledError",
    "concurrent.CancelledError",
    "trio.Cancelled",
    "GeneratorExit",
    "KeyboardInterrupt",
    "SystemExit",
)
_TIMEOUTS = (
    "TimeoutError",
    "asyncio.TimeoutError",
    "concurrent.TimeoutError",
    "openai.APITimeoutError",
    "httpx.TimeoutException",
    "httpcore.TimeoutException",
    "aiohttp.ServerTimeoutError",
    "agents.ModelTimeoutError",
    "requests.Timeout",
    "urllib3.TimeoutError",
)
_SSL = ("ssl.SSLError", "aiohttp.ClientConnectorSSLError")
_BROKEN = (
    "ConnectionError",
    "aiohttp.ServerDisconnectedError",
    "aiohttp.ClientPayloadError",
    "asyncio.IncompleteReadError",
    "http.IncompleteRead",
    "anyio.BrokenResourceError",
    "anyio.ClosedResourceError",
    "anyio.EndOfStream",
    "ssl.SSLError",
    "anyio.ConnectionFailed",
)
_CARRIERS = (
    "openai.APIConnectionError",
    "httpx.TransportError",
    "httpx.StreamError",
    "httpcore.NetworkError",
    "httpcore.ProtocolError",
    "httpcore.ProxyError",
    "httpcore.ConnectionNotAvailable",
    "aiohttp.ClientConnectionError",
    "requests.ConnectionError",
    "urllib3.HTTPError",
)
_BAD_URLS = (
    "httpx.UnsupportedProtocol",
    "httpx.InvalidURL",
    "httpx.TooManyRedirects",
    "httpcore.UnsupportedProtocol",
    "aiohttp.InvalidURL",
    "aiohttp.TooManyRedirects",
    "requests.InvalidURL",
    "requests.MissingSchema",
)
_TRIPWIRES = (
    "agents.InputGuardrailTripwireTriggered",
    "agents.OutputGuardrailTripwireTriggered",
    "agents.ToolInputGuardrailTripwireTriggered",
    "agents.ToolOutputGuardrailTripwireTriggered",
    "agents.ModelRefusalError",
    "openai.ContentFilterFinishReasonError",
)

RULES: Final[tuple[Rule, ...]] = (
    # 1. Nobody waits for the answer any more.
    Rule("cancelled", "A cancellation, or the program ends", types=_GONE),
    Rule(
        "cancelled",
        "A write to a page that is gone",
        types=("aiohttp.ClientConnectionResetError",),
        words=w.CLOSING,
    ),
    # 2. The process is in trouble, whoever noticed.
    Rule("memory", "`MemoryError`", types=("MemoryError",)),
    Rule("memory", "The system has no memory left (ENOMEM)", when=_errno(errno.ENOMEM)),
    Rule("recursion", "`RecursionError`", types=("RecursionError",)),
    Rule("system", "`SystemError`", types=("SystemError",)),
    Rule(
        "system",
        "No free file handles or no room on the disk",
        when=_errno(errno.EMFILE, errno.ENFILE, errno.ENOSPC),
    ),
    # 3. What Pulse itself found out about a stream.
    Rule("stalled", "Silence beyond the limit", types=(errors.StreamStalled,)),
    Rule("truncated", "No finish reason", types=(errors.StreamTruncated,)),
    Rule("content_filter", "Finish reason `content_filter`", types=(errors.ContentFiltered,)),
    Rule("length_limit", "Finish reason `length`", types=(errors.LengthLimit,)),
    Rule("empty_answer", "Neither text nor a tool call", types=(errors.EmptyAnswer,)),
    Rule("reasoning_only", "Reasoning without an answer", types=(errors.ReasoningOnly,)),
    Rule("stopped_early", "An unknown finish reason", types=(errors.StoppedEarly,)),
    Rule("unparsed_tools", "The markup of a tool call in the text", types=(errors.UnparsedToolCall,)),
    Rule("unknown_tool", "The model insists on a missing tool", types=(errors.UnknownTool,)),
    Rule("circuit_open", "The breaker is open", types=(errors.CircuitOpen,)),
    # 4. The address, before what a stray page says is believed.
    Rule(
        "bad_url",
        "The base URL already ends in `/chat/completions`",
        status=(range(400, 406),),
        when=lambda f: _TWICE.search(f.path) is not None,
    ),
    Rule("missing_v1", "404 or 405, and the path has no version", status=(404, 405), when=_no_such_address),
    Rule(
        "missing_v1",
        "JSON that names an unknown endpoint, and the path has no version",
        types=(errors.UnexpectedBody,),
        when=lambda f: _names_no_route(f) and _lacks_version(f),
    ),
    Rule(
        "not_found",
        "JSON that names an unknown endpoint",
        types=(errors.UnexpectedBody,),
        when=_names_no_route,
    ),
    Rule("connection", "A tunnel whose other end is away", when=_tunnel_ends_nowhere),
    Rule("rate_limited", "429 with a page of the network in between", status=(429,), when=_limits_by_page),
    Rule("protected", "A page that keeps robots out", when=_keeps_robots_out),
    Rule("region", "403 with a page about a country or region", status=(403,), when=_region_by_page),
    Rule("protected", "403 with a web page", status=(403,), when=lambda f: f.html),
    Rule("html_body", "A web page with a good status", types=(errors.HtmlBody,), when=_address_may_be_wrong),
    Rule("html_body", "A web page with 404 or the like", when=lambda f: f.html and _address_may_be_wrong(f)),
    Rule("html_body", "`text/html` where JSON was due", types=("aiohttp.ContentTypeError",), words=w.HTML_TYPE),
    Rule(
        "redirected",
        "The key was refused or missed where a redirect led, another server",
        status=(401, 403),
        when=_led_elsewhere,
    ),
    Rule(
        "redirected",
        "The same in words",
        codes=w.AUTH_CODES,
        words=w.AUTH,
        when=lambda f: _led_elsewhere(f) and _says_why(f),
    ),
    # 5. What the server says. The narrower a rule, the higher it stands; the bare status decides last.
    Rule("tls", "A plain request to an encrypted port", spoken=True, words=w.PLAIN_TO_TLS),
    Rule(
        "rate_limited",
        "429 with a limit per minute or hour, or with a wait of 2 min at most",
        status=(429,),
        when=_heals_soon,
    ),
    Rule("rate_limited", "A limit per minute, or with a short wait, told otherwise", spoken=True, when=_limited_soon),
    Rule("rate_limited", "402 with a wait of 2 min at most", status=(402,), when=_paid_for_soon),
    Rule("quota", "402", status=(402,)),
    Rule("quota", "429 with a limit for hours or days", status=(429,), words=w.PER_DAY, when=_names_no_time),
    Rule("rate_limited", "429 that tells when it ends, and not of credit", status=(429,), when=_ends_sometime),
    Rule("content_filter", "A moderation that names what it found", spoken=True, words=w.MODERATED),
    Rule("quota", "Credit or quota used up", spoken=True, codes=w.QUOTA_CODES, words=w.QUOTA),
    Rule("bad_request", "An image is too large", status=(400, 413, 422), words=w.IMAGE_TOO_LARGE),
    Rule(
        "context_too_long",
        "Context exceeded",
        spoken=True,
        codes=w.CONTEXT_CODES,
        words=w.CONTEXT,
        when=_of_the_context,
    ),
    Rule("quota", "403 that speaks of a quota", status=(403,), words=w.ANY_QUOTA),
    Rule("server_memory", "Too little memory for the model", spoken=True, words=w.SERVER_MEMORY, when=_of_the_model),
    Rule("crashed", "The model crashed", spoken=True, words=w.CRASHED, when=_of_the_model),
    Rule("region", "A country or region that is not served", spoken=True, codes=w.REGION_CODES, words=w.REGION),
    Rule("malformed", "The model failed to write a tool call", spoken=True, codes=w.TOOL_CALL_CODES),
    Rule(
        "malformed",
        "A tool call that its own server cannot read",
        spoken=True,
        words=w.TOOL_CALL,
        when=_by_the_server,
    ),
    Rule("no_tools", "Tools not supported", spoken=True, codes=w.NO_TOOLS_CODES, words=w.NO_TOOLS, when=_of_the_tools),
    Rule("no_images", "Images not supported", spoken=True, words=w.NO_IMAGES),
    Rule("content_filter", "Content refused", spoken=True, codes=w.FILTER_CODES, words=w.FILTER),
    Rule("loading", "The model is still being loaded", spoken=True, codes=w.LOADING_CODES, words=w.LOADING),
    Rule("no_provider", "A router without a fitting provider", spoken=True, words=w.NO_PROVIDER),
    Rule("not_activated", "Model not activated", spoken=True, codes=w.NOT_ACTIVATED_CODES, words=w.NOT_ACTIVATED),
    Rule("bad_request", "A chat template that cannot write the conversation", spoken=True, words=w.CHAT_TEMPLATE),
    Rule(
        "model_not_found",
        "Model unknown",
        codes=w.MODEL_CODES,
        words=w.MODEL,
        spoken=True,
        when=lambda f: _says_why(f) and _of_a_model(f),
    ),
    Rule(
        "model_not_found",
        "Model unknown, told as 5xx",
        status=(range(500, 600),),
        words=w.MODEL_SURELY,
        when=_of_a_model,
    ),
    Rule("crashed", "The model could not be loaded", spoken=True, words=w.LOAD_FAILED, when=_of_the_model),
    Rule("forbidden", "A key that is good, and not for this", status=(401, 403), words=w.NO_RIGHT),
    Rule("forbidden", "An account that is barred", spoken=True, words=w.BARRED, when=_bars_the_account),
    Rule("auth", "401", status=(401,)),
    Rule("auth", "Key refused", codes=w.AUTH_CODES, words=w.AUTH, spoken=True, when=_says_why),
    Rule(
        "overloaded",
        "Overloaded",
        spoken=True,
        codes=w.OVERLOAD_CODES,
        words=w.OVERLOAD,
    ),
    Rule("rate_limited", "Too many requests", codes=w.RATE_CODES, words=w.RATE, spoken=True, when=_says_why),
    Rule("rate_limited", "Too many requests, told as 5xx", status=(range(500, 600),), words=w.RATE),
    *(
        Rule(kind, "A provider's own number, by its host", spoken=True, when=_numbered(kind))
        for kind in w.NUMBERED_KINDS
    ),
    Rule("rate_limited", "420, 429", status=(420, 429)),
    Rule("auth", "403 that speaks of a bad token", status=(403,), words=w.TOKEN),
    Rule("network_login", "407, 511", status=(407, 511)),
    Rule("region", "451", status=(451,)),
    Rule("forbidden", "403", status=(403,)),
    Rule("forbidden", "Permission denied", codes=w.FORBIDDEN_CODES, spoken=True, when=_says_why),
    Rule("timeout", "A time-out that is told as 5xx", status=(range(500, 600),), words=w.TIMED_OUT),
    Rule("timeout", "408, 504, 522, 524, 598, 599", status=(408, 504, 522, 524, 598, 599)),
    Rule("context_too_long", "413", status=(413,)),
    Rule("content_filter", "446", status=(446,)),
    Rule("model_not_found", "A refusal of what stands under `model`", status=(400, 404, 422), when=_names_the_model),
    Rule("bad_request", "404 with words of something else than the address", status=(404,), when=_talks_of_else),
    Rule("not_found", "404, 405, 410", status=(404, 405, 410)),
    Rule("overloaded", "498, 503, 529", status=(498, 503, 529)),
    Rule("server_error", "409, 424, 425, 499 and all other 5xx", status=(409, 424, 425, 499, range(500, 600))),
    Rule("bad_request", "All other 4xx", status=(range(400, 500),)),
    Rule("bad_url", "A redirect that was not followed", status=(range(300, 400),)),
    Rule("malformed", "An answer of a wrong shape", types=("openai.APIResponseValidationError",)),
    Rule(
        "bad_request",
        "An error inside the stream that blames the request",
        spoken=True,
        codes=w.REQUEST_CODES,
    ),
    Rule("malformed", "JSON where a stream was due", types=(errors.UnexpectedBody, "aiohttp.ContentTypeError")),
    # 6. No answer at all. Refused, unknown and untrusted addresses stand before the general failures.
    Rule("auth", "No key is set", types=("openai.OpenAIError",), words=w.NO_KEY),
    Rule(
        "auth",
        "The key cannot be sent in a header",
        types=("httpx.LocalProtocolError", "httpcore.LocalProtocolError"),
        words=w.BAD_HEADER,
    ),
    Rule("auth", "The key holds characters that no header may hold", when=_ascii_only),
    Rule("auth", "The same, in the words of aiohttp", types=("ValueError",), words=w.CONTROL_IN_HEADER),
    Rule("bad_url", "No usable address", types=_BAD_URLS),
    Rule("bad_url", "No usable port", types=("OverflowError",), words=w.BAD_PORT),
    Rule("timeout", "Any time-out", types=_TIMEOUTS),
    Rule(
        "tls",
        "The certificate is not trusted",
        types=("ssl.SSLCertVerificationError", "aiohttp.ClientConnectorCertificateError"),
    ),
    Rule("tls", "The handshake failed: a plain port, or no common version", types=_SSL, words=w.TLS),
    Rule("connection_refused", "Nothing listens", types=("ConnectionRefusedError",)),
    Rule("connection_refused", "Nothing listens (ECONNREFUSED)", when=_errno(errno.ECONNREFUSED)),
    Rule("dns", "The name is not found", types=("socket.gaierror", "aiohttp.ClientConnectorDNSError")),
    Rule("connection", "The connection broke", types=_BROKEN),
    Rule(
        "connection",
        "The network or the host is out of reach",
        when=_errno(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT),
    ),
    Rule(
        "bad_http",
        "An answer that breaks the rules of HTTP",
        types=("httpx.RemoteProtocolError", "httpcore.RemoteProtocolError", "h11.RemoteProtocolError"),
        words=w.BAD_HTTP,
    ),
    Rule("bad_http", "The same, by the client's own parser", types=("aiohttp.HttpProcessingError",)),
    Rule("connection", "What a client library calls a connection error", types=_CARRIERS, wrapper=True),
    Rule("server_error", "An error object inside the stream", types=("openai.APIError", errors.StreamError)),
    # 7. The answer makes no sense.
    Rule(
        "malformed",
        "No valid JSON, no valid UTF-8, no valid encoding",
        types=(
            "json.JSONDecodeError",
            "UnicodeDecodeError",
            "httpx.DecodingError",
            "pydantic_core.ValidationError",
        ),
    ),
    Rule(
        "unknown_tool",
        "The agent knows no such tool",
        types=("agents.ModelBehaviorError",),
        words=w.UNKNOWN_TOOL,
    ),
    Rule(
        "empty_answer",
        "The run ended without an answer",
        types=("agents.ModelBehaviorError",),
        words=w.NO_FINAL,
    ),
    Rule("model_behavior", "The agent cannot read the answer", types=("agents.ModelBehaviorError",)),
    Rule("max_turns", "All turns are used", types=("agents.MaxTurnsExceeded",)),
    Rule("content_filter", "A guardrail or the model itself refused", types=_TRIPWIRES),
    Rule(
        "mcp",
        "What the agent library says of an MCP server",
        types=("agents.UserError",),
        words=w.MCP_SERVER,
        wrapper=True,
    ),
    Rule("bad_messages", "The agent cannot make a request of the chat's messages", when=lambda f: f.of_messages),
    Rule("user_error", "The agent is set up wrongly", types=("agents.UserError",)),
    Rule("model_behavior", "The answer hit the model's own limit", types=("openai.LengthFinishReasonError",)),
    Rule(
        "mcp",
        "An MCP server reports an error",
        types=("mcp.McpError", "mcp.MCPError", "agents.MCPToolCancellationError"),
    ),
)

FALLBACK: Final[tuple[Rule, ...]] = (
    Rule("model_behavior", "Any other error of the agent library", types=("agents.AgentsException",)),
    Rule(
        "internal",
        "A fault in code",
        types=(
            "ArithmeticError",
            "AssertionError",
            "AttributeError",
            "ImportError",
            "LookupError",
            "NameError",
            "NotImplementedError",
            "OSError",
            "StopAsyncIteration",
            "StopIteration",
            "TypeError",
            "ValueError",
        ),
    ),
)
