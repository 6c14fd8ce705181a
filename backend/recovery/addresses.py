"""What is known about base URLs: whose they are, and what a provider's right address looks like."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from ..hosts import bare_host, is_local
from .lazy import LazyPattern

_VERSION: Final = LazyPattern(r"/v\d", re.IGNORECASE)
_CALL: Final = LazyPattern(r"/(?:chat/completions|completions|responses|messages|embeddings)/?$")

# Websites of providers, and the base URL that belongs to each. Matched by the end of the host's name.
_PROVIDERS: Final[tuple[tuple[str, str], ...]] = (
    ("aistudio.google.com", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("generativelanguage.googleapis.com", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("ai.google.dev", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("gemini.google.com", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("accounts.google.com", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("chatgpt.com", "https://api.openai.com/v1"),
    ("openai.com", "https://api.openai.com/v1"),
    ("claude.ai", "https://api.anthropic.com/v1"),
    ("anthropic.com", "https://api.anthropic.com/v1"),
    ("claude.com", "https://api.anthropic.com/v1"),
    ("openrouter.ai", "https://openrouter.ai/api/v1"),
    ("groq.com", "https://api.groq.com/openai/v1"),
    ("deepseek.com", "https://api.deepseek.com/v1"),
    ("mistral.ai", "https://api.mistral.ai/v1"),
    ("x.ai", "https://api.x.ai/v1"),
    ("together.ai", "https://api.together.xyz/v1"),
    ("together.xyz", "https://api.together.xyz/v1"),
    ("siliconflow.cn", "https://api.siliconflow.cn/v1"),
    ("siliconflow.com", "https://api.siliconflow.com/v1"),
    ("bigmodel.cn", "https://open.bigmodel.cn/api/paas/v4"),
    ("z.ai", "https://api.z.ai/api/paas/v4"),
    ("moonshot.cn", "https://api.moonshot.cn/v1"),
    ("moonshot.ai", "https://api.moonshot.ai/v1"),
    ("dashscope-intl.aliyuncs.com", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    ("aliyuncs.com", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    ("aliyun.com", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    ("volces.com", "https://ark.cn-beijing.volces.com/api/v3"),
    ("volcengine.com", "https://ark.cn-beijing.volces.com/api/v3"),
)
# Hosts whose error numbers are known, by the end of the host's name.
_NUMBERED: Final[tuple[tuple[str, str], ...]] = (
    ("bigmodel.cn", "zhipu"),
    ("z.ai", "zhipu"),
    ("minimax.chat", "minimax"),
    ("minimaxi.com", "minimax"),
    ("minimax.io", "minimax"),
    ("aliyuncs.com", "dashscope"),
    ("siliconflow.cn", "siliconflow"),
    ("siliconflow.com", "siliconflow"),
    ("moonshot.cn", "moonshot"),
    ("moonshot.ai", "moonshot"),
    ("volces.com", "volcengine"),
    ("baidubce.com", "qianfan"),
    ("mistral.ai", "mistral"),
    ("cloudflare.com", "cloudflare"),
)
_EXAMPLE: Final = "https://api.openai.com/v1"
_EXAMPLE_LOCAL: Final = "http://127.0.0.1:1234/v1"


def clean_url(url: str | None) -> str:
    """The address without credentials, query and fragment, at most 200 characters; "" if it is none."""
    if not url:
        return ""
    whole = url.strip()
    text = whole.partition("?")[0].partition("#")[0]
    scheme, sep, rest = text.partition("://")
    authority, slash, tail = (rest if sep else scheme).partition("/")
    head = authority.rpartition("@")[2]
    if ":" in head and "@" in whole[len(scheme + sep) * bool(sep) + len(authority) :]:
        return ""  # a password with a slash or the like in it: what stands before that is its first half
    return (f"{scheme}{sep}{head}{slash}{tail}" if sep else f"{head}{slash}{tail}")[:200]


def host_of(url: str | None) -> str:
    """Host and port of an address, in small letters; "" if it has none, or none that can be one: in an escape may
    stand the sign behind a password."""
    try:
        parts = urlsplit(clean_url(url))
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if "%" in name and ":" not in name:  # in an IPv6 address it begins the zone
        return ""
    return (f"[{name}]" if ":" in name else name) + (f":{port}" if name and port is not None else "")


def provider_base(host: str | None) -> str | None:
    """The base URL of the provider that this host, or its website, belongs to."""
    name = bare_host(host or "")
    return next((base for end, base in _PROVIDERS if name == end or name.endswith("." + end)), None)


def provider_of(host: str | None) -> str:
    """Whose numbers the error codes of this host are; "" if they mean nothing to us."""
    name = bare_host(host or "")
    return next((whose for end, whose in _NUMBERED if name == end or name.endswith("." + end)), "")


def base_of(called: str | None) -> str:
    """The base URL of a called address: without `/chat/completions` and the like."""
    return _CALL.sub("", clean_url(called)).rstrip("/")


def with_version(base: str | None) -> str:
    """The base URL to try instead of one that lacks its version."""
    clean = base_of(base)
    known = provider_base(host_of(clean))
    if known is not None:
        return known
    if _VERSION.search(clean):
        return clean
    return re.sub(r"/api$", "", clean) + "/v1" if clean else _EXAMPLE


def example(host: str | None) -> str:
    """A right base URL to show: the provider's own, a local one for local hosts, else OpenAI's."""
    if host and is_local(host):
        return f"http://{host}/v1" if ":" in host else _EXAMPLE_LOCAL
    return provider_base(host) or _EXAMPLE
