"""No JSON of somebody else ends a thread, a process or a log line because it is nested too deep.

`json.loads` raises `RecursionError` for it, which is no `ValueError`. So who expects the one has to
expect the other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.fuzz.decoder import ROOT

_SHIPPED = ("constructs/src", "executor/src", "lambda_image", "stacks")
_SOURCES = [path for folder in _SHIPPED for path in sorted((ROOT / folder).rglob("*.py"))]


def _expecting(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """Yield the lines where JSON is read, and the errors that are expected there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and _reads_json(node.body):
            names = {name for each in node.handlers for name in _names(each.type)}
            yield node.lineno, names
        if isinstance(node, ast.With) and _reads_json(node.body):
            names = {name for item in node.items for name in _names(item.context_expr)}
            yield node.lineno, names


def _reads_json(body: list[ast.stmt]) -> bool:
    calls = (each for part in body for each in ast.walk(part) if isinstance(each, ast.Call))
    return any(ast.unparse(each.func) in ("json.loads", "json.load") for each in calls)


def _names(node: ast.AST | None) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} if node else set()


def test_who_expects_no_json_expects_json_that_is_nested_too_deep() -> None:
    """One test for all files: most of them read no JSON."""
    found = [
        (str(path.relative_to(ROOT)), line, expected)
        for path in _SOURCES
        if "json.load" in (text := path.read_text())
        for line, expected in _expecting(ast.parse(text))
    ]
    assert len(found) > 10  # The search itself works.
    wrong = [each for each in found if "ValueError" in each[2] and "RecursionError" not in each[2]]
    assert wrong == []
