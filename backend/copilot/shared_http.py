"""One HTTP client for all model calls of a process, on its event loop.

openai makes an HTTP client for each of its own: a TLS context (40 ms of a standing event loop), a connection pool
and half a megabyte for every chat. Here one client is made, its certificates read in a thread, and every chat's
calls go through it. Keys are in each request's own headers, and cookies are not kept, so nothing of one chat
reaches another. Closing an answer closes its connection alone.

The client is openai's own kind, with openai's defaults, so proxies and certificates from the environment,
redirects, time-outs and error classes are what they are without us. Below it aiohttp carries the bytes, which
takes a fraction of the time; where it cannot (a SOCKS or TLS proxy), the client's own transport does.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import ssl
import sys
import weakref
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, Literal, NoReturn

import aiohttp
from yarl import URL

from ..aio import fail_open
from ..error_handling import secret_name

log = logging.getLogger("copilot_pulse.http_client")

Kind = Literal["aiohttp", "httpx", "own"]
# Servers close a connection that has been idle for 5 s (Node and uvicorn do), and a request that is sent at that
# very moment is lost; so a connection is not used again by then.
KEEP_IDLE: Final = 3.0
_LONGEST_HEADER: Final = 65_536
_READ_BUFFER: Final = 2**16
# httpx has put these into the request already, or left them out on purpose.
_NOT_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class SharedHttp:
    """Makes the client when it is first needed and keeps it. For one event loop's thread.

    `prepare()` first, then `share()` gives it to anybody on that loop. `aclose()` at the end; it may be prepared
    again after that.
    """

    def __init__(self, kind: Kind = "aiohttp", *, trust_env: bool = True) -> None:
        """`trust_env`: whether proxies are taken from the environment."""
        self.kind = kind
        self._trust_env = trust_env
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._making: asyncio.Task[None] | None = None
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()

    @fail_open("the shared HTTP client")
    def share(self, user: Any) -> Any:
        """The client, for `user` until it leaves; None if there is none for the running loop. Any thread may ask."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a thread without a loop
            return None
        if self._client is None or self._client.is_closed or loop is not self._loop:
            return None
        self._users.add(user)
        return self._client

    @fail_open("the shared HTTP client")
    async def leave(self, user: Any) -> None:
        """`user` is done. The last one to leave closes the connections that are idle; others' are not touched."""
        self._users.discard(user)
        if self._client is None or self._users:
            return
        for transport in {self._client._transport, *self._client._mounts.values()} - {None}:
            await transport.aclose()  # it opens again with the next request

    @fail_open("the shared HTTP client")
    async def prepare(self) -> None:
        """Make the client, if there is none. Waits some 100 ms the first time; the loop goes on meanwhile.

        Never raises: without a client each chat makes its own, as without us. A cancel leaves the making to itself.
        """
        if self.kind == "own" or self._client is not None or "openai" not in sys.modules:
            return
        if self._making is None:
            self._making = asyncio.get_running_loop().create_task(self._make(), name="copilot-pulse HTTP client")
        await asyncio.wait({self._making})

    async def _make(self) -> None:
        try:
            openai = sys.modules["openai"]
            base = openai.DefaultAsyncHttpxClient
            library = sys.modules[base.__mro__[1].__module__.partition(".")[0]]
            context = await asyncio.to_thread(_read_ahead, library)
            kind = _over_aiohttp(base, library) if self.kind == "aiohttp" else _over_httpx(base, library)
            jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
            self._client = kind(verify=context, trust_env=self._trust_env, cookies=jar)
            self._loop = asyncio.get_running_loop()
        except Exception as error:
            log.warning("chats keep an HTTP client each: %s: %s", type(error).__name__, error)
            self.kind = "own"
        finally:
            self._making = None

    async def aclose(self) -> None:
        """Close the client and its connections; calls that still run break. Idempotent."""
        if self._making is not None:
            await asyncio.wait({self._making})
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _read_ahead(library: Any) -> Any:
    """Read the certificates, and do what the libraries leave to their first answer: imports, models of events, tracing.

    Each of these takes about 20 ms; for a thread.
    """
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("openai.resources.chat.chat")
        types = importlib.import_module("openai.types.responses")
        for name in ("Response", "ResponseCreatedEvent", "ResponseCompletedEvent"):
            getattr(types, name).model_rebuild()
        if tracing := sys.modules.get("agents.tracing"):
            tracing.get_trace_provider()
    return library.create_ssl_context(trust_env=True)


