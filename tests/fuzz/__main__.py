"""Fuzzes every decoder of `tests/fuzz/decoders.py`: `python -m tests.fuzz --seconds 1800`.

The time is shared among the decoders. Each has a process of its own, so that none can end or slow
down another. An input that makes one fail, take longer than `SLOW_S` or more than `MOST_MB` is
saved; the exit code is then 1, and the last lines say how to repeat it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import conftest as conftest  # noqa: PLC0414 - no account, no Airflow home of a user
from tests.fuzz.decoder import CORPUS, ROOT, Decoder
from tests.fuzz.decoders import BY_NAME
from tests.fuzz.keeping import keep

BUILD = ROOT / "build" / "fuzz"
#: atheris's virtual environment, which the Makefile makes. It has the same Python as this one.
VENV = ROOT / "build" / "venv" / "fuzz"

#: Longest time of one input, in seconds of a slow machine.
SLOW_S = 20
#: Most memory of one process, in MiB; Airflow takes 200 of it.
MOST_MB = 2048
#: Largest input, in bytes.
MOST_BYTES = 64 * 1024

_FIGURE = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_FAULT = re.compile(
    r"^ === Uncaught Python exception: ===\n(.*?)(?=^==\d+==|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fuzzing one decoder came to.

    Attributes:
        executions: How many inputs were tried.
        inputs: How many of them are different for the coverage.
        found: The inputs that make it fail.
        output: What the fuzzer wrote.
    """

    decoder: Decoder
    seconds: float
    executions: int
    inputs: int
    found: Sequence[Path]
    output: str


def main(arguments: Sequence[str]) -> int:
    """Fuzz, or repeat one input; returns the exit code."""
    given = _parsed(arguments)
    if given.replay:
        name, file = given.replay
        print("taken" if BY_NAME[name].check(Path(file).read_bytes()) else "refused")
        return 0
    chosen = [BY_NAME[name] for name in given.only or BY_NAME]
    seconds = max(1, given.seconds // len(chosen))
    print(f"Fuzzing {len(chosen)} decoders for {seconds} s each", flush=True)
    outcomes = [_told(each) for each in _fuzzed(chosen, seconds, given.seed)]
    if given.keep:
        for decoder in chosen:
            keep(decoder, BUILD / decoder.name / "corpus")
    return _summarised(outcomes)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=1800, help="for all decoders together")
    parser.add_argument("--only", nargs="+", choices=BY_NAME, metavar="DECODER")
    parser.add_argument("--seed", type=int, default=0, help="0: another one every time")
    parser.add_argument("--keep", action="store_true", help="renew the corpus in the repository")
    parser.add_argument("--replay", nargs=2, metavar=("DECODER", "FILE"))
    return parser.parse_args(arguments)


def _fuzzed(decoders: Sequence[Decoder], seconds: int, seed: int) -> Iterator[Outcome]:
    """Fuzz each decoder for so long."""
    for decoder in decoders:
        _prepare(decoder)
    began_s = time.monotonic()
    for name, exit_code in _run(
        decoders,
        *(f"-max_total_time={seconds}", f"-seed={seed}", "-print_final_stats=1"),
        *(f"-timeout={SLOW_S}", f"-rss_limit_mb={MOST_MB}", f"-max_len={MOST_BYTES}"),
        *(f"-report_slow_units={SLOW_S}", f"-artifact_prefix={BUILD}/{{name}}/found/"),
        *(f"{BUILD}/{{name}}/corpus", f"{BUILD}/{{name}}/examples", f"{CORPUS}/{{name}}"),
    ):
        folder = BUILD / name
        output = (folder / "output.txt").read_text(errors="replace")
        found = sorted((folder / "found").iterdir())
        if exit_code and not found:  # It did not come to fuzzing at all.
            raise SystemExit(f"{name} could not be fuzzed:\n{output[-4000:]}")
        now_s = time.monotonic()
        figures = {figure: int(number) for figure, number in _FIGURE.findall(output)}
        executions = figures.get("number_of_executed_units", 0)
        inputs = len(list((folder / "corpus").iterdir()))
        yield Outcome(BY_NAME[name], now_s - began_s, executions, inputs, found, output)
        began_s = now_s


def _prepare(decoder: Decoder) -> None:
    """Make the folders of a decoder; what was found to be different in earlier runs stays."""
    folder = BUILD / decoder.name
    for name in ("found", "examples"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / "found", folder / "examples", folder / "corpus", decoder.corpus):
        path.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(decoder.examples):
        (folder / "examples" / f"{number}").write_bytes(example)


def _run(decoders: Sequence[Decoder], *arguments: str) -> Iterator[tuple[str, int]]:
    """Run the fuzzer; yield each decoder's name and exit code once it has ended."""
    (packages,) = VENV.glob("lib/python3*/site-packages")
    path = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
    names = [decoder.name for decoder in decoders]
    with (
        (BUILD / "output.txt").open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.fuzzer", *arguments, "--", *names],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as fuzzer,
    ):
        assert fuzzer.stdout is not None
        for line in fuzzer.stdout:
            name, _, exit_code = line.partition(" ")
            yield name, int(exit_code)
    if fuzzer.returncode:
        raise SystemExit((BUILD / "output.txt").read_text(errors="replace")[-4000:])


def _told(outcome: Outcome) -> Outcome:
    """Print the line of one decoder."""
    print(
        f"{outcome.decoder.name:<22} {outcome.executions:>10,} inputs in {outcome.seconds:>4.0f} s,"
        f" {outcome.inputs:>5} kept{', FAILED' if outcome.found else ''}",
        flush=True,
    )
    return outcome


def _summarised(outcomes: Sequence[Outcome]) -> int:
    untried = [outcome.decoder.name for outcome in outcomes if not outcome.executions]
    if untried:
        print(f"\nNo input was tried for {', '.join(untried)}")
    failed = [outcome for outcome in outcomes if outcome.found]
    for outcome in failed:
        fault = _FAULT.search(outcome.output)
        print(f"\n{outcome.decoder.name}:\n{(fault[1] if fault else outcome.output[-2000:])}")
        for path in outcome.found:
            file = path.relative_to(ROOT)
            print(f"  .venv/bin/python -m tests.fuzz --replay {outcome.decoder.name} {file}")
    executions = sum(outcome.executions for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"\n{executions:,} inputs in {seconds:,.0f} s, {len(failed)} of {len(outcomes)} failed")
    return 1 if failed or untried else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
