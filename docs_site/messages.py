"""Finds every text of the product that tells a person what went wrong, by reading its source.

A text with values in it becomes a template: `[lambda_executor] conn_id is <conn_id>`. What is found
are the sentences in the code, apart from those that are no error: docstrings, log lines below a
warning, help of a command line, commands to copy, and what the doctor says when all is well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXECUTOR = "executor/src/lambda_executor"

#: Where people meet texts of ours. Not in it: the embedded AWS and `make prove`, which are for
#: tests and trials, and report what they see.
PLACES = (EXECUTOR, "lambda_image", "stacks/config", "stacks/stage", "constructs/src", "demo")
PROGRAMS = ("destroy.py", "prune.py", "stage_images.py")
#: What is no part of a running product.
NOT_READ = (
    f"{EXECUTOR}/testing.py",
    f"{EXECUTOR}/contract/options.py",
    "demo/dags",
    "demo/outcome",
)
#: Modules that make reasons and findings from parts: there every sentence is such a text.
OF_REASONS = (
    f"{EXECUTOR}/aws/ecs_refusals.py",
    f"{EXECUTOR}/aws/job_ends.py",
    f"{EXECUTOR}/aws/job_requests.py",
    f"{EXECUTOR}/aws/micro_vms.py",
    f"{EXECUTOR}/aws/parameters.py",
    f"{EXECUTOR}/bundles",
    f"{EXECUTOR}/contract/routing_reason.py",
    f"{EXECUTOR}/core/dispatch_queue.py",
    f"{EXECUTOR}/core/outgoing.py",
    f"{EXECUTOR}/core/reports.py",
    f"{EXECUTOR}/core/routing.py",
    f"{EXECUTOR}/core/task_settings.py",
    f"{EXECUTOR}/engine",
    f"{EXECUTOR}/ops/dead_letters.py",
    f"{EXECUTOR}/ops/doctor",
    f"{EXECUTOR}/ops/explain/airflow_records.py",
    f"{EXECUTOR}/policy",
    f"{EXECUTOR}/scheduler/next_target.py",
    f"{EXECUTOR}/setup",
    "demo/machine/likely_cause.py",
    "lambda_image/control_plane.py",
    "lambda_image/deadline.py",
    "lambda_image/handler.py",
    "lambda_image/invocation",
    "lambda_image/machine",
    "lambda_image/one_workload.py",
    "lambda_image/runtime",
    "lambda_image/verdict.py",
    "stacks/config/relations",
    "stacks/config/loading.py",
    "stacks/config/sections/section.py",
    "stacks/stage",
)

#: What has fewer words, with its values, is a name, a key or a part of another text.
_FEWEST_WORDS = 4
_FEWEST_WORDS_OF_AN_ERROR = 3
_LOGGED = {"warning", "error", "exception", "critical"}
#: Calls whose texts tell of no failure.
_QUIET = {"debug", "info", "ok", "add_argument", "Field", "compile", "TypeError", "AssertionError"}
_FINDINGS = {"problem", "unknown", "worse"}
#: What makes an error, or a text for one: its class, or a function of the module.
_ERROR = re.compile(r"(Error|Violation)$|^(_?unusable|_?refused|about)$")
_COMMAND = re.compile(
    r"^(aws|airflow|curl|pip|node_modules/\S+|[A-Z_]+=\S*) |^(SELECT|from|WITH|AWS4) ?",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Message:
    """A text of the product.

    Attributes:
        text: What it says, with `<name>` for each value.
        fix: What it says to do, if that is a text of its own.
        file: The source file that has it, from the root of the repository.
    """

    text: str
    fix: str
    file: str


@cache
def messages() -> tuple[Message, ...]:
    """Return every message of the product, in the order of files and lines."""
    found: dict[str, Message] = {}
    for file in _files():
        name = str(file.relative_to(ROOT))
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for text, fix in _texts(tree, is_of_reasons=name.startswith(OF_REASONS)):
            found.setdefault(text, Message(text, fix, name))
    return tuple(found.values())


def _files() -> Iterator[Path]:
    for place in PLACES:
        for file in sorted((ROOT / place).rglob("*.py")):
            if not str(file.relative_to(ROOT)).startswith(NOT_READ):
                yield file
    yield from (ROOT / program for program in PROGRAMS)


def _texts(tree: ast.AST, *, is_of_reasons: bool) -> Iterator[tuple[str, str]]:
    """Yield each text with its fix, which may be empty."""
    told: set[int] = set()
    quiet: set[int] = set()
    fixes: dict[int, str] = {}
    for node in ast.walk(tree):
        for part in _not_told(node):
            quiet.update(map(id, ast.walk(part)))
        if isinstance(node, ast.Call):
            if _called(node) in {*_FINDINGS, *_LOGGED} or _ERROR.search(_called(node)):
                told.update(map(id, ast.walk(node)))
            for problem, fix in _told_with_fix(node):
                # Of somebody else's words, the fix is what is known.
                if (told_fix := _template(fix)) and _template(problem):
                    fixes[id(problem)] = told_fix
                    quiet.update(map(id, ast.walk(fix)))
    for node in ast.walk(tree):
        text = "" if id(node) in quiet else _template(node)
        words = 0 if _COMMAND.search(text) else len(text.split())
        is_told = id(node) in told and words >= _FEWEST_WORDS_OF_AN_ERROR
        if is_told or (is_of_reasons and words >= _FEWEST_WORDS):
            yield text, fixes.get(id(node), "")


def _told_with_fix(call: ast.Call) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the text and the fix of the doctor's findings and of `ConfigError`."""
    if _called(call) in _FINDINGS:
        yield from zip(call.args[1:2], call.args[2:3], strict=False)
    for keyword in call.keywords:
        if keyword.arg == "fix" and call.args:
            yield call.args[0], keyword.value


def _not_told(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node in which nothing is an error's text."""
    match node:
        case ast.Expr(ast.Constant()):  # a docstring
            yield node
        case ast.JoinedStr():  # The whole is the text.
            yield from node.values
        case ast.Call() if _called(node) in _QUIET:
            yield node
        case ast.Call() if _called(node) in _FINDINGS:
            yield from node.args[3:4]  # a command to copy
        case ast.keyword(arg="help" | "description" | "command"):
            yield node
        case ast.arguments() | ast.Assert():
            yield node


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _template(node: ast.AST) -> str:
    """Return the text of a literal, with placeholders for its values; empty: it is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"%(?:\.\d)?[sdrgf]", "<...>", node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(map(_part, node.values))
    else:
        return ""
    return " ".join(text.replace("{}", "<...>").split())


def _part(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    value = node.value if isinstance(node, ast.FormattedValue) else node
    if isinstance(value, ast.Name) and (known := _constants().get(value.id)):
        return known
    return f"<{_name(value)}>"


def _name(value: ast.expr) -> str:
    """Return a short name for a value."""
    if isinstance(value, ast.Name):
        return value.id.strip("_")
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_")
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name | ast.Attribute):
        name = _called(value).strip("_")
        return _name(value.args[0]) if name in {"str", "repr", "len", "dumps"} else name
    return "..."


@cache
def _constants() -> dict[str, str]:
    """Return the constants of the product that are texts and have one value in all modules."""
    values: dict[str, set[str]] = {}
    for file in _files():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    if isinstance(target, ast.Name) and isinstance(node.value.value, str | int):
                        values.setdefault(target.id, set()).add(str(node.value.value))
    return {
        name: found.pop() for name, found in values.items() if name.isupper() and len(found) == 1
    }
