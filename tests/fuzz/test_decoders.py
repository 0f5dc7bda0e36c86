"""Whatever comes from outside, a decoder returns a value or raises one of its documented errors."""

from __future__ import annotations

import logging
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import mutation
from tests.fuzz.decoder import Decoder
from tests.fuzz.decoders import DECODERS

#: One decoder in each test.
each_decoder = pytest.mark.parametrize("decoder", DECODERS, ids=lambda each: each.name)
#: These make files, clients or whole configurations for each input: milliseconds, and not less.
SLOW = {
    "live-log",
    "stage",
    "tree",
    "tree-state",
    "dag-file",
    "handler",
    "executor-config",
    "parameter",
}

#: Memory that a decoder may take in any case; `Decoder.bytes_per_byte` comes to that.
LEAST_BYTES = 8 << 20


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No log: what is tested is not what a decoder says."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@each_decoder
def test_valid_examples_are_taken(decoder: Decoder) -> None:
    """At least one example is: mutations of what is refused anyway would show nothing."""
    assert any(map(decoder.check, decoder.examples))


@each_decoder
def test_what_is_almost_valid_has_a_documented_end(decoder: Decoder) -> None:
    """Values replaced, left out, doubled, nested, of another type, size or character."""

    @settings(
        max_examples=12 if decoder.name in SLOW else 60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(decoder.examples), st.randoms(use_true_random=False))
    def check(example: bytes, source: random.Random) -> None:
        decoder.check(mutation.mutated(example, source, most_bytes=1 << 16))

    check()


@each_decoder
def test_any_bytes_have_a_documented_end(decoder: Decoder) -> None:
    """Also what looks like nothing that anybody sends."""

    @settings(
        max_examples=10 if decoder.name in SLOW else 40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=64))
    def check(data: bytes) -> None:
        decoder.check(data)

    check()


@each_decoder
def test_the_corpus_has_a_documented_end(decoder: Decoder) -> None:
    """What fuzzing has found to be different, file by file."""
    for path in sorted(decoder.corpus.glob("*")):
        try:
            decoder.check(path.read_bytes())
        except Exception as e:
            raise AssertionError(f"{decoder.name} fails with {path}") from e


@each_decoder
def test_nesting_around_the_limit_of_python_has_a_documented_end(decoder: Decoder) -> None:
    """What one function may still read, another one may not write, compare or show any more.

    Since Python 3.12 `json` reads what is nested deeper than functions of Python may call each
    other.
    """
    step = 12 if decoder.name in SLOW else 3
    for depth in (*range(900, 1010, step), 1500, 3000, 9000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            text = opening * depth + "0" + closing * depth
            decoder.check(text.encode())
            if (first := decoder.examples[0]).endswith(b"}"):
                decoder.check(first[:-1] + b', "x": ' + text.encode() + b"}")


@each_decoder
@pytest.mark.timeout(120)
def test_large_inputs_take_memory_in_proportion(decoder: Decoder) -> None:
    """No input makes a decoder take more than a multiple of its size, or for ever."""
    size = 1 << (12 if decoder.name in SLOW else 15)
    for piece in (b"[", b'{"a":', b"9", b"a", b"\xff", b"\\", b'",', b"[],", b"0,", b"\n"):
        data = piece * (size // len(piece))
        for given_ in (data, b"[" + data + b"0]", b'{"a":"' + data + b'"}'):
            tracemalloc.start()
            try:
                decoder.check(given_)
                _, most_bytes = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert most_bytes < LEAST_BYTES + decoder.bytes_per_byte * len(given_), piece
