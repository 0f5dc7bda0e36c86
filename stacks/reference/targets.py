"""What one task costs on each target, by how long it runs.

`python -m stacks.reference.targets` prints `docs/reference/costs-of-targets.md`. All targets have
the same memory and processor architecture, so that only their prices and their starts differ.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambda_executor.contract.lambda_limits import LONGEST_LIFE_S, LONGEST_TIMEOUT_S
from stacks.reference.prices import PRICES, READ_ON
from stacks.reference.rates import micro_vm_image_a_month
from stacks.reference.snapshots import COLD_S

ARCHITECTURE = "arm64"

#: Seconds until the image of a container is pulled and its program starts, an estimate; Fargate
#: charges from the beginning of the pull: https://aws.amazon.com/fargate/pricing/
CONTAINER_START_S = 30.0
#: The least that Fargate charges for, in seconds (same page).
FARGATE_LEAST_S = 60.0
#: Seconds from `RunMicrovm` to the first response, and from the end of the main process to that of
#: the MicroVM. Others measured both; whether they are charged is not known, and here they are.
MICRO_VM_START_S, MICRO_VM_END_S = 1.85, 15.0

DURATIONS_S = (600.0, 3_600.0, 21_600.0)


@dataclass(frozen=True, slots=True)
class Size:
    """What a task needs: virtual processors, and memory in GB."""

    cpu: float
    memory_gb: float

    def __str__(self) -> str:
        return f"{self.cpu:g} vCPU, {self.memory_gb:g} GB"


SIZES = (Size(1, 2), Size(4, 8))


@dataclass(frozen=True, slots=True)
class TargetCost:
    """What the tasks of a target cost.

    Attributes:
        a_second: US dollars for a second of a size.
        once: US dollars for the start of a size, beside its time.
        charged_s: The seconds that are charged for a task of so many.
        longest_s: The longest try; None: no limit that a day reaches.
    """

    name: str
    a_second: Callable[[Size], float]
    once: Callable[[Size], float]
    charged_s: Callable[[float], float]
    longest_s: float | None = None

    def usd(self, size: Size, seconds: float) -> float | None:
        """Return the cost of one task in US dollars; None: it is too long."""
        if self.longest_s is not None and seconds > self.longest_s:
            return None
        return self.once(size) + self.charged_s(seconds) * self.a_second(size)


def _usd(name: str) -> float:
    return PRICES[name].usd


def _fargate(kind: str) -> Callable[[Size], float]:
    cpu, memory = _usd(f"{kind}, {ARCHITECTURE}"), _usd(f"{kind}, {ARCHITECTURE}, memory")
    return lambda size: (size.cpu * cpu + size.memory_gb * memory) / 3600


def _in_a_container(seconds: float) -> float:
    return max(FARGATE_LEAST_S, CONTAINER_START_S + COLD_S + seconds)


FUNCTION = TargetCost(
    name="function",
    a_second=lambda size: size.memory_gb * _usd(f"Lambda, {ARCHITECTURE}"),
    once=lambda _: _usd("Lambda, requests") / 1e6,
    charged_s=lambda seconds: COLD_S + seconds,
    longest_s=LONGEST_TIMEOUT_S,
)
MICRO_VM = TargetCost(
    name="MicroVM",
    a_second=lambda size: (
        size.cpu * _usd(f"MicroVM, {ARCHITECTURE}")
        + size.memory_gb * _usd(f"MicroVM, {ARCHITECTURE}, memory")
    ),
    once=lambda size: size.memory_gb * _usd("MicroVM, restore of a snapshot"),
    charged_s=lambda seconds: MICRO_VM_START_S + seconds + MICRO_VM_END_S,
    longest_s=LONGEST_LIFE_S,
)
FARGATE = TargetCost(
    name="Batch or ECS, Fargate",
    a_second=_fargate("Fargate"),
    once=lambda _: 0.0,
    charged_s=_in_a_container,
)
SPOT = TargetCost(
    name="Batch or ECS, Fargate Spot",
    a_second=_fargate("Fargate Spot"),
    once=lambda _: 0.0,
    charged_s=_in_a_container,
)

TARGETS = (FUNCTION, MICRO_VM, FARGATE, SPOT)


def cheaper_from_s(one: TargetCost, other: TargetCost, size: Size) -> int | None:
    """Return from how many seconds on a task costs less on `other`; None: on no length of `one`."""
    for seconds in range(1, int(one.longest_s or LONGEST_LIFE_S) + 1):
        here, there = one.usd(size, seconds), other.usd(size, seconds)
        if here is not None and there is not None and there < here:
            return seconds
    return None


def render() -> str:
    """Return the reference page."""
    small, _ = SIZES
    parts = [
        _HEAD,
        *(f"\n## {size}\n\n{_table(size)}" for size in SIZES),
        _AFTER.format(
            least=cheaper_from_s(FUNCTION, FARGATE, small),
            least_spot=cheaper_from_s(FUNCTION, SPOT, small),
            dearer=MICRO_VM.a_second(small) / FUNCTION.a_second(small),
            dearest=MICRO_VM.a_second(small) / FARGATE.a_second(small),
            small=micro_vm_image_a_month(2048),
            large=micro_vm_image_a_month(8192),
        ),
    ]
    return "".join(parts)


def _table(size: Size) -> str:
    header = " | ".join(f"a task of {_length(seconds)}" for seconds in DURATIONS_S)
    rows = [f"| | an hour | {header} |\n|---|---|{'---|' * len(DURATIONS_S)}\n"]
    for target in TARGETS:
        cells = [f"${3600 * target.a_second(size):.4f}", *_cells(target, size, DURATIONS_S)]
        rows.append(f"| {target.name} | {' | '.join(cells)} |\n")
    return "".join(rows)


def _cells(target: TargetCost, size: Size, durations: Sequence[float]) -> list[str]:
    found = (target.usd(size, seconds) for seconds in durations)
    return ["too long" if usd is None else f"${usd:.4f}" for usd in found]


def _length(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{seconds / 60:g} minutes"
    return f"{hours:g} hour" if hours == 1 else f"{hours:g} hours"


_HEAD = f"""\
# What a task costs on each target

