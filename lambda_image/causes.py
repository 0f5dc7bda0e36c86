"""Walks from an error to the errors that led to it."""

from __future__ import annotations

from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on.

    An error that was raised while another one was handled counts as caused by it, unless the code
    says otherwise by `raise ... from None`, as Python's own tracebacks have it:
    https://docs.python.org/3/library/exceptions.html#exception-context
    """
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
