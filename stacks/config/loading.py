"""Load the configuration of one stage from the context of the CDK app.

Owns the choice of the stage, the merge of an override and the text of every error. The same context
always gives the same configuration, apart from a file that the override names.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stacks.config import StageConfig
from stacks.config.reference import EACH, describe_fields, sections
from stacks.config.relations import BrokenRelationsError

#: The stage's name is part of every physical name. A function's may have 64 characters.
_STAGE_NAME = re.compile(r"[a-z][a-z0-9]{0,15}")


class StageConfigError(Exception):
    """The stage's configuration cannot work; the message is for the person who wrote it."""


def load(stages: object, stage: object, override: object = None) -> StageConfig:
    """Return the checked configuration of one stage.

    Args:
        stages: `context.stages` of `cdk.json`: each stage's values by its name.
        stage: The chosen stage's name.
        override: Values that are merged over the stage's: a JSON text, `@` and the path of a file
            with one, a mapping or None.

    Raises:
        StageConfigError: With a line for each wrong value: the value, what is allowed, the fix.
    """
    values = _merged(_values_of(stages, stage), _override(override))
    try:
        return StageConfig.model_validate(values)
    except ValidationError as e:
        lines = [f"the configuration of the stage {stage!r} cannot work:"]
        lines += [f"  * {text}" for error in e.errors() for text in _texts(error)]
        lines.append(
            f"It consists of context.stages.{stage} in cdk.json and of -c override=...; every "
            "field is described in docs/reference/stage-config.md."
        )
        raise StageConfigError("\n".join(lines)) from None


def _values_of(stages: object, stage: object) -> Mapping[str, Any]:
    if not isinstance(stages, Mapping) or not stages:
        raise StageConfigError(
            "the CDK context has no stages: run the app through the cdk CLI in the folder of "
            "cdk.json, which has them under context.stages"
        )
    if stage not in stages:
        raise StageConfigError(
            f"unknown stage {stage!r}, allowed are {', '.join(stages)}"
            f"{_did_you_mean(str(stage), stages)}: choose one with -c stage=<name>, or add it "
            "to context.stages in cdk.json"
        )
    if not _STAGE_NAME.fullmatch(str(stage)):
        raise StageConfigError(
            f"the stage name {stage!r} cannot be part of resource names, allowed are 1 to 16 "
            "lower-case letters and digits, a letter first: rename it in cdk.json"
        )
    values = stages[stage]
    if not isinstance(values, Mapping):
        raise StageConfigError(
            f"context.stages.{stage} in cdk.json is {values!r}, allowed is a JSON object"
        )
    return values


def _override(override: object) -> Mapping[str, Any]:
    if isinstance(override, str):
        if override.startswith("@"):
            override = _content(override)
        try:
            override = json.loads(override)
        except (ValueError, RecursionError) as e:
            raise StageConfigError(
                f"-c override={override!r} is not JSON ({e}), allowed is a JSON object such as "
                '\'{"database": {"storage_gb": 50}}\': quote it for the shell'
            ) from None
    if override is None:
        return {}
    if not isinstance(override, Mapping):
        raise StageConfigError(
            f"-c override is {override!r}, allowed is a JSON object such as "
            '\'{"database": {"storage_gb": 50}}\''
        )
    return override


def _content(override: str) -> str:
    try:
        return Path(override[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise StageConfigError(
            f"-c override={override} cannot be read ({e}), allowed after the @ is the path of a "
            "JSON file: correct it"
        ) from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            value = _merged(under, value)  # noqa: PLW2901 - nested values replace, key by key
        elif _are_named(under) and _are_named(value):
            by_name = _merged(_by_name(under), _by_name(value))
            value = list(by_name.values())  # noqa: PLW2901 - objects of the same name, too
        merged[key] = value
    return merged


def _are_named(values: object) -> TypeGuard[list[Mapping[str, Any]]]:
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        return False
    names = [value.get("name") for value in values]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _by_name(values: list[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {value["name"]: value for value in values}


def _texts(error: ErrorDetails) -> list[str]:
    broken = error.get("ctx", {}).get("error")
    return broken.messages if isinstance(broken, BrokenRelationsError) else [_text(error)]


def _text(error: ErrorDetails) -> str:
    path, known_path = _paths(error["loc"])
    value = json.dumps(error["input"], default=repr)
    match error["type"]:
        case "extra_forbidden":
            parent, _, key = path.rpartition(".")
            known = _keys(known_path.rpartition(".")[0])
            return (
                f"unknown key {path}, allowed {f'in {parent}' if parent else 'here'} are "
                f"{', '.join(known)}{_did_you_mean(key, known)}: correct or remove it"
            )
        case "missing":
            return f"{path} is missing, allowed is {_allowed(known_path)}: add it"
        case "union_tag_not_found" | "union_tag_invalid" | "model_attributes_type":
            return (
                f"{path} is {value}, allowed is a JSON object with a kind of "
                f"{', '.join(_kinds(known_path))}: add or correct its kind"
            )
        case "model_type":
            return (
                f"{path} is {value}, allowed is a JSON object with {', '.join(_keys(known_path))}: "
                "nest its values in it"
            )
        case "value_error":
            return f"{path} is {value}, allowed is {_allowed(known_path)}: {error['ctx']['error']}"
        case _:
            return f"{path} is {value}, allowed is {_allowed(known_path)}: change it"


def _paths(loc: Iterable[int | str]) -> tuple[str, str]:
    """Return the path of a value as its author knows it, and as the reference does.

    They differ in numbers of items: `targets[0].gpu` is `targets[batch].gpu` in the reference.
    """
    path = known = ""
    for part in loc:
        if isinstance(part, int):
            path, known = f"{path}[{part}]", f"{known}[]"
        elif known.endswith("[]") and part in _kinds(known):
            known = f"{known[:-2]}[{part}]"
        else:
            path, known = f"{path}.{part}".lstrip("."), f"{known}.{part}".lstrip(".")
    return path, known


def _kinds(items: str) -> list[str]:
    """Return the kinds of a list's items, `targets[]`; none if all have the same keys."""
    kind = re.compile(re.escape(items[:-1]) + r"([a-z_]+)\]")
    return [match[1] for path, _ in sections() if (match := kind.fullmatch(path))]


def _allowed(known: str) -> str:
    fields = describe_fields()
    if field := fields.get(known):
        return field.allowed
    of_texts = known.removesuffix("[]"), known.rpartition(".")[0]  # An item of a list or an object.
    texts = next(filter(None, map(fields.get, of_texts)), None)
    return texts.allowed.removeprefix(EACH) if texts else "a JSON object"


def _keys(known: str) -> list[str]:
    paths = [*describe_fields(), *(path for path, _ in sections() if not path.endswith("]"))]
    return [key for parent, _, key in (p.rpartition(".") for p in paths if p) if parent == known]


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
