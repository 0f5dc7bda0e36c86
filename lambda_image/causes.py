"""Walks from an error to the errors that led to it."""

from __future__ import annotations

from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on, each of them once.

    An error that was raised while another one was handled counts as caused by it, also after
    `raise ... from None`: httpcore takes the system's error from its own in that way.
    https://github.com/encode/httpcore/blob/master/httpcore/_sync/connection_pool.py
    https://docs.python.org/3/library/exceptions.html#exception-context
    """
    link: BaseException | None = error
    met: set[int] = set()  # Errors that are each other's causes would be walked for ever.
    while link is not None and id(link) not in met:
        met.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
