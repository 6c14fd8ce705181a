"""Secrets out of text and data before anything is stored, logged or sent.

Two nets: patterns of what a secret looks like, and a `Redactor` that knows concrete values (the keys that
came with a request). Every pattern starts at a literal and then takes one run of a character class, so the
time grows with the length of the text only. Redacting twice changes nothing; nothing here raises.
"""

from __future__ import annotations

import contextvars
import math
import re
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .escapes import Unescaped
from .lazy import LazyPattern

MARK: Final = "[redacted]"
MAX_SECRETS: Final = 256
PREFIX_LENGTH: Final = 8
MAX_HELD: Final = 1_024
MAX_FOR_GOOD: Final = 10_000  # nothing that a request brings is added to these
_MIN_SECRET: Final = 6
_ECHO_LENGTH: Final = 16
# So many characters of a secret are known in other forms: all of a key, and of what is longer the beginning, on which
# the rest hangs. A stranger may send 8 KB in each header, and each form of it costs twelve times as much.
_MOST_AS_IT_IS: Final = 1_000
_MOST_ENCODED: Final = 200
# Of so many secrets a piece that they share tells; each has others.
_MOST_ALIKE: Final = 8
_PIECE: Final = 8
_SHORTEST_LINE: Final = 4
_LONG_PART: Final = 20
_MAX_DEPTH: Final = 24
_NAME_LENGTH: Final = 200
_MOST_OF_A_NAME: Final = 1_000
_HOST_PORT: Final = LazyPattern(
    r"(?:localhost|[A-Za-z0-9-]{1,60}(?:\.[A-Za-z0-9-]{1,60}){1,8}):\d{1,5}(?:/|$)", re.IGNORECASE
)
_LONG_RUN: Final = LazyPattern(r"\S{16}")
_QUERY_NAMES: Final = frozenset(("key", "sig", "signature", "code", "auth", "sign"))
_AROUND_A_WORD: Final = ".,:;!?()\"'"
_LONGEST_WORD: Final = 40
# A word of a text: one of a language that writes without spaces ends where another begins.
_WORD: Final = LazyPattern("[\u2e80-\uffef]+|[^\\s\u2e80-\uffef]+")
_LETTERS: Final = LazyPattern(r"[A-Za-z0-9]{6,}")
_KIND_CHANGES: Final = LazyPattern(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[a-z0-9])|(?<=[0-9])(?=[A-Za-z])")
_HEX_KEY: Final = LazyPattern(r"\b[0-9A-Fa-f]{4}(?:-?[0-9A-Fa-f]{4}){5,}")
_GAP: Final = LazyPattern(r"\s{1,16}")
_RUN: Final = LazyPattern(r"[A-Za-z0-9_*+/=~-]*")
# What steers a terminal: CSI, strings such as a window's title (OSC), and the choice of a character set.
_TERMINAL: Final = LazyPattern(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[()][0-9A-Za-z]"
)
# What has no looks of its own although Python calls it printable: fillers, blanks, selectors of a variant.
_UNSEEN: Final = LazyPattern(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U00016fe4\U000e0100-\U000e01ef]"
)

# What people type where a local server wants no key: no secrets, and words that our advice needs.
_PLACEHOLDERS: Final = frozenset(
    ("lm-studio", "lmstudio", "ollama", "llama.cpp", "llamacpp", "localhost", "not-needed", "no-key-required")
    + ("sk-no-key-required", "placeholder", "undefined", "openai", "your-api-key", "your_api_key", "api-key")
    + ("api_key", "dummy-key", "fake-key", "bearer", "anything", "changeme")
)

# Names of headers, fields and variables that hold a secret. The first need no boundary before them
# (openaiApiKey, OPENAI_API_KEY); "token" does, and "max_tokens" and "first_token": 0.4 must stay.
_STRONG: Final = (
    r"(?:api|access|auth|secret|private|client|account|subscription)[_ -]?"
    r"(?:api[_ -]?)?(?:key|token|secret)s?"
    r"|(?:session|refresh|bearer|id|csrf|xsrf|hf)[_-]?token"
    r"|authorization|passwords?|passwd|passphrase|credentials?"
)
_WEAK: Final = r"(?<![A-Za-z])(?:token|secret|pwd|cookies?|set-cookie|apikey|authentication)"
_NAME: Final = rf"(?:{_STRONG}|{_WEAK})(?![A-Za-z])"
_SECRET_NAME: Final = LazyPattern(_NAME, re.IGNORECASE)
_KEY_VARIABLE: Final = LazyPattern(r"(?:_|\b|API)(?:KEY|TOKEN|SECRET|PASS(?:WORD|WD)?)S?(?:_?\d{1,3})?$", re.IGNORECASE)
_CAMEL: Final = LazyPattern(r"(?<=[a-z0-9])(?=[A-Z])")

