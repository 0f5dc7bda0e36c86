"""Chooses what of the inputs that fuzzing has found goes into the repository.

An input is kept if it takes the product over a line that no shorter one does.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.decoder import ROOT, Decoder

#: Of one decoder, the most bytes of one input, and of all.
_INPUT_BYTES, _ALL_BYTES = 1024, 4 * 1024
#: How the names of inputs begin that once made a decoder fail: they stay whatever they cover.
_FAULT = "fault-"
_SHIPPED = tuple(str(ROOT / folder) for folder in ("executor/src", "lambda_image", "stacks"))

Line = tuple[str, int]


def keep(decoder: Decoder, found: Path) -> None:
    """Renew the corpus of a decoder with what is in the folder `found`, and what it has already."""
    logging.disable(logging.CRITICAL)
    texts = {path.read_bytes() for path in (*found.iterdir(), *_kept(decoder))}
    chosen = list(_chosen(decoder, texts))
    for path in _kept(decoder):
        path.unlink()
    for number, text in enumerate(chosen):
        (decoder.corpus / f"{number:02}").write_bytes(text)


def _kept(decoder: Decoder) -> list[Path]:
    decoder.corpus.mkdir(parents=True, exist_ok=True)
    return [path for path in decoder.corpus.iterdir() if not path.name.startswith(_FAULT)]


def _chosen(decoder: Decoder, texts: Iterable[bytes]) -> Iterator[bytes]:
    seen = {line for example in decoder.examples for line in _lines(decoder, example)}
    size_bytes = 0
    for text in sorted(texts, key=lambda each: (len(each), each)):
        if not text or len(text) > _INPUT_BYTES or size_bytes + len(text) > _ALL_BYTES:
            continue
        lines = _lines(decoder, text)
        if lines - seen:
            seen |= lines
            size_bytes += len(text)
            yield text


def _lines(decoder: Decoder, data: bytes) -> set[Line]:
    """Return the lines of the product that reading an input runs."""
    lines: set[Line] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_SHIPPED):
            return None
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(Exception):  # A fault is not what is looked for here.
            decoder.check(data)
    finally:
        sys.settrace(before)
    return lines
