"""When to come back, in every way in which servers tell it: headers, fields of the body, words."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

from typing import Any, Final

import pytest

from backend.recovery.advice import explain
from tests.support.refusals import ZHIPU, said, told

HOURS: Final = 3_600.0


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, said("slow"), 7.0),
        ({"retry-after": "1m30s"}, said("slow"), 90.0),
        ({"retry-after-ms": "2500"}, said("slow"), 2.5),
        ({"x-ratelimit-reset-requests": "6s"}, said("slow"), 6.0),
        ({"x-ratelimit-reset-requests": "9m", "x-ratelimit-remaining-requests": "12", "x-ratelimit-reset-tokens": "1m2s", "x-ratelimit-remaining-tokens": "0"}, said("slow"), 62.0),
        ({"x-ratelimit-reset": "1767225630"}, said("slow"), 30.0),
        ({"x-ratelimit-reset": "1767225645000"}, said("slow"), 45.0),
        ({"anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:20Z"}, said("slow"), 20.0),
        ({"ratelimit-reset": "11"}, said("slow"), 11.0),
        ({}, {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 529498}}, 529498.0),
        ({}, {"error": {"message": "slow", "metadata": {"headers": {"X-RateLimit-Reset": "1767225660000"}}}}, 60.0),
        ({}, {"error": {"message": "slow", "details": [{"@type": "RetryInfo", "retryDelay": "41s"}]}}, 41.0),
        ({}, said("Rate limit reached. Please try again in 20m30s."), 1230.0),
        ({}, said("Rate limit reached. Please try again in 1 hour and 5 minutes."), 3900.0),
        ({}, said("Usage limit reached for 5 hour. Your limit will reset at 2026-01-01 02:00:00"), 2 * HOURS),
        ({}, said("Limit reached, available again on Jan 3, 2026"), 48 * HOURS),
        ({}, said("限流，请在 20 秒后重试"), 20.0),
        ({}, said("You have hit your limit. It resets in 3 days."), 72 * HOURS),
    ],
)  # fmt: skip
def test_told_times_are_read_wherever_they_stand(headers: dict[str, str], body: Any, seconds: float) -> None:
    """In headers of every spelling, in fields of the body, in the words; as a span, an epoch or a date."""
    cause = told(429, body, headers=headers)

    assert "rate_limited" == cause.kind
    assert pytest.approx(seconds) == cause.retry_after


def test_dates_of_chinese_providers_are_in_their_own_zone() -> None:
    """A date without a zone is Beijing's there, and UTC elsewhere."""
    body = said("Usage limit reached for 5 hour. Your limit will reset at 2026-01-01 10:00:00", "1308")

    assert (2 * HOURS, 10 * HOURS) == (told(429, body, base=ZHIPU).retry_after, told(429, body).retry_after)


def test_the_server_s_own_clock_decides() -> None:
    """A computer whose clock is wrong by years still waits as long as the server means."""
    headers = {"date": "Tue, 25 Aug 2026 07:41:00 GMT"}

    assert 44.0 == told(429, said("It will reset at 2026-08-25 07:41:44 UTC"), headers=headers).retry_after


def test_a_date_that_has_passed_is_told_and_not_waited_for() -> None:
    """Nobody knows what the clocks are about; asking again and again would not help."""
    cause = told(429, said("Usage limit reached for 5 hour. Your limit will reset at 2025-08-25 07:41:44"))

    assert ("rate_limited", False, None) == (cause.kind, cause.retryable, cause.retry_after)
    assert "2025-08-25 07:41:44" in explain(cause)
    assert "a minute" not in explain(cause)


def test_headers_of_limits_count_only_where_a_limit_was_hit() -> None:
    """They come with every answer; credit that is used up does not come back in six seconds."""
    headers = {"x-ratelimit-reset-requests": "6s"}

    assert told(429, said("You exceeded your current quota", "insufficient_quota"), headers=headers).retry_after is None
    assert told(503, said("Overloaded"), headers=headers).retry_after is None


@pytest.mark.parametrize(
    ("status", "body", "headers", "seconds"),
    [
        (402, said("Your in-flight requests use up the budget of this key."), {"retry-after": "5"}, 5.0),
        (429, {"message": "API rate limit exceeded"}, {"ratelimit-reset": "30", "ratelimit-remaining": "0"}, 30.0),
        (429, {"message": "slow"}, {"ratelimit": "limit=100, remaining=0, reset=50"}, 50.0),
        (429, {"message": "slow"}, {"ratelimit": '"default";r=0;t=40'}, 40.0),
        (429, {"message": "slow"}, {"ratelimit": '"minute";r=0;t=20, "day";r=900;t=80000'}, 20.0),
        (429, {"message": "slow"}, {"x-ratelimit-timeremaining": "9"}, 9.0),
        (429, {"message": "slow"}, {"retry-after": "00:01:30"}, 90.0),
        (429, said("All accounts are currently limited. Please wait 84152s."), {}, 84152.0),
        (429, said("Please wait for your limit to reset in 3 hours 49 minutes or switch to another model."), {}, 13740.0),
        (429, said("Quota will be replenished in 05:23:11."), {}, 19391.0),
        (429, said("Limit type: tokens. Remaining: 0. Limit resets at: 2026-01-01 00:00:40 UTC"), {}, 40.0),
        (429, said("No deployments available for selected model, Try again in 5 seconds."), {}, 5.0),
        (429, said("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 42345 seconds before retrying."), {}, 42345.0),
    ],
)  # fmt: skip
def test_when_to_come_back(status: int, body: Any, headers: dict[str, str], seconds: float) -> None:
    """However a server tells it: in one header or in several, as hours and minutes, or in words."""
    cause = told(status, body, headers=headers)

    assert "rate_limited" == cause.kind
    assert pytest.approx(seconds) == cause.retry_after


def test_of_several_limits_the_one_that_is_nearly_used_up_counts() -> None:
    """The tokens of a minute are refused long before none of them is left; the day's requests are not the reason."""
    headers = {
        "x-ratelimit-limit-requests-day": "14400", "x-ratelimit-remaining-requests-day": "14391",
        "x-ratelimit-reset-requests-day": "33011.38", "x-ratelimit-limit-tokens-minute": "60000",
        "x-ratelimit-remaining-tokens-minute": "120", "x-ratelimit-reset-tokens-minute": "11.38",
    }  # fmt: skip

    assert 11.38 == told(429, said("Tokens per minute limit exceeded"), headers=headers).retry_after