# A field with its value: `"api_key": "..."`, `api-key=...`, `(b'Authorization', b'...')`, and JSON in JSON.
_FIELD: Final = LazyPattern(
    rf"(?P<name>{_NAME})"
    r"(?P<sep>\\{0,3}[\"']?\s{0,8}(?:=>?|:|,\s{0,4}(?=b?[\"']))\s{0,8})"
    r"(?:(?P<open1>b?\\{1,3}[\"'])(?P<escaped>[^\"'\\\r\n]*)"
    r"|(?P<open2>b?(?P<quote>[\"']))(?P<quoted>(?:\\.|(?!(?P=quote))[^\\\r\n])*)"
    r"|(?:(?:Bearer|Basic|Token|Digest)[ \t]{1,8})?(?P<bare>[^\s\"',;&<>{}()\[\]][^\s\"',;&<>{}()]*))",
    re.IGNORECASE,
)
# The rest of a header's line is secret: a scheme with its value, several cookies, parameters.
_HEADER: Final = r"(?P<name>(?:proxy-)?authorization|(?:set-)?cookie)(?P<sep>[ \t]{0,8}:[ \t]{0,8})"
_HEADER_LINE: Final = LazyPattern(rf"(?P<lead>^[ \t<>*]{{0,4}}){_HEADER}[^\s][^\r\n]*", re.IGNORECASE | re.MULTILINE)
_HEADER_INSIDE: Final = LazyPattern(rf"(?P<lead>(?<![A-Za-z])){_HEADER}[^\s\"'][^\r\n\"']*", re.IGNORECASE)
_SCHEME: Final = LazyPattern(
    r"\b(?P<name>Bearer|Basic)(?P<sep>[ \t]{1,8})(?P<value>[A-Za-z0-9._~+/=*-]{6,})", re.IGNORECASE
)
_USERINFO: Final = LazyPattern(r"://[^\s/?#\"'<>\[\]]+@")
_QUERY: Final = LazyPattern(r"(?P<name>[?&](?:key|sig|signature|code|auth|sign)=)[^\s&#\"'<>\[\]]+", re.IGNORECASE)
_PEM: Final = LazyPattern(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)
# Keys that their first characters give away. The run must not look like a hyphenated word (see `_shape`).
_SHAPES: Final = LazyPattern(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|rk|pk|ak)[-_][A-Za-z0-9_*.-]{7,}[A-Za-z0-9_*]"
    r"|(?:gsk|hf|r8|ghp|gho|ghu|ghs|ghr|github_pat|fw|tgp|jina)_[A-Za-z0-9_*]{16,}"
    r"|(?:xai|nvapi|pplx|glpat|tvly|csk)-[A-Za-z0-9_*-]{12,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{8,}"
    r"|AIza[A-Za-z0-9_*-]{16,}|ya29\.[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA|LTAI)[A-Za-z0-9]{12,}"
    r"|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){0,4}"
    r")"
)
_HEX_PAIR: Final = LazyPattern(r"(?<![A-Za-z0-9])[0-9a-f]{32}\.[A-Za-z0-9]{16}(?![A-Za-z0-9])")
# What a text must hold, in lower case or as it is, for the patterns to find anything. One pattern of literals is
# ten times quicker over a short text than a look for each.
_NAME_HINTS: Final = LazyPattern("key|token|secret|auth|pass|pwd|cookie|credential")
_HEADS: Final = (
    (
        "sk-",
        "sk_",
        "rk-",
        "rk_",
        "pk-",
        "pk_",
        "ak-",
        "ak_",
        "gsk_",
        "hf_",
        "r8_",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
    )
    + ("github_pat_", "fw_", "tgp_", "jina_", "xai-", "nvapi-", "pplx-", "glpat-", "tvly-", "csk-", "xox")
    + ("AIza", "ya29.", "AKIA", "ASIA", "LTAI", "eyJ")
)
_SHAPE_HEADS: Final = LazyPattern("|".join(map(re.escape, _HEADS)))


