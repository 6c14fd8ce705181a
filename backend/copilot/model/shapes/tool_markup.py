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
_XML_PARAMETER: Final = re.compile(
    r"<(?:parameter|param)(?:=|\s+name=[\"']?)\s*([\w.-]+)[\"']?[^>]{0,80}>(.*?)</(?:parameter|param)>",
    re.IGNORECASE | re.DOTALL,
)
_GLM_PARAMETER: Final = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_GLM_NAME: Final = re.compile(r"<tool_call>\s*([\w.-]+)\s*(?=<arg_key>|</tool_call>|\n|$)")
# Marks and fences around calls in Python.
_PYTHON: Final = re.compile(r"<[|｜/]?[a-z_▁|｜]{1,40}>|```[a-z_]*|\[/?TOOL_[A-Z]+\]", re.IGNORECASE)
_BEFORE: Final = re.compile(r"([\w.:-]{1,80})\s*(?:<[^<>]{1,60}>|\[[A-Z_]{2,20}\]|```json|\n|\(|\s){0,6}$")
_decode = json.JSONDecoder().raw_decode


def calls_in(text: str, known: frozenset[str]) -> list[tuple[str, str]]:
    """The calls that stand in a text, as names and arguments in JSON; none if it holds other text.

    Between marks of a call any name is one, so that the model can be told that there is no such tool; a JSON object
    alone is a call only if it names a known one.
    """
    marked = is_markup(text)
    calls: list[tuple[str, str]] = []
    found = [*_in_json(text, known), *_in_tags(text), *_in_own_tags(text, known)] or list(_in_python(text, known))
    for name, arguments in found:
        meant = meant_name(name, known)
        if (meant in known or (marked and meant)) and (meant, arguments) not in calls:
            calls.append((meant, arguments))
    real = [call for call in calls if call[0] in known]
    return real or calls


def _in_json(text: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    at = 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = _decode(text, at)
        except (ValueError, RecursionError):
            at += 1
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
        given: list[tuple[str, str]] = _XML_PARAMETER.findall(body) or _GLM_PARAMETER.findall(body)
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
                given = re.findall(r"<([\w.-]+)>(.*?)</\1>", body, re.DOTALL)
                yield name, json.dumps({key: _value(raw) for key, raw in given}, ensure_ascii=False)


def _in_python(text: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Calls that are written in Python: name(key="value"), in a list or not, or a dict with single quotes."""
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
