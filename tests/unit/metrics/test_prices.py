"""Prices: what a user writes, which model it fits, and what comes of it."""

from __future__ import annotations

import pytest

from backend.metrics.prices import Prices, is_free, parse_prices

TEXT = "gpt-4.1* = $2.00 / $8.00 / $0.50; deepseek-* = 0.27 / 1.10\nopenai/* = $1/$2"
API = "api.example.com"


def test_the_first_entry_that_fits_counts() -> None:
    """Per million tokens, in and out; what the cache brought has its own price, or that of the rest."""
    prices = parse_prices(TEXT)
    row = {"host": API, "input": 1_000_000, "output": 500_000, "cached": 400_000}

    assert ("$", ()) == (prices.sign, prices.problems)
    assert 0.6 * 2 + 0.4 * 0.5 + 4 == pytest.approx(prices.cost({**row, "model": "GPT-4.1-mini"}))
    assert 0.27 + 0.55 == pytest.approx(prices.cost({**row, "model": "deepseek-chat"}))
    assert 2 == pytest.approx(prices.cost({**row, "model": "openai/o4"}))
    assert prices.cost({**row, "model": "llama"}) is None


def test_what_is_estimated_costs_as_well() -> None:
    """A server that tells nothing wants its money all the same."""
    row = {"model": "deepseek-chat", "host": API, "estimated_input": 1_000_000, "estimated": 1_000_000, "input": None}

    assert 1.37 == pytest.approx(parse_prices(TEXT).cost(row))


def test_a_local_server_costs_nothing() -> None:
    """Whatever stands in the prices."""
    assert 0 == parse_prices("* = 5 / 5").cost({"model": "x", "host": "127.0.0.1:8080", "output": 10})
    assert 0 == Prices().cost({"model": "x", "host": "localhost:11434"})


@pytest.mark.parametrize("host", ["unknown", "other", "invalid URL", ""])
def test_what_names_no_host_is_not_free(host: str) -> None:
    """A label that stands for several hosts, or for none, has the price of its model."""
    assert not is_free(host)
    assert 5 == parse_prices("* = 5 / 5").cost({"model": "x", "host": host, "output": 1_000_000})


@pytest.mark.parametrize(
    "bad",
    [
        "gpt-4 = cheap", "gpt-4 = 1", "gpt-4 1 / 2", "= 1 / 2", "x = 1 / 2 / 3 / 4", "x = -1 / 2", "x = 1 / nan",
        "x = 1 /",
    ],
)  # fmt: skip
def test_a_bad_entry_is_named_and_takes_nothing_with_it(bad: str) -> None:
    """The others hold."""
    prices = parse_prices(f"a = 1 / 2; {bad}\nb = 3 / 4")

    assert ["a", "b"] == [row.pattern for row in prices.rows]
    (problem,) = prices.problems
    assert problem.startswith(f'"{bad}" is no price: ')


def test_empty_entries_and_remarks_are_none() -> None:
    """A list that ends with a semicolon, lines that are left empty, a remark."""
    assert (1, ()) == (len(parse_prices("a = 1 / 2;\n\n# mine\n;").rows), parse_prices("a = 1 / 2;").problems)
    assert Prices() == parse_prices("")


def test_a_sum_is_known_only_if_all_of_it_is() -> None:
    """Half of a chat's cost is not its cost."""
    prices = parse_prices("a = 1 / 1")
    known, unknown = {"model": "a", "host": API, "output": 2_000_000}, {"model": "b", "host": API, "output": 1}

    assert (2, None, None) == (prices.sum([known]), prices.sum([known, unknown]), prices.sum([]))