def redact(text: str) -> str:
    """`text` with everything that looks like a secret replaced by `[redacted]`. Any thread; never raises."""
    for _ in range(4):  # one pass nearly always; a replaced piece can bring a name and a value together
        cleaned = _pass(text)
        if cleaned == text:
            break
        text = cleaned
    return text


def redact_value(value: Any) -> Any:
    """A copy of plain data without secrets: strings are redacted, and what a telling name holds is replaced.

    Numbers, booleans and None stay, whatever their name. Other objects become their redacted text.
    """
    return _value(value, redact, 0)


def secret_name(name: str) -> bool:
    """True for a field, header or variable name that holds a secret."""
    return _SECRET_NAME.search(_CAMEL.sub("_", name[:200])) is not None


def one_line(text: str) -> str:
    """`text` in one line, without what cannot be seen: what steers a terminal, turns the direction of writing around,
    or takes no room, so that a key with it in between would not be known."""
    text = " ".join(_TERMINAL.sub("", text).split())
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub("", "".join(filter(str.isprintable, text)))


class _Request(NamedTuple):
    """The request that is handled in a context: whose it is to redact, and the secrets that it brought."""

    redactor: Redactor
    known: _Known


_request: contextvars.ContextVar[_Request | None] = contextvars.ContextVar("copilot_pulse_request", default=None)


