"""Asks a model server, once at the start, whether it is there and knows the model. A doubt is told, no more:

a local server may be started later, and some servers answer to models that they do not list.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from ..hosts import is_loopback
from .options import ModelServer

_LIMIT: Final = 3.0
_LONGEST: Final = 2_000_000
_SHOWN: Final = 5


async def doubt(endpoint: ModelServer, *, limit: float = _LIMIT) -> str | None:
    """What seems wrong with `endpoint`, in one line, or None. Waits `limit` seconds at most.

    The key goes to this server only: redirects are not followed. A cancel closes the connection.
    """
    host = urlsplit(endpoint.base_url)
    try:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=limit), trust_env=not is_loopback(host.hostname or "")
        ) as session:
            headers = {"Authorization": f"Bearer {endpoint.api_key}"}
            url = f"{endpoint.base_url}/models"
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status in (401, 403):
                    return f"{host.netloc} refuses the key (HTTP {response.status}); see --api-key-env"
                names = _names(await response.content.read(_LONGEST)) if response.status == 200 else set()
    except aiohttp.ClientSSLError:
        return f"{host.netloc} speaks no https, or shows a certificate that is not trusted"
    except (aiohttp.ClientConnectorError, ConnectionError):
        return f"nothing answers at {host.netloc} yet; is the server running?"
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return None  # slow, or no server of this kind: the first chat will tell
    if not names or _known(endpoint.model, names):
        return None
    some = ", ".join(sorted(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{host.netloc} does not list a model {endpoint.model}; it lists {some}"


def _names(body: bytes) -> set[str]:
    try:
        data: Any = json.loads(body)
        return {str(row["id"]) for row in data["data"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        return set()


def _known(model: str, names: Collection[str]) -> bool:
    """Whether one of `names` is meant by `model`: Ollama adds a tag, Google a prefix."""
    return any(model == name or name.startswith(f"{model}:") or name.endswith(f"/{model}") for name in names)
