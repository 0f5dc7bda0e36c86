"""The walk over an error's causes."""

from __future__ import annotations

from lambda_image.causes import causes


def test_a_cause_comes_before_a_context() -> None:
    """Of the two, the code has named the cause itself."""
    error, cause, context = ValueError(1), ValueError(2), ValueError(3)
    error.__cause__, error.__context__ = cause, context
    assert list(causes(error)) == [error, cause]


def test_a_hidden_context_is_a_cause() -> None:
    """Libraries hide the system's error from tracebacks, and it is still the reason."""
    error, system = ValueError(), OSError()
    error.__context__, error.__suppress_context__ = system, True
    assert list(causes(error)) == [error, system]


def test_errors_that_cause_each_other_end() -> None:
    """Anybody's code can raise such errors."""
    first, second = ValueError(1), ValueError(2)
    first.__cause__, second.__cause__ = second, first
    assert list(causes(first)) == [first, second]