class Redactor:
    """`redact()` that also knows concrete secrets, by value and by any prefix of eight characters or more.

    It knows what it is told: headers and an environment are read by `learn_headers()` and `learn_environment()`;
    whoever makes use of a key tells it by `hold()` (docs/architecture.md, "Where is it decided?", has all of them).

    A request's secrets, which are all that is told in the context of its `learn_headers()`, are taken out there,
    whatever they look like, and elsewhere where they look like a key: a header may hold anything, such as the name of
    a model that others use. What is told outside of a request is taken out everywhere.

    The last 256 that requests brought are kept, each for a day after it was last seen. Those that are used (`hold()`)
    are kept apart, the last 1,024, so that nobody's requests push them out, and so are those that are held for good,
    so that nobody's use does. All of it may be called from any thread, waits for nothing and never raises. `version`
    rises when what is known changes: who remembers results of `redact()` asks again then.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, keep: float = 86_400.0) -> None:
        self._clock = clock
        self._keep = keep
        self._ours = _Known()
        self._theirs = _Known()
        self._own: list[Callable[[], Iterable[str]]] = []
        self._own_words: frozenset[str] | None = None
        self._own_wide = ""
        self._lock = threading.Lock()
        self.version = 0

    def __repr__(self) -> str:
        return f"<Redactor {len(self._ours.secrets) + len(self._theirs.secrets)} secrets>"

    def add(self, secret: Any) -> None:
        """Remember a secret value. Placeholders such as "lm-studio", addresses and very short values are none."""
        self._remember(secret, 0, MAX_SECRETS, self._keep)

    def add_url(self, url: Any) -> None:
        """Remember what a base URL holds beside its address: a user with a password, or a key in its place or path.

        People paste what they have; a password may have signs in it at which a URL ends.
        """
        for form in {url, Unescaped(url).text} if isinstance(url, str) else ():
            for part in _parts_of(form):
                self.add(part)

    def hold(self, secret: Any, *, for_good: bool = False) -> None:
        """Remember a secret value that is in use: again with each use, or `for_good` as those of the environment."""
        if for_good:
            self._remember(secret, 2, MAX_FOR_GOOD, math.inf)
        else:
            self._remember(secret, 1, MAX_HELD, self._keep)

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """A request begins in this context: remember the keys that it brings, in headers by the name of a secret and in
        base URLs. What the context of another request was is over."""
        _request.set(_Request(self, _Known()))
        for name, value in headers.items():
            if secret_name(name):
                self.add(value)
            elif name.lower().endswith("base-url"):
                self.add_url(value)

    def learn_environment(self, environ: Mapping[str, str]) -> None:
        """Remember, for good, what the environment's variables by the name of a key hold, the users and passwords of
        addresses, such as a proxy's, and what else a base URL holds; see `add_url()`."""
        for name, value in environ.items():
            for key in {value, *re.split(r"[,;\s]+", value)} if _KEY_VARIABLE.search(name) else ():
                self.hold(key, for_good=True)
            base_url = name.lower().endswith("base_url")
            for part in _parts_of(value) if base_url else _user_of(value) if "://" in value else ():
                self.hold(part, for_good=True)

    def spare(self, words: Callable[[], Iterable[str]]) -> None:
        """Leave these words, each without a space, as they are: the program's own, which are nobody's secret.

        A secret that is one of them, or begins like one, would otherwise tear the program's own sentences and records.
        A word of a language without spaces may be a whole clause, of which each part is left, too. `words` is called
        when it is first needed.
        """
        self._own.append(words)
        self._own_words = None

    def _remember(self, secret: Any, rank: int, most: int, keep: float) -> None:
        if not isinstance(secret, str):
            return
        secret = secret.strip()
        scheme, _, rest = secret.partition(" ")
        if scheme.lower() in ("bearer", "basic") and rest:
            secret = rest.strip()
        if len(secret) < _MIN_SECRET or secret.lower() in _PLACEHOLDERS or MARK in secret:
            return
        # The base URL in the key's field: every address begins like it.
        if "://" in secret or _HOST_PORT.match(secret):
            return
        forms = {secret, Unescaped(secret).text}
        request = None if keep == math.inf else self._request()
        now = self._clock()
        with self._lock:
            if request is not None:
                request.remember(forms, rank, most, now, math.inf)
            known = self._ours if request is None else self._theirs
            self.version += known.remember(forms, rank, most, now, now + keep)

    def _request(self) -> _Known | None:
        request = _request.get()
        return request.known if request is not None and request.redactor is self else None

    def redact(self, text: str) -> str:
        """`text` without the known secrets and without what looks like one."""
        return redact(self._known_out(text))

    def name(self, text: str) -> str:
        """A name that a server, a page or a model gave, fit to be told: one line, 200 characters at most."""
        return self.redact(one_line(text[:_MOST_OF_A_NAME]))[:_NAME_LENGTH]

    def redact_value(self, value: Any) -> Any:
        """As the function of this name, with the known secrets too."""
        return _value(value, self.redact, 0)

    def _known_out(self, text: str) -> str:
        if not (self._ours.secrets or self._theirs.secrets):
            return text
        read = Unescaped(text)
        if read.changed:
            text = _out(text, [read.span(*span) for span in self._found(read.text)])
        return _out(text, self._found(text))  # as it stands: a secret may have in it what looks like an escape

    def _found(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand in a text, in order: from, to. What is found is not looked at again."""

        def counts(start: int, end: int) -> bool:
            return not (self._own and self._is_own(text, start, end))

        def looks(start: int, end: int) -> bool:
            return looks_like_a_key(text[start:end]) and counts(start, end)

        request = self._request()
        spans: list[tuple[int, int]] = []
        for known, tells in ((request, counts), (self._ours, counts), (self._theirs, looks)):
            if known is not None and known.secrets:
                spans += known.find(_covered(text, sorted(spans)), tells)
        return sorted(spans)

    def _is_own(self, text: str, start: int, end: int) -> bool:
        """Whether all that stands there, each word up to its ends, are the program's own words."""
        if self._own_words is None:
            words = frozenset(word.lower() for words in self._own for word in words())
            self._own_wide = "\n".join(word for word in words if not word.isascii())
            self._own_words = words
        first = max(0, start - _LONGEST_WORD)
        for found in _WORD.compiled.finditer(text[first : end + _LONGEST_WORD]):
            here, there = first + found.start(), first + found.end()
            if there <= start or here >= end:
                continue
            word = found[0].strip(_AROUND_A_WORD).lower()
            wide = found[0][:1] >= "\u2e80" and text[max(start, here) : min(end, there)].lower() in self._own_wide
            if not wide and word not in self._own_words:
                return False
        return True


class _Known:
    """Secrets, and where they stand in a text. Remembered under a lock; `find()` may run in other threads meanwhile."""

    def __init__(self) -> None:
        # By how hard they are to push out: brought, in use, for good. Each with the time until which it is kept.
        self._until: tuple[OrderedDict[str, float], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        # Pieces of eight letters -> (secret, form, where in it they are, how much of it counts).
        self._echoes: dict[str, tuple[tuple[str, str, int, int], ...]] = {}
        self.secrets: tuple[str, ...] = ()
        """Longest first, so that a secret that contains another is taken out whole."""

    def remember(self, forms: Iterable[str], rank: int, most: int, now: float, until: float) -> bool:
        """Keep these, at most so many, and forget what is over; whether that changed anything."""
        where = self._until[rank]
        for form in forms:
            where[form] = max(until, where.get(form, 0.0))
            where.move_to_end(form)
        while len(where) > most:
            where.popitem(last=False)
        for kept in self._until:
            for form in [form for form, end in kept.items() if end < now]:
                del kept[form]
        known = {form for kept in self._until for form in kept}
        gone, new = set(self.secrets) - known, known.difference(self.secrets)
        if gone or new:
            self.secrets = tuple(sorted(known, key=len, reverse=True))
            self._index(gone, new)
        return bool(gone or new)

    def _index(self, gone: set[str], new: set[str]) -> None:
        """Forget and learn forms; the tuples are replaced whole, because other threads read them meanwhile."""
        for secret in gone:
            for piece in {row[0] for row in pieces(secret)}:
                left = tuple(row for row in self._echoes.get(piece, ()) if row[0] != secret)
                if left:
                    self._echoes[piece] = left
                else:
                    self._echoes.pop(piece, None)
        for secret in new:
            for piece, form, at, least in pieces(secret):
                rows = self._echoes.get(piece, ())
                if len(rows) < _MOST_ALIKE:
                    self._echoes[piece] = (*rows, (secret, form, at, least))

    def find(self, text: str, counts: Callable[[int, int], bool]) -> list[tuple[int, int]]:
        """Where they stand: from, to. Only what counts is found, and not looked at again."""
        known = self.secrets
        spans: list[tuple[int, int]] = []
        rest = text

        def take(found: Iterable[tuple[int, int]]) -> None:
            nonlocal rest
            taken = [span for span in found if counts(*span)]
            rest = _covered(rest, taken)
            spans.extend(taken)

        if self._echoes and _LONG_RUN.search(text):
            take(_echoes_in(text, self._echoes))
        for secret in known:  # whole values first: what is left of them are prefixes
            if secret in rest:
                take(_wholes_in(rest, secret))
        for head in {secret[:PREFIX_LENGTH] for secret in known if len(secret) >= PREFIX_LENGTH}:
            if head in rest:
                take(_prefixes_in(rest, head, [secret for secret in known if secret.startswith(head)]))
        return spans


def looks_like_a_key(text: str) -> bool:
    """Whether there is something in it that nobody writes as a word or a name: letters and digits at random."""
    if _HEX_KEY.search(text) is not None or _SHAPES.search(text) is not None or redact(text) != text:
        return True
    return any(
        len(_KIND_CHANGES.compiled.findall(run)) >= _changes_of_a_key(run) for run in _LETTERS.compiled.findall(text)
    )


def _changes_of_a_key(run: str) -> float:
    """How often a run of letters and digits changes its kind if no name does: `Mixtral8x7B` does so 5 times in 11."""
    if len(run) < 12:
        return max(4, 0.6 * len(run))
    return max(4, len(run) / (4 if any(map(str.isdigit, run)) else 2.5))


def _user_of(url: str) -> tuple[str, ...]:
    """The user of an address with its password, and the password; nothing if there is none."""
    user, at, _ = url.rpartition("://")[2].rpartition("@")
    return (user, user.partition(":")[2]) if at else ()


def _parts_of(url: str) -> Iterator[str]:
    """What may be secret in a base URL; see `Redactor.add_url()`."""
    _, scheme, rest = url.strip().rpartition("://") if "://" in url else ("", "", url.strip())
    place = rest.rpartition("@")[2]
    user = _user_of(url.strip())
    yield from (*user, *map(str.lower, user))  # in an address that is taken for a host's name, all is made small
    for part in re.split(r"[/?#&=]", place):
        if len(part) >= _LONG_PART and sum(map(str.isdigit, part)) > 1 and not set(part) & {".", " "}:
            yield part
    for pair in re.split(r"[?&#]", place)[1:]:
        name, _, value = pair.partition("=")
        if name.lower() in _QUERY_NAMES or secret_name(name):
            yield value
    word = rest.partition("/")[0]
    if not scheme and not user and not set(rest) & {".", ":", " "} and len(word) >= 16 and _looks_random(word):
        yield word  # no address at all: the key in the wrong field


def echoes(secret: str) -> dict[str, int]:
    """Forms in which a server may give a secret of 16 characters and more back, in lower case: as it is, in Base64,
    hex. With each, how many characters of it count: what is cut off or damaged gives a piece of it away."""
    if len(secret) < _ECHO_LENGTH:
        return {}
    forms: dict[str, int] = {secret[:_MOST_AS_IT_IS].lower(): _ECHO_LENGTH}
    data = secret[:_MOST_ENCODED].encode("utf-8", "replace")
    forms[data.hex()] = _ECHO_LENGTH
    for before in range(3):  # where it stands in what was encoded shifts its letters
        inner = b64encode(bytes(before) + data).decode()[(0, 2, 3)[before] :].rstrip("=")[:-1].lower()
        forms[inner] = forms[inner.replace("+", "-").replace("/", "_")] = _ECHO_LENGTH
    return forms


def pieces(secret: str) -> list[tuple[str, str, int, int]]:
    """Every eighth piece of eight letters of each form: the piece, the form, where it is, how much of the form counts.

    So each stretch of sixteen letters has one of them in it.
    """
    return [
        (form[at : at + _PIECE], form, at, least)
        for form, least in echoes(secret).items()
        for at in range(0, len(form) - _PIECE + 1, _PIECE)
    ]


def _echoes_in(text: str, echoes: Mapping[str, Sequence[tuple[str, str, int, int]]]) -> list[tuple[int, int]]:
    """Find other forms of secrets, whole or a long piece of one, and what hangs on to them."""
    lower = text.lower()
    if len(lower) != len(text):  # of some letters the small one is two
        lower = "".join(char.lower()[:1] for char in text)
    spans: list[tuple[int, int]] = []
    at = here = 0
    while here <= len(lower) - _PIECE:
        for _, form, inside, least in echoes.get(lower[here : here + _PIECE], ()):
            before = 0
            while before < min(inside, here - at) and lower[here - before - 1] == form[inside - before - 1]:
                before += 1
            begin = here - before
            end = begin + _common(lower, begin, form[inside - before :], before + _PIECE)
            if end - begin >= least:
                at = here = max(_run_end(text, end), _goes_on(lower, end, form[inside - before + end - begin :]))
                spans.append((begin, at))
                break
        else:
            here += 1
    return spans


def _wholes_in(text: str, secret: str) -> list[tuple[int, int]]:
    pattern = re.escape(secret)
    if len(secret) < PREFIX_LENGTH:
        pattern = rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"
    # A short one may be no more than what the keys of a provider begin with.
    goes_on = PREFIX_LENGTH <= len(secret) < _ECHO_LENGTH
    return [
        (found.start(), _run_end(text, found.end()) if goes_on else found.end()) for found in re.finditer(pattern, text)
    ]


def _prefixes_in(text: str, head: str, secrets: list[str]) -> list[tuple[int, int]]:
    """Find every beginning of one of the secrets, and what hangs on to it without a gap.

    Keys of one provider begin alike: without the rest of the run, the head of a known key would be cut off an
    unknown one, whose tail then looks like nothing.
    """
    spans: list[tuple[int, int]] = []
    at = 0
    while (found := text.find(head, at)) >= 0:
        reach, secret = max((_common(text, found, secret), secret) for secret in secrets)
        end = found + max(PREFIX_LENGTH, reach)
        at = max(_run_end(text, end), _goes_on(text, end, secret[reach:]))
        spans.append((found, at))
    return spans


def _goes_on(text: str, at: int, rest: str) -> int:
    """Where the rest of a secret ends that a line's end has cut off, in as many lines as there are; else `at`."""
    while rest and (gap := _GAP.match(text, at)) is not None:
        length = _common(text, gap.end(), rest, 0)
        if length < min(_SHORTEST_LINE, len(rest)):
            break
        at, rest = gap.end() + length, rest[length:]
    return at


def _run_end(text: str, at: int) -> int:
    run = _RUN.match(text, at)
    return run.end() if run is not None else at


def _covered(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """`text` with each of `spans` made unreadable, at its length."""
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += (text[at:start], "\0" * (end - start))
        at = end
    return "".join((*parts, text[at:])) if parts else text


def _out(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """`text` with the mark in the place of each of `spans`, which are in order; of two that overlap there is one."""
    parts: list[str] = []
    at = 0
    for start, end in spans:
        if start >= at:
            parts += (text[at:start], MARK)
        at = max(at, end)
    return "".join((*parts, text[at:])) if parts else text


def _common(text: str, at: int, secret: str, length: int = PREFIX_LENGTH) -> int:
    """How many characters of the secret stand in the text from `at` on; the first `length` are known to."""
    while length < len(secret) and at + length < len(text) and text[at + length] == secret[length]:
        length += 1
    return length


def _pass(text: str) -> str:
    # A look for the literals first: nearly every text has none of them, and the patterns cost far more.
    lower = text.lower()
    if _NAME_HINTS.search(lower):
        text = _HEADER_LINE.sub(rf"\g<lead>\g<name>\g<sep>{MARK}", text)
        text = _HEADER_INSIDE.sub(rf"\g<lead>\g<name>\g<sep>{MARK}", text)
        text = _FIELD.sub(_field, text)
    if "bearer" in lower or "basic" in lower:
        text = _SCHEME.sub(_scheme, text)
    if "@" in text:
        text = _USERINFO.sub(f"://{MARK}@", text)
    if "=" in text:
        text = _QUERY.sub(rf"\g<name>{MARK}", text)
    if "-----BEGIN" in text:
        text = _PEM.sub(MARK, text)
    if _SHAPE_HEADS.search(text):
        text = _SHAPES.sub(_shape, text)
    if "." in text:
        text = _HEX_PAIR.sub(MARK, text)
    return text


def _field(match: re.Match[str]) -> str:
    name, sep, bare = match["name"], match["sep"], match["bare"]
    numeric_is_plain = name.lower() in ("token", "tokens", "secret")
    if bare is None:
        opening = match["open1"] or match["open2"]
        value = match["escaped"] if match["open1"] else match["quoted"]
        return match[0] if _plain(value, numeric_is_plain) else f"{name}{sep}{opening}{MARK}"
    if _plain(bare, numeric_is_plain):
        return match[0]
    # In prose ("the token: it is missing") a colon is no proof; a password is worth a false alarm.
    if "=" in sep or "pass" in name.lower() or "pwd" in name.lower() or _looks_random(bare):
        return f"{name}{sep}{MARK}"
    return match[0]


def _scheme(match: re.Match[str]) -> str:
    value = match["value"]
    if len(value) >= 20 or any(c.isdigit() or c in "_+=*" for c in value) or any(c.isupper() for c in value[1:]):
        return f"{match['name']}{match['sep']}{MARK}"
    return match[0]


def _shape(match: re.Match[str]) -> str:
    return MARK if len(match[0]) >= 24 or _looks_random(match[0]) else match[0]


def _looks_random(text: str) -> bool:
    return len(text) >= 24 or any(c.isdigit() or c == "*" for c in text) or any(c.isupper() for c in text[1:])


def _plain(text: str, numeric: bool) -> bool:
    """Values that cannot be secrets: the words for nothing, and numbers where the name may be a counter's."""
    if not text or text == MARK or text.lower() in ("none", "null", "true", "false", "undefined", "..."):
        return True
    return numeric and len(text) < 12 and text.replace(".", "", 1).replace("-", "", 1).isdigit()


def _value(value: Any, clean: Callable[[str], str], depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return clean(value)
    if depth >= _MAX_DEPTH:  # also ends cycles
        return MARK
    if isinstance(value, Mapping):
        return {
            (clean(key) if isinstance(key, str) else key): (
                _hidden(item)
                if isinstance(key, (str, bytes)) and secret_name(key if isinstance(key, str) else key.decode("latin-1"))
                else _value(item, clean, depth + 1)
            )
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, bytes))
        if pair:  # a raw header
            name, item = value
            if secret_name(name if isinstance(name, str) else name.decode("latin-1")):
                return (name, _hidden(item))
        return (
            [_value(item, clean, depth + 1) for item in value]
            if not isinstance(value, tuple)
            else tuple(_value(item, clean, depth + 1) for item in value)
        )
    if isinstance(value, (bytes, bytearray)):
        return clean(bytes(value).decode("utf-8", "replace"))
    try:
        return clean(str(value))
    except Exception:  # a foreign __str__ may do anything
        return f"<{type(value).__name__}>"


def _hidden(value: Any) -> Any:
    """What a telling name holds: gone, unless it can be no secret."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return value if isinstance(value, (str, bytes)) and not value else MARK
