"""Reads tool calls that stand in the text, as models write them where the server does not parse them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from .text_filter import is_markup
from .tool_calls import meant_name

_NAMES: Final = ("name", "tool", "tool_name", "function", "action", "recipient_name")
_ARGUMENTS: Final = ("arguments", "parameters", "args", "input", "action_input", "params", "kwargs")
_XML_NAME: Final = re.compile(r"<(?:function|tool|invoke)(?:=|\s+name=[\"']?)\s*([\w.:-]+)[\"']?\s*>", re.IGNORECASE)
# A pattern for each end: one with both and anything between looks through the rest of the text from each beginning.
_Pair = tuple[re.Pattern[str], re.Pattern[str]]
_XML_PARAMETER: Final[_Pair] = (
    re.compile(r"<(?:parameter|param)(?:=|\s+name=[\"']?)\s*([\w.-]+)[\"']?[^>]{0,80}>", re.IGNORECASE),
    re.compile(r"</(?:parameter|param)>", re.IGNORECASE),
)
_GLM_PARAMETER: Final[_Pair] = (re.compile(r"<arg_key>"), re.compile(r"</arg_value>"))
_GLM_MIDDLE: Final = re.compile(r"</arg_key>\s*<arg_value>")
_TAG: Final = re.compile(r"<([\w.-]+)>")
_GLM_NAME: Final = re.compile(r"<tool_call>\s*([\w.-]+)\s*(?=<arg_key>|</tool_call>|\n|$)")
# Marks and fences around calls in Python.
_PYTHON: Final = re.compile(r"<[|｜/]?[a-z_▁|｜]{1,40}>|```[a-z_]*|\[/?TOOL_[A-Z]+\]", re.IGNORECASE)
_BEFORE: Final = re.compile(r"([\w.:-]{1,80})\s*(?:<[^<>]{1,60}>|\[[A-Z_]{2,20}\]|```json|\n|\(|\s){0,6}$")
_decode = json.JSONDecoder().raw_decode
# So many braces with no JSON behind them, and tags that nothing closes, are looked at; a longer text is no Python.
_VAIN: Final = 256
_LONGEST_PYTHON: Final = 20_000


def calls_in(text: str, known: frozenset[str]) -> list[tuple[str, str]]:
    """The calls that stand in a text, as names and arguments in JSON; none if it holds other text.

    Between marks of a call any name is one, so that the model can be told that there is no such tool; a JSON object
    alone is a call only if it names a known one.
    """
    marked = is_markup(text)
    calls: dict[tuple[str, str], None] = {}
    try:
        found = [*_in_json(text, known), *_in_tags(text), *_in_own_tags(text, known)] or list(_in_python(text, known))
    except RecursionError:  # nested beyond reason: a model that repeats itself, and no call
        return []
    for name, arguments in found:
        meant = meant_name(name, known)
        if meant in known or (marked and meant):
            calls[meant, arguments] = None
    real = [call for call in calls if call[0] in known]
    return real or list(calls)


def _in_json(text: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    at = vain = 0
    while vain < _VAIN and (at := text.find("{", at)) >= 0:
        try:
            value, end = _decode(text, at)
        except RecursionError:
            return
        except ValueError:
            at += 1
            vain += 1
            continue
        found = list(_calls_of(value))
        if not found and (before := _BEFORE.search(text[max(0, at - 160) : at])):
            # The name stands before the arguments: name{...}, name<|message|>{...}, to=functions.name ...{...}.
            head = text[max(0, at - 160) : at]
            if (name := _name_before(head, before[1], known)) is not None:
                found = [(name, json.dumps(value, ensure_ascii=False))]
        yield from found
        at = end


def _name_before(head: str, nearest: str, known: frozenset[str]) -> str | None:
    if (name := meant_name(nearest, known)) in known:
        return name
    words = [word for word in re.findall(r"[\w-]+", head) if word in known]
    return words[-1] if words else None


def _calls_of(value: Any) -> Iterator[tuple[str, str]]:
    """The calls that a JSON value tells of: an object with a name, or lists and wrappers of such."""
    if isinstance(value, list):
        for one in value:
            yield from _calls_of(one)
        return
    if not isinstance(value, dict):
        return
    for key in ("tool_calls", "tool_call", "function_call", "tool_uses", "calls"):
        if isinstance(value.get(key), (dict, list)):
            yield from _calls_of(value[key])
            return
    if isinstance(value.get("function"), dict):
        yield from _calls_of(value["function"])
        return
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    if name is None:
        return
    given: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    yield name, given if isinstance(given, str) else json.dumps(given if given is not None else {}, ensure_ascii=False)


def _in_tags(text: str) -> Iterator[tuple[str, str]]:
    """Calls whose arguments are tags: one for each, with the name in the opening one."""
    names = list(_XML_NAME.finditer(text)) or list(_GLM_NAME.finditer(text))
    for number, found in enumerate(names):
        end = names[number + 1].start() if number + 1 < len(names) else len(text)
        body = text[found.end() : end]
        given = list(_between(body, _XML_PARAMETER)) or list(_glm_parameters(body))
        if not given and (begin := body.find("{")) >= 0:
            try:
                value, _ = _decode(body, begin)
            except (ValueError, RecursionError):
                continue
            if not list(_calls_of(value)):
                yield found[1], json.dumps(value, ensure_ascii=False)
            continue
        yield found[1], json.dumps({key.strip(): _value(raw) for key, raw in given}, ensure_ascii=False)


def _in_own_tags(text: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Calls whose tag is the tool's own name, and whose arguments are tags inside."""
    for name in known:
        for body in re.findall(rf"<{re.escape(name)}>(.*?)(?:</{re.escape(name)}>|$)", text, re.DOTALL):
            if "{" not in body:
                yield name, json.dumps({key: _value(raw) for key, raw in _in_any_tags(body)}, ensure_ascii=False)


