"""The code of every page can be read by its language, and names verbs and commands that exist."""

from __future__ import annotations

import ast
import configparser
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest
import yaml  # type: ignore[import-untyped] # no stubs, and one call does not need any
from airflow.cli.cli_config import ActionCommand, Arg, CLICommand

from lambda_executor.ops.cli import get_cli_commands
from tests.unit.docs.test_links import CODE, FENCED, ROOT, pages

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_VERB = re.compile(r"^[a-z][a-z-]*:", re.MULTILINE)
_MAKE = re.compile(r"(?:^|[;&(]|\s&&) *make ((?:[a-z][a-z-]*|[A-Z_]+=\S+)(?: |$))", re.MULTILINE)
_COMMAND = re.compile(r"airflow lambda-executor +([^#|\n`)]*)")


class Block(NamedTuple):
    """A block of code of a page."""

    page: str
    language: str
    code: str


def blocks(page: str, text: str) -> list[Block]:
    """Return the blocks of a page, without their indentation."""
    found = _BLOCK.findall(text)
    return [Block(page, language, textwrap.dedent(code)) for _, language, code in found]


def all_blocks() -> list[Block]:
    """Return the blocks of every page."""
    return [block for page in pages() for block in blocks(page, (ROOT / page).read_text())]


def read_json(code: str) -> None:
    """Read a document, or the members of an object, as a stage in `cdk.json` is."""
    try:
        json.loads(code)
    except ValueError:
        json.loads(f"{{{code}}}")


def read_ini(code: str) -> None:
    """Read a part of `airflow.cfg`."""
    configparser.ConfigParser(interpolation=None).read_string(code)


READERS: dict[str, Callable[[str], object]] = {
    "ini": read_ini,
    "json": read_json,
    "python": ast.parse,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}


def code_of(text: str) -> Iterator[str]:
    """Yield what is code in a page: its blocks, and its words between backticks."""
    yield from (block.code for block in blocks("", text))
    yield from (span.strip("` ") for span in CODE.findall(FENCED.sub("", text)))


def verbs() -> set[str]:
    """Return the verbs of the Makefile."""
    return {verb[:-1] for verb in _VERB.findall((ROOT / "Makefile").read_text())}


def unknown_verbs(text: str) -> list[str]:
    """Return the verbs of make that a page names as code, and that do not exist."""
    named = [found.strip() for code in code_of(text) for found in _MAKE.findall(code)]
    return [verb for verb in named if "=" not in verb and verb not in verbs()]


def fault(words: list[str], commands: Iterable[CLICommand]) -> str:
    """Return what is wrong with the words of a command; empty: nothing."""
    by_name = {command.name: command for command in commands}
    if not words:
        return ""
    if words[0] not in by_name:
        return f"there is no {words[0]}, only {', '.join(by_name)}"
    command = by_name[words[0]]
    if not isinstance(command, ActionCommand):
        return fault(words[1:], command.subcommands)
    args: Iterable[Arg] = command.args
    flags = {flag for arg in args for flag in arg.flags}
    unknown = [word for word in words[1:] if word.startswith("-") and word not in flags]
    return f"{words[0]} has no {unknown[0]}" if unknown else ""


def faults_of_commands(text: str) -> list[str]:
    """Return what is wrong with the commands `airflow lambda-executor ...` of a page."""
    (ours,) = get_cli_commands()
    assert not isinstance(ours, ActionCommand)
    named = [found for code in code_of(text) for found in _COMMAND.findall(code)]
    words = [[w for w in command.split() if w != "..."] for command in named]
    return [found for each in words if (found := fault(each, ours.subcommands))]


@pytest.mark.parametrize("language", sorted(READERS))
def test_every_block_can_be_read(language: str) -> None:
    """A reader who copies it gets no error of syntax."""
    wrong = []
    for block in all_blocks():
        if block.language == language:
            try:
                READERS[language](block.code)
            except (SyntaxError, ValueError, configparser.Error, yaml.YAMLError) as e:
                wrong.append(f"{block.page}: {e}: {block.code[:80]}")
    assert wrong == []


@pytest.mark.parametrize("page", pages())
def test_every_verb_that_a_page_names_exists(page: str) -> None:
    """`make` would say that there is no rule."""
    assert unknown_verbs((ROOT / page).read_text()) == []


@pytest.mark.parametrize("page", pages())
def test_every_command_that_a_page_names_exists(page: str) -> None:
    """With its options, as the command line defines them."""
    assert faults_of_commands((ROOT / page).read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "Run `make demos`.",
        "```bash\nmake setup\nmake tests\n```",
        "```sh\ntrue && make nothing\n```",
    ],
)
def test_a_verb_that_does_not_exist_is_found(text: str) -> None:
    """In a block and in a sentence."""
    assert len(unknown_verbs(f"{text} And `make sure` is no code: we make it.")) == 2


def test_a_verb_with_variables_before_it_is_no_fault() -> None:
    """And words that are not code are none of ours."""
    assert unknown_verbs("`make PYTHON=python3.12`, make sense, `make destroy STAGE=dev`") == []


@pytest.mark.parametrize(
    "command",
    ["chekc", "dead-letters lists", "dead-letters list --everything", "check --jason", "dags pull"],
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    """Whatever word of it is wrong."""
    assert len(faults_of_commands(f"Run `airflow lambda-executor {command}`.")) == 1


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("json", '"stage": {"removal": "retain"'),
        ("python", "def f(:\n"),
        ("ini", "no section = here"),
        ("toml", "[[x]\n"),
        ("yaml", "a: [b\n"),
    ],
)
def test_a_block_that_cannot_be_read_is_found(language: str, code: str) -> None:
    """Each reader refuses something."""
    with pytest.raises((SyntaxError, ValueError, configparser.Error, yaml.YAMLError)):
        READERS[language](code)
