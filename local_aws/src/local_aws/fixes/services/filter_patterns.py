"""A filter pattern of CloudWatch Logs selects the lines that it selects on AWS.

Terms: a line has all of them, and none behind a `-`; of terms that all have a `?` it has one. A
term in quotes is a phrase, and case counts. In braces: a line of JSON whose members compare as the
pattern says, `{ $.event = "end" && $.outcome = "rejected" }`. ministack takes a quoted phrase for
several terms, a `?` for a part of its term, and every line for one that fits braces.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html

Regular expressions, brackets, and parentheses within braces are ministack's still.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ministack.services import cloudwatch_logs as logs

_TERM = re.compile(r'(?P<mark>[?-]?)(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"]+))')
_COMPARISON = re.compile(
    r'\s*\$\.(?P<path>[\w.-]+)\s*(?P<sign>!?=)\s*(?P<value>"[^"]*"|[^\s"]+)\s*'
)
_MINISTACKS = logs._compile_filter_pattern

Matches = Callable[[str], bool]


def apply() -> None:
    """Replace what reads a pattern."""
    logs._compile_filter_pattern = compiled


def compiled(pattern: str) -> Matches:
    """Return whether a line fits a pattern, as a function of the line."""
    bare = pattern.strip()
    ministacks: Matches = _MINISTACKS(pattern)
    if bare.startswith("{") and bare.endswith("}"):
        return _of_json(bare[1:-1]) or ministacks
    if not bare or bare.startswith("[") or "%" in bare:
        return ministacks
    return _of_terms(bare)


def _of_terms(pattern: str) -> Matches:
    terms: dict[str, list[str]] = {"": [], "?": [], "-": []}
    for found in _TERM.finditer(pattern):
        term = found["word"] or re.sub(r"\\(.)", r"\1", found["phrase"])
        terms[found["mark"]].append(term)
    wanted, some, unwanted = terms[""], terms["?"], terms["-"]

    def matches(line: str) -> bool:
        if any(term in line for term in unwanted) or not all(term in line for term in wanted):
            return False
        # Beside other terms, AWS ignores those with a `?`.
        return bool(wanted) or not some or any(term in line for term in some)

    return matches


def _of_json(pattern: str) -> Matches | None:
    """Return None for what is more than comparisons between `&&` and `||`."""
    either = [
        [_COMPARISON.fullmatch(comparison) for comparison in both.split("&&")]
        for both in pattern.split("||")
    ]

    def matches(line: str) -> bool:
        try:
            event = json.loads(line)
        except ValueError:
            return False
        return any(all(_holds(each, event) for each in both if each) for both in either)

    return matches if all(map(all, either)) else None


def _holds(comparison: re.Match[str], event: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether a line has what is compared, and it compares so."""
    for name in comparison["path"].split("."):
        if not isinstance(event, dict) or name not in event:
            return False
        event = event[name]
    text = event if isinstance(event, str) else json.dumps(event)
    return (text == comparison["value"].strip('"')) is (comparison["sign"] == "=")