def _over_httpx(base: Any, library: Any) -> Any:
    """The httpx client class `base`, which tells a proxy that is not there as such, and keeps keys at their server.
    `library` is its httpx.

    Overrides two private methods that every httpx since 0.20 has. Should a later one not call them, it is as without
    us.
    """

    class OverHttpx(base):  # type: ignore[misc]
        def _init_proxy_transport(self, proxy: Any, *args: Any, **options: Any) -> Any:
            return _through_proxy(library, super()._init_proxy_transport(proxy, *args, **options), proxy)

        def _redirect_headers(self, request: Any, url: Any, method: str) -> Any:
            headers = super()._redirect_headers(request, url, method)
            _keep_keys(headers, request.url, url)
            return headers

    return OverHttpx


@fail_open("the keeping of keys from a server that a redirect leads to")
def _keep_keys(headers: Any, asked: Any, url: Any) -> None:
    """Send a key to nobody but the server that was asked: httpx keeps `Authorization` back, and no `api-key`."""
    here, there = ((one.scheme, one.host, one.port) for one in (asked, url))
    if there in (here, ("https", asked.host, None)) and (here[2] is None or there == here):
        return  # the same server, or the same name with encryption
    for name in [name for name in headers if secret_name(name)]:
        del headers[name]


def _over_aiohttp(base: Any, library: Any) -> Any:
    """The httpx client class `base`, carried by aiohttp. `library` is its httpx, whatever it calls itself.

    Overrides two private methods that every httpx since 0.20 has. Should a later one not call them, its own
    transport carries.
    """

    class OverAiohttp(_over_httpx(base, library)):  # type: ignore[misc]
        def _init_transport(self, *args: Any, transport: Any = None, **options: Any) -> Any:
            if transport is not None:
                return transport
            return _transport(library, options["verify"], options["limits"])

        def _init_proxy_transport(self, proxy: Any, *args: Any, **options: Any) -> Any:
            if proxy.url.scheme != "http":
                return super()._init_proxy_transport(proxy, *args, **options)
            return _transport(library, options["verify"], options["limits"], proxy)

    return OverAiohttp


def _through_proxy(library: Any, transport: Any, proxy: Any) -> Any:
    """`transport`, httpx's own, which connects to `proxy` alone: if it cannot, that is not the base URL's host."""

    class ThroughProxy(library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            try:
                return await transport.handle_async_request(request)
            except library.ConnectError as error:
                if _is_tls(error):  # of the proxy, or of the host behind it
                    raise
                _tell_proxy_is_away(library, proxy)

        async def aclose(self) -> None:
            await transport.aclose()

    return ThroughProxy()


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _tell_proxy_is_away(library: Any, proxy: Any) -> NoReturn:
    port = proxy.url.port or {"http": 80, "https": 443}.get(proxy.url.scheme, 1080)
    words = f"The proxy at {proxy.url.host}:{port} cannot be reached: see HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."
    # Not from the error of the connection: who is refused or has no such name would be taken for the base URL's host.
    raise library.ProxyError(words) from ConnectionError(words)


def _transport(library: Any, context: Any, limits: Any, proxy: Any = None) -> Any:
    """An httpx transport that sends its requests with aiohttp, through `proxy` if there is one."""
    proxy_usable = proxy is None or _is_address(str(proxy.url))

    class AiohttpTransport(library.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self) -> None:
            # aiohttp wants its session made on the loop, and no earlier.
            self._session: aiohttp.ClientSession | None = None

        async def handle_async_request(self, request: Any) -> Any:
            if request.url.scheme not in ("http", "https"):
                raise library.UnsupportedProtocol("Request URL is missing an 'http://' or 'https://' protocol.")
            if not proxy_usable:
                raise library.ProxyError(
                    "The address of the proxy cannot be used: see HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."
                )
            if self._session is None:
                self._session = _session(context, limits)
            with _httpx_errors(library, proxy), _no_address(library):
                answer = await self._session.request(**_arguments(request, proxy))
            return library.Response(
                answer.status,
                headers=answer.raw_headers,
                stream=AnswerStream(answer),
                extensions={"http_version": b"HTTP/1.1", "reason_phrase": (answer.reason or "").encode()},
            )

        async def aclose(self) -> None:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    class AnswerStream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, answer: aiohttp.ClientResponse) -> None:
            self._answer = answer

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with _httpx_errors(library):
                async for data in self._answer.content.iter_any():
                    yield data

        async def aclose(self) -> None:
            # If the answer has not been read to its end, closing it closes the connection.
            self._answer.release()

    return AiohttpTransport()


