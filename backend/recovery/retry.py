"""How often and how long to wait before a broken call is made again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple, Protocol


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


class RetryPolicy(NamedTuple):
    """Exponential back-off with jitter: wait k is random between a half of `min(cap, base * 2**(k-1))` seconds and
    all of it.

    A wait that the server names is waited out in full, plus up to a hundredth of jitter, however long `cap` is.
    `budget` bounds all waits of one call together, in seconds: a wait that the server names and that does not fit
    ends the retries at once; any other is cut to what is left. `rng` returns floats in [0, 1).
    """

    max_retries: int = 3
    base: float = 0.5
    cap: float = 10.0
    budget: float = 30.0
    rng: Callable[[], float] = random.random

    @classmethod
    def of(cls, settings: RetrySettings, rng: Callable[[], float] = random.random) -> RetryPolicy:
        """The policy that the settings ask for."""
        return cls(settings.max_retries, settings.retry_base, settings.retry_max, settings.retry_budget, rng)

    def next_delay(
        self, attempt: int, waited: float = 0.0, retry_after: float | None = None, *, patient: bool = False
    ) -> float | None:
        """Seconds to wait before retry number `attempt` (the first is 1), or None: give up.

        `waited` is the sum of the waits so far. A `patient` wait is for what takes its time to heal, such as a model
        that is being loaded: all the retries together spread over the whole budget.
        """
        left = self.budget - waited
        if attempt < 1 or attempt > self.max_retries or left < 0 or (left == 0 and waited > 0):
            return None
        jitter = self.rng()
        # 2**60 overflows nothing and is beyond every cap.
        wait = min(self.cap, self.base * 2.0 ** min(attempt - 1, 60)) * (0.5 + 0.5 * jitter)
        if retry_after is not None:
            if not retry_after <= left:  # also a NaN
                return None
            # The jitter keeps chats that were refused at one moment from coming back at one moment.
            told = max(retry_after * (1.0 + 0.01 * jitter), min(wait, self.base))
            # A server that names the same short time twice was wrong about it.
            wait = max(told, wait) if attempt > 1 else told
        elif patient:
            wait = max(wait, self._share(attempt) * (0.9 + 0.1 * jitter))
        return min(wait, left)

    def _share(self, attempt: int) -> float:
        """The part of the budget that belongs to one retry: a sixth, a third and a half of it for three of them."""
        return self.budget * attempt / (self.max_retries * (self.max_retries + 1) / 2)
