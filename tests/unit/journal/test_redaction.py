"""Data without secrets, with a memory of what was looked at."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backend.error_handling import Redactor, secret_name
from backend.journal.redaction import DataRedactor, Redaction
from backend.recovery.redact import redact_value

KEY = "sk-proj-A1b2C3d4E5f6G7h8I9j0"
NAMES = ["api_key", "apiKey", "authorization", "token", "max_tokens", "model", "message", "x", KEY]
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30).filter(lambda text: text.isprintable())
    | st.sampled_from([KEY, f"Authorization: Bearer {KEY}", "https://me:pw@host/v1", "no secret"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), PLAIN, max_size=5))
def test_data_redactor_gives_what_the_full_redaction_gives(data: dict[str, Any]) -> None:
    """The memory of strings makes it quick and changes nothing: also not the second time."""
    redactor = DataRedactor(Redaction(Redactor().redact, secret_name))

    assert redactor.data(data) == redact_value(data)
    assert redactor.data(data) == redact_value(data)


def test_new_secret_is_taken_out_of_what_was_remembered_before() -> None:
    """A key that comes with a later request must not live on in the memory of strings."""
    known = Redactor()
    versions = iter([0, 1])
    redactor = DataRedactor(Redaction(known.redact, secret_name, lambda: next(versions)))
    assert redactor.data({"host": "my-private-value"}) == {"host": "my-private-value"}

    known.add("my-private-value")
    redactor.refresh()

    assert redactor.data({"host": "my-private-value"}) == {"host": "[redacted]"}