def _between(text: str, pair: _Pair) -> Iterator[tuple[str, str]]:
    """What the beginning names, and what stands between it and the end."""
    opening, closing = pair
    at = 0
    while (begin := opening.search(text, at)) and (end := closing.search(text, begin.end())):
        yield begin[opening.groups], text[begin.end() : end.start()]
        at = end.end()


def _glm_parameters(text: str) -> Iterator[tuple[str, str]]:
    for _, both in _between(text, _GLM_PARAMETER):
        if middle := _GLM_MIDDLE.search(both):
            yield both[: middle.start()], both[middle.end() :]


def _in_any_tags(text: str) -> Iterator[tuple[str, str]]:
    """The names of tags, and what stands between each and its own end."""
    at = 0
    open_: set[str] = set()
    while len(open_) < _VAIN and (begin := _TAG.search(text, at)):
        name, at = begin[1], begin.end()
        end = -1 if name in open_ else text.find(f"</{name}>", at)
        if end < 0:
            open_.add(name)
        else:
            yield name, text[at:end]
            at = end + len(name) + 3


def _in_python(text: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Calls that are written in Python: name(key="value"), in a list or not, or a dict with single quotes."""
    if len(text) > _LONGEST_PYTHON:
        return
    code = _PYTHON.sub("\n", text).strip()
    begin = min((at for one in "[{" if (at := code.find(one)) >= 0), default=-1)
    for source in (code, code[begin:] if begin >= 0 else ""):
        try:
            tree = ast.parse(source.strip())
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
                if name in known:
                    given = {one.arg: _constant(one.value) for one in node.keywords if one.arg}
                    yield name, json.dumps(given, ensure_ascii=False)
            elif isinstance(node, ast.Dict):
                yield from _calls_of(_constant(node))
        return


def _constant(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
        json.dumps(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.unparse(node)
    return value


def _value(raw: str) -> Any:
    text = raw.strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (dict, list, bool, int, float)) else text
