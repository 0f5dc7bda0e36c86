"""What is computed once is what Airflow and pydantic compute, for every type and every name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from lambda_image.runtime import computed_once

NUMBER = Annotated[int, Field(gt=1)]


@dataclass
class Masker:
    """Decides as Airflow's masker does, and counts."""

    sensitive_variables_fields: list[str] = field(default_factory=lambda: ["token"])
    hide_sensitive_var_conn_fields: bool = True
    decisions: int = 0

    def decide(self, name: object) -> bool:
        """Whether a value under this name is a secret."""
        self.decisions += 1
        hides = self.hide_sensitive_var_conn_fields and isinstance(name, str)
        return hides and any(word in str(name) for word in self.sensitive_variables_fields)


def test_a_type_has_one_adapter() -> None:
    """A second adapter would be the same, and takes milliseconds."""
    adapter = computed_once.shared_adapters(TypeAdapter)
    assert adapter(NUMBER) is adapter(NUMBER)
    assert adapter(NUMBER).validate_python("2") == 2
    assert adapter(int) is not adapter(NUMBER)


def test_an_adapter_with_options_is_made_anew() -> None:
    """It may differ from the one without them."""
    adapter = computed_once.shared_adapters(TypeAdapter)
    strict = adapter(int, config={"strict": True})
    assert strict is not adapter(int)
    with pytest.raises(ValueError, match="valid integer"):
        strict.validate_python("2")


def test_a_name_in_a_type_is_looked_up_where_the_adapter_is_made() -> None:
    """As pydantic does it: here the name is known in this function alone."""

    class Local(BaseModel):
        number: int

    adapter = computed_once.shared_adapters(TypeAdapter)
    assert adapter("Local").validate_python({"number": "2"}) == Local(number=2)


@pytest.mark.parametrize("name", ["token", "my_token", "other", "", 7, None])
def test_a_decision_is_that_of_the_masker(name: Any) -> None:
    """Also the second time; what is no text is not remembered."""
    masker = Masker()
    decide = computed_once.remembering(Masker.decide)
    assert [decide(masker, name) for _ in range(2)] == [Masker().decide(name)] * 2
    assert masker.decisions == (1 if isinstance(name, str) else 2)


def test_a_changed_setting_changes_the_decision() -> None:
    """Both settings of the masker may change while the process lives, in place too."""
    masker = Masker()
    decide = computed_once.remembering(Masker.decide)
    assert decide(masker, "my_token")
    masker.hide_sensitive_var_conn_fields = False
    assert not decide(masker, "my_token")
    masker.hide_sensitive_var_conn_fields = True
    masker.sensitive_variables_fields[0] = "password"
    assert not decide(masker, "my_token")


def test_names_of_a_workload_take_no_memory_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task may log any number of names."""
    monkeypatch.setattr(computed_once, "_MOST_NAMES", 2)
    masker = Masker()
    decide = computed_once.remembering(Masker.decide)
    for _ in range(2):
        assert [decide(masker, name) for name in ("a", "b", "c_token")] == [False, False, True]
    assert masker.decisions == 6
