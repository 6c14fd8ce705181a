"""How often and how long to wait before a broken call is made again, and `retry()` that does it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from .classify import Classification

T = TypeVar("T")


class RetrySettings(Protocol):
    """The settings that a policy is made of; `backend.settings.Settings` has them."""

    @property
    def max_retries(self) -> int: ...
    @property
    def retry_base(self) -> float: ...
    @property
    def retry_max(self) -> float: ...
    @property
    def retry_budget(self) -> float: ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter: wait k is random between 0 and `min(cap, base * 2**(k-1))`
    seconds.

    A server's Retry-After is waited out in full, plus up to a hundredth of jitter, however long `cap` is.
    `budget` bounds all waits of one call together, in seconds: a wait that the server asks for and that
    does not fit ends the retries at once; a random wait is cut to what is left. `rng` returns floats in [0,
    1).
    """

    max_retries: int = 3
    base: float = 0.5
    cap: float = 10.0
    budget: float = 30.0
    rng: Callable[[], float] = field(default=random.random, compare=False)

    @classmethod
    def of(cls, settings: RetrySettings, rng: Callable[[], float] = random.random) -> RetryPolicy:
        """The policy that the settings ask for."""
        return cls(settings.max_retries, settings.retry_base, settings.retry_max, settings.retry_budget, rng)

    def next_delay(self, attempt: int, waited: float = 0.0, retry_after: float | None = None) -> float | None:
        """Seconds to wait before retry number `attempt` (the first is 1), or None: give up.

        `waited` is the sum of the waits so far.
        """
        left = self.budget - waited
        if attempt < 1 or attempt > self.max_retries or left < 0 or (left == 0 and waited > 0):
            return None
        # 2**60 overflows nothing and is beyond every cap.
        random_wait = self.rng() * min(self.cap, self.base * 2.0 ** min(attempt - 1, 60))
        if retry_after is None:
            return min(random_wait, left)
        if not retry_after <= left:  # also a NaN
            return None
        # The jitter keeps the chats that were refused together from coming back together.
        return min(max(retry_after * (1.0 + 0.01 * self.rng()), min(random_wait, self.base)), left)


class RetryInfo(NamedTuple):
    """What `on_retry` is told, before the wait: retry `attempt` (from 1) comes after `wait` seconds.

    `waited` is the sum of the waits before, `elapsed` the time since the first call began.
    """

    attempt: int
    wait: float
    waited: float
    elapsed: float
    error: BaseException
    classification: Classification


async def retry(
    fn: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    classify: Callable[[BaseException], Classification],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    on_retry: Callable[[RetryInfo], object] | None = None,
) -> T:
    """Await `fn()`, again after each failure that is retryable, and return what it returns.

    The last exception is let through as it is. Only for calls that may be made twice: never for an agent's
    run, whose tools would run twice. A cancel, in the call or in the wait, ends it at once; nothing is left
    behind. `on_retry` is called before each wait; an exception of its own ends the retries.
    """
    began = clock()
    waited = 0.0
    attempt = 0
    while True:
        try:
            return await fn()
        except Exception as error:
            attempt += 1
            verdict = classify(error)
            wait = policy.next_delay(attempt, waited, verdict.retry_after) if verdict.retryable else None
            if wait is None:
                raise
            if on_retry is not None:
                on_retry(RetryInfo(attempt, wait, waited, clock() - began, error, verdict))
        # Outside the handler, so that the failed call's frames are not kept alive by the wait.
        await sleep(wait)
        waited += wait
