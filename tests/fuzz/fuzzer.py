"""Fuzzes decoders one after the other, guided by coverage.

`python -m tests.fuzz.fuzzer ARGUMENT... -- DECODER...`, of which the arguments are libFuzzer's
(https://llvm.org/docs/LibFuzzer.html#options), with `{name}` for the name of the decoder. atheris,
which brings it, is in a virtual environment of its own; `tests.fuzz` puts that on the path.

What takes seconds to import is imported once, and each decoder is fuzzed in a fork. What the fork
writes goes to `build/fuzz/<decoder>/output.txt`, and its exit code to stdout.
"""

from __future__ import annotations

import logging
import os
import random
import sys

import atheris

import conftest as conftest  # noqa: PLC0414 - no account, no Airflow home of a user

with atheris.instrument_imports(include=["lambda_executor", "lambda_image", "stacks"]):
    from tests.fuzz.decoder import ROOT
    from tests.fuzz.decoders import BY_NAME
    from tests.fuzz.mutation import mutated

#: How often an input is changed as a value; otherwise libFuzzer changes its bytes.
_STRUCTURED = 0.7


def main(arguments: list[str]) -> None:
    """Fuzz each decoder, and write a line with its name and its exit code."""
    at = arguments.index("--")
    for name in arguments[at + 1 :]:
        if (child := os.fork()) == 0:
            _fuzz(name, [argument.format(name=name) for argument in arguments[:at]])
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{name} {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one decoder until libFuzzer has an end, or a fault is found; never returns."""
    decoder = BY_NAME[name]
    logging.disable(logging.CRITICAL)
    output = os.open(ROOT / "build" / "fuzz" / name / "output.txt", os.O_WRONLY | os.O_CREAT)
    os.ftruncate(output, 0)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def change(data: bytes, most_bytes: int, seed: int) -> bytes:
        source = random.Random(seed)
        if source.random() < _STRUCTURED:
            return mutated(data, source, most_bytes)
        return bytes(atheris.Mutate(data, min(most_bytes, max(len(data), 64))))

    atheris.Setup([f"tests.fuzz.{name}", *arguments], decoder.check, custom_mutator=change)
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
