"""What a text says behind its escapes, and where."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.recovery.escapes import Unescaped

plain = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="\\%&"), min_size=1)


@pytest.mark.parametrize(
    ("given_text", "said"),
    [
        (r"a\/b", "a/b"),
        (r"a\\\/b", "a/b"),
        (r"a\u002Bb\u002fc\/d", "a+b/c/d"),
        (r"a\\u002Bb \\\\u{2b}c \u{00002B}d", "a+b +c +d"),
        (r"\x41\\x42\103", "ABC"),
        (r"a\nb\\tc", "a\nb\tc"),
        (r"\"a\" \'b\' c\d", "\"a\" 'b' c\\d"),
        ("%41%2542%25252B%D0%BF", "AB+п"),
        ("&#0115;&#x0073;&#X73;&amp;#115;&sol;&amp;plus;&lt;", "ssss/+<"),
        ("%5Cu0041 &#92;/ &amp;amp;lt;", "A / <"),
        ("100 % of R&D; &nosuch; &#1114112; \\", "100 % of R&D; &nosuch; &#1114112; \\"),
    ],
)
def test_each_escape_is_read(given_text: str, said: str) -> None:
    """Also what was quoted again, in the same way or in another."""
    assert said == Unescaped(given_text).text


@given(plain, plain, plain, st.sampled_from([html.escape, json.dumps, lambda text: quote(text, safe="")]))
def test_a_stretch_is_where_it_stands(before: str, within: str, after: str, form: Callable[[str], str]) -> None:
    """What is taken out is the escape as it was written, and no letter beside it."""
    inner = form(within)[1:-1] if form is json.dumps else form(within)
    for outer in (inner, inner.replace("\\", "\\\\").replace("%", "%25").replace("&", "&amp;")):
        read = Unescaped(f"{before}|{outer}|{after}")
        start = len(before) + 1

        assert within == read.text[start : start + len(within)]
        assert (start, start + len(outer)) == read.span(start, start + len(within))


HOSTILE = [
    *("\\", "%25", "%", "&amp;", "amp;&", "&#0", "&#x0", "&a", "\\u", "\\u{0", "\\x", "%41", "&#65;", '\\"'),
    "&" + "a" * 29,
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_the_length_only(unit: str) -> None:
    """Half a megabyte of what an escape begins with; a quadratic reading would run into the suite's time limit."""
    read = Unescaped(unit * (500_000 // len(unit)))

    assert read.span(len(read.text) - 1, len(read.text))