Generated by `python -m stacks.reference.targets` (`make docs`). Prices in US East (N. Virginia),
on demand, [with their sources and dates](costs.md#prices); most are of {READ_ON}. Nothing here has
been compared with a bill ([what is unproven](../unproven.md)). [Which
target](../howto/which-target.md) says what each is for.

All columns are for {ARCHITECTURE}, the only processor of MicroVMs, and for the same memory. A
function's processors come with its memory: at 2 GB it has 1.2 of them, at 8 GB 4.6. With x86_64,
functions and Fargate on demand cost a quarter more, and Spot about twice as much.

A task's own time is charged, and so is its start:

| | start and end | why |
|---|---|---|
| function | {COLD_S:g} s | a cold start; most tasks find a warm environment |
| MicroVM | {MICRO_VM_START_S + MICRO_VM_END_S:g} s, and reading its snapshot | others measured \
{MICRO_VM_START_S:g} s until it answers, and {MICRO_VM_END_S:g} s from the end of its program to \
its own. Whether AWS charges for both is not known; here it does, and for a snapshot of all the \
memory, of which AWS may read less |
| Batch or ECS on Fargate | {CONTAINER_START_S + COLD_S:g} s, {FARGATE_LEAST_S:g} s in all at \
least | the image is pulled, and Airflow imported; the first is an estimate |

**Spot prices move.** Those here were read on AWS's page on {READ_ON}, about a third of the price on
demand. AWS says that they follow the long-term trend of supply and demand, at 30 to 50 % of it:
reckon with half. A task that AWS interrupts is paid for until then, and again from its start.
"""

_AFTER = """
*Too long*: a try on a function ends after 30 minutes at most (15 in some Regions), on a MicroVM
after 8 hours.

A MicroVM that uses more processor or memory than its size pays for that as well, up to four times
as much. Not counted are logs, traffic, a public address ($0.005 an hour for each container that has
one), more than 20 GB of disk on Fargate, and instances of Batch on EC2, whose price is that of
their type.

## What follows

* **Minutes and more cost least on Fargate.** At 1 vCPU and 2 GB a task costs less there than on a
  function if it runs {least} s or longer, on Spot {least_spot} s. It starts half a minute later.
* **A MicroVM costs the most for each second**: {dearer:.1f} times as much as a function and
  {dearest:.1f} times as much as Fargate. What you buy is its start in about two seconds, for tasks
  that a function cannot run to their end.

## While nothing runs

| | a month |
|---|---|
| compute environments, job queues and job definitions of Batch | nothing |
| the ECS cluster and its task definitions | nothing |
| a MicroVM's image | ${small:.2f} for 2 GB, ${large:.2f} for 8 GB, for each version that is kept, \
a week at least: its snapshot is counted with the whole memory |
| a network connector | nothing; traffic between MicroVMs and the VPC is charged |
| the shared file system | $0.30 for each stored GB |
| log groups | $0.03 for each stored GB |
| the way out of private subnets, if the stage has it for its targets only | $32.85 for each NAT \
gateway, or $7.30 for each endpoint and zone |
"""


def main() -> None:
    """Print the page."""
    sys.stdout.write(render())


if __name__ == "__main__":
    main()
