"""Computes once what Airflow computes again for every task, though the result never changes.

- A task's process makes five of pydantic's type adapters, from the same two types. That is a third
  of the processor time of a task that does nothing. Here the init phase makes them, and each task's
  process inherits them.
- Airflow masks the values in log lines by their names. It compares each name of each line with
  every word that may stand for a secret. Here it compares a name once.

An Airflow that does not have these parts computes as before.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any

from airflow.sdk.execution_time import comms, task_runner

#: Names that are remembered; a workload can make any number of them.
_MOST_NAMES = 4096

_MASKER = "airflow.sdk._shared.secrets_masker.secrets_masker"
#: What its decisions follow from, beside the name; both are its own since Airflow 3.2.
_SETTINGS = {"sensitive_variables_fields", "hide_sensitive_var_conn_fields"}


def install() -> None:
    """Take the place of the two parts of Airflow, and make the adapters that every task needs."""
    for module, types in ((comms, ("ToTask",)), (task_runner, ("JsonValue",))):
        if hasattr(module, "TypeAdapter"):
            shared = shared_adapters(module.TypeAdapter)
            module.TypeAdapter = shared
            for name in types:
                if hasattr(module, name):
                    shared(getattr(module, name))
    with contextlib.suppress(ImportError, AttributeError):
        masker = importlib.import_module(_MASKER).SecretsMasker
        if vars(masker()).keys() >= _SETTINGS:
            masker.should_hide_value_for_key = remembering(masker.should_hide_value_for_key)


def shared_adapters(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function like pydantic's `TypeAdapter` that makes one adapter for each type.

    An adapter does not change, and may be used by several threads.
    """
    made: dict[int, tuple[Any, Any]] = {}

    def adapter(type: Any, **more: Any) -> Any:  # noqa: ANN401 - pydantic's own
        if more:
            return make(type, **more)
        if id(type) not in made:
            # Names in the type are looked up where the caller is. The type is kept with its
            # adapter: otherwise another one could get its id.
            made[id(type)] = type, make(type, _parent_depth=3)
        return made[id(type)][1]

    return adapter


def remembering(is_sensitive: Callable[[Any, object], bool]) -> Callable[[Any, object], bool]:
    """Return a method like `SecretsMasker.should_hide_value_for_key` that decides a name once.

    The decision follows from the name and from two settings of the masker, which may change.
    """
    decided: dict[tuple[str, bool, frozenset[str]], bool] = {}

    @wraps(is_sensitive)
    def decide(masker: Any, name: object) -> bool:  # noqa: ANN401 - Airflow's own
        if type(name) is not str:
            return is_sensitive(masker, name)
        fields = frozenset(masker.sensitive_variables_fields)
        case = (name, bool(masker.hide_sensitive_var_conn_fields), fields)
        if case not in decided:
            if len(decided) >= _MOST_NAMES:
                decided.clear()
            decided[case] = is_sensitive(masker, name)
        return decided[case]

    return decide