def _session(context: Any, limits: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        ssl=context, limit=limits.max_connections or 0, keepalive_timeout=min(limits.keepalive_expiry or 0, KEEP_IDLE)
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_ADDED,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        read_bufsize=_READ_BUFFER,
    )


def _arguments(request: Any, proxy: Any) -> dict[str, Any]:
    """An httpx request in aiohttp's words."""
    url = request.url.copy_with(userinfo=b"") if request.url.userinfo else request.url  # httpx has made a header of it
    timeout = request.extensions.get("timeout", {})
    try:
        data = request.content or None
    except Exception:  # httpx's RequestNotRead: the body comes in pieces
        data = request.stream
    headers = request.headers.multi_items()
    if data is not None and not isinstance(data, bytes):
        headers = [pair for pair in headers if pair[0].lower() != "transfer-encoding"]  # aiohttp adds it
    arguments: dict[str, Any] = {
        "method": request.method,
        "url": URL(str(url), encoded=True),
        "headers": headers,
        "data": data,
        "allow_redirects": False,
        "timeout": aiohttp.ClientTimeout(
            total=None,
            connect=timeout.get("pool"),
            sock_connect=timeout.get("connect"),
            sock_read=timeout.get("read"),
        ),
        "server_hostname": request.extensions.get("sni_hostname"),
    }
    if proxy is not None:
        told = proxy.headers.multi_items()
        if proxy.raw_auth:
            told.append(("Proxy-Authorization", "Basic " + b64encode(b":".join(proxy.raw_auth)).decode()))
        arguments["proxy"] = str(proxy.url)
        # Through a tunnel the proxy sees the request for the tunnel alone.
        if request.url.scheme == "https":
            arguments["proxy_headers"] = told
        else:
            arguments["headers"] = headers + told
    return arguments


# aiohttp's error, and httpx's name for it; the first that fits counts.
_ERRORS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiohttp.ConnectionTimeoutError, "ConnectTimeout"),
    (aiohttp.ServerTimeoutError, "ReadTimeout"),
    (asyncio.TimeoutError, "PoolTimeout"),
    (aiohttp.ClientHttpProxyError, "ProxyError"),
    (aiohttp.ClientProxyConnectionError, "ProxyError"),
    (aiohttp.ClientConnectorError, "ConnectError"),
    (aiohttp.InvalidURL, "UnsupportedProtocol"),
    (aiohttp.ServerDisconnectedError, "RemoteProtocolError"),
    (aiohttp.ClientResponseError, "RemoteProtocolError"),
    (aiohttp.ClientOSError, "ReadError"),
    (ConnectionError, "ReadError"),
    (aiohttp.ClientPayloadError, "RemoteProtocolError"),
    (aiohttp.ClientError, "ReadError"),
)
# With a proxy, both are of the proxy: it alone is connected to, and looked up by its name.
_NOT_REACHED: Final = (aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorDNSError)


def _is_address(url: str) -> bool:
    """Whether yarl and the look-up of names can read this; of a host that is not there they can."""
    try:
        read = URL(url)
        return bool((read.raw_host or "").encode("idna")) and (read.port or 0) <= 65_535
    except ValueError:
        return False


@contextlib.contextmanager
def _no_address(library: Any) -> Iterator[None]:
    """What aiohttp, yarl or the look-up of a name cannot read as an address, httpx's URLs may hold: `http://a..b`."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, aiohttp.ClientError) or "header" in str(error).lower():
            raise
        raise library.UnsupportedProtocol(str(error)) from error


@contextlib.contextmanager
def _httpx_errors(library: Any, proxy: Any = None) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError) as error:
        if proxy is not None and isinstance(error, _NOT_REACHED):
            _tell_proxy_is_away(library, proxy)
        cause: BaseException = error
        if isinstance(error, aiohttp.ClientPayloadError) and isinstance(error.__cause__, ConnectionError):
            cause = error.__cause__
        name = next(name for kind, name in _ERRORS if isinstance(cause, kind))
        raise getattr(library, name)(str(error) or type(error).__name__) from error
