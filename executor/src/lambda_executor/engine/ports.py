"""What an engine needs of Airflow, by the thread that calls it; `core/ports.py` is for AWS."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Protocol, TypeVar

from lambda_executor.contract.wire import InvocationId

Key = TypeVar("Key", bound=Hashable)
Key_contra = TypeVar("Key_contra", bound=Hashable, contravariant=True)


class Airflow(Protocol[Key_contra]):
    """The scheduler that an engine works for; called on the scheduler's own thread."""

    def succeed(self, key: Key_contra) -> None:
        """Notify it of a workload's success, and free the slot."""

    def fail(self, key: Key_contra, reason: str) -> None:
        """Notify it of a workload's failure, and free the slot."""

    def has_taken(self, key: Key_contra) -> bool:
        """Whether it has taken the event of a workload."""

    def states(self, invocations: Mapping[InvocationId, Key_contra]) -> Mapping[InvocationId, str]:
        """Return the states of the tasks among some invocations, as far as it knows them."""

    def out_of_time(self, keys: Sequence[Key_contra]) -> None:
        """Notify it of workloads that their targets' time-outs have ended; never raises.

        It is called in each step, most often with none.
        """

    def hold_slot(self, key: Key_contra) -> None:
        """Count a workload as running."""

    def free_slot(self, key: Key_contra) -> None:
        """Stop counting a workload as running, without an event."""


class AirflowState(Protocol[Key]):
    """Airflow's database. Called on the reconciler's thread; may be slow."""

    def waits_for(self, in_flight: Mapping[InvocationId, Key]) -> set[InvocationId]:
        """Return the invocations whose workload is still queued or running in the database."""

    def awaited(self, ids: Collection[InvocationId]) -> Collection[InvocationId]:
        """Return those of some invocations, of any scheduler, for whose end Airflow waits.

        All of them, if it may wait for one and the database does not say for which. The ids may be
        any text: they come from messages.
        """

    def unowned(self) -> Mapping[InvocationId, Key]:
        """Return what Airflow waits for and never offers for adoption, from any scheduler."""

    def ends(self, key: Key) -> bool:
        """Whether Airflow itself ends a workload from which nothing is heard. Asks nothing."""

    def longest_wait_s(self) -> float:
        """Seconds after which no function can still be running a workload; a job may be."""
