"""Jobs for which their service has no room wait in turn, and hold up no other target."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from lambda_executor.contract.errors import (
    CredentialsError,
    ExpiredError,
    InDoubtError,
    LambdaExecutorError,
    NoRoomError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.apis import ECS, JOBS, MICROVM, Api
from lambda_executor.core.backlog import Waiting
from lambda_executor.core.dispatch import (
    Dispatch,
    Envelope,
    InDoubt,
    Outcome,
    Outlived,
    Refused,
    Sent,
)
from lambda_executor.core.dispatch_queue import DispatchQueue
from lambda_executor.core.targets import JobTarget, Service

TOKEN_S = 600.0
LATENCY_S = 0.3
FULL = NoRoomError("You've reached the limit on the number of vCPUs")
EXPIRED = ExpiredError("its token ran out")

#: What a service answers to a launch that arrives at a point in time; None: it takes it.
Answers = Callable[[Dispatch, float], LambdaExecutorError | None]


def launch(name: str, target: str = "a", priority: float = 0) -> Dispatch:
    """One launch on a target."""
    envelope = Envelope(JobTarget(target, Service.ECS, "{}"), b"")
    return Dispatch(InvocationId(name), lambda: envelope, target_name=target, priority=priority)


def launches(count: int) -> list[Dispatch]:
    """So many of them."""
    return [launch(f"a-{number:04}") for number in range(count)]


def full(_dispatch: Dispatch, now_s: float) -> LambdaExecutorError:
    """No room until the tokens expire."""
    return FULL if now_s < TOKEN_S else EXPIRED


@dataclass
class World:
    """A queue before one service, under a clock of its own.

    Attributes:
        queue: The queue.
        answers: The service.
        calls: The launches that were sent, and when.
        outcomes: What became of them.
    """

    queue: DispatchQueue
    answers: Answers
    calls: list[tuple[float, InvocationId]] = field(default_factory=list)
    outcomes: dict[InvocationId, Outcome] = field(default_factory=dict)
    now_s: float = 0.0

    @classmethod
    def of(cls, answers: Answers, *pushed: Dispatch, api: Api = ECS, seed: int = 0) -> World:
        """A queue with launches that were submitted at second 0."""
        uniform = random.Random(seed).uniform
        queue = DispatchQueue(2, most_under_way=50, api=api, uniform=uniform)
        world = cls(queue, answers)
        world.push(*pushed)
        return world

    def push(self, *dispatches: Dispatch) -> None:
        """Submit launches."""
        for dispatch in dispatches:
            self.queue.push(dispatch, self.now_s)

    def run(self, until_s: float) -> None:
        """Send what may be sent, and answer it, until a point in time.

        That a token has expired is known without the service.
        """
        numbers = itertools.count()
        under_way: list[tuple[float, int, Waiting, LambdaExecutorError | None]] = []
        while self.now_s < until_s:
            while waiting := self.queue.pop(self.now_s):
                error = self.answers(waiting.dispatch, self.now_s)
                if error is EXPIRED:
                    self._answer(waiting, error)
                    continue
                self.calls.append((self.now_s, waiting.dispatch.id))
                answer = (self.now_s + LATENCY_S, next(numbers), waiting, error)
                heapq.heappush(under_way, answer)
            wait_s = self.queue.wait_s(self.now_s)
            sent_s = until_s if wait_s is None else self.now_s + max(wait_s, 1e-6)
            if under_way and under_way[0][0] <= sent_s:
                self.now_s, _, waiting, error = heapq.heappop(under_way)
                self._answer(waiting, error)
            else:
                self.now_s = min(sent_s, until_s)
        for _, _, waiting, error in under_way:
            self._answer(waiting, error)

    def _answer(self, waiting: Waiting, error: LambdaExecutorError | None) -> None:
        outcome = (
            self.queue.succeeded(waiting, self.now_s)
            if error is None
            else self.queue.failed(waiting, error, self.now_s)
        )
        if outcome:
            assert outcome.id not in self.outcomes
            self.outcomes[outcome.id] = outcome

    def kinds(self) -> set[type[Outcome]]:
        """The kinds of outcomes."""
        return {type(outcome) for outcome in self.outcomes.values()}

    def sent_s(self, name: str) -> float:
        """When a launch was sent first."""
        return next(at_s for at_s, id in self.calls if id == name)

    def taken(self) -> Sequence[str]:
        """The launches that were taken, in order."""
        return [id for id, outcome in self.outcomes.items() if isinstance(outcome, Sent)]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep no log of hundreds of launches."""
    caplog.set_level(logging.CRITICAL, "lambda_executor")


# ---- what waits until its token expires ----


@pytest.mark.parametrize("count", [1, 400, 1000])
@pytest.mark.parametrize("api", JOBS.values(), ids=lambda api: api.name)
def test_no_job_is_refused_that_only_waited_for_room(api: Api, count: int) -> None:
    """Also one that was never sent, because others waited for the same room."""
    world = World.of(full, *launches(count), api=api)
    world.run(TOKEN_S + 300)
    assert len(world.outcomes) == count
    assert world.kinds() == {Outlived}
    assert len(world.queue) == 0


def test_no_job_is_refused_that_only_waited_for_the_rate() -> None:
    """Five MicroVMs a second are 3,000 in ten minutes."""
    world = World.of(
        lambda _, now_s: None if now_s < TOKEN_S else EXPIRED, *launches(3100), api=MICROVM
    )
    world.run(TOKEN_S + 60)
    assert len(world.outcomes) == 3100
    assert world.kinds() == {Sent, Outlived}


def test_no_job_is_refused_that_only_waited_for_others_calls() -> None:
    """Throttles are a matter of the rate while some calls are taken."""
    chance = random.Random(0)

    def answers(_: Dispatch, now_s: float) -> LambdaExecutorError | None:
        if now_s >= TOKEN_S:
            return EXPIRED
        return ThrottledError("429") if chance.random() < 0.5 else None

    world = World.of(answers, *launches(4000), api=MICROVM)
    world.run(TOKEN_S + 600)
    assert len(world.outcomes) == 4000
    assert world.kinds() == {Sent, Outlived}


@pytest.mark.parametrize("error", [UnreachableError("refused"), CredentialsError("none")])
def test_a_job_is_refused_that_could_not_be_sent(error: LambdaExecutorError) -> None:
    """A person has to see to that."""
    world = World.of(lambda _, now_s: error if now_s < TOKEN_S else EXPIRED, *launches(10))
    world.run(TOKEN_S + 60)
    reason = f"its token ran out. The last send failed: {error}"
    assert world.outcomes == {one.id: Refused(one.id, reason) for one in launches(10)}


@pytest.mark.parametrize("first", [UnreachableError("refused"), TransientError("503")])
def test_a_failure_before_the_wait_for_room_does_not_count(first: LambdaExecutorError) -> None:
    """An answer shows that the service is there."""
    world = World.of(
        lambda dispatch, now_s: first if now_s < 2 else full(dispatch, now_s), *launches(400)
    )
    world.run(TOKEN_S + 60)
    assert len(world.outcomes) == 400
    assert world.kinds() == {Outlived}


def test_a_launch_in_doubt_is_never_given_back_as_one_that_waited() -> None:
    """AWS may have taken it."""
    doubtful = {InvocationId("a-0003")}

    def answers(dispatch: Dispatch, now_s: float) -> LambdaExecutorError:
        if dispatch.id in doubtful:
            doubtful.remove(dispatch.id)
            return InDoubtError("500")
        return full(dispatch, now_s)

    world = World.of(answers, *launches(30))
    world.run(TOKEN_S + 60)
    assert isinstance(world.outcomes.pop(InvocationId("a-0003")), InDoubt)
    assert world.kinds() == {Outlived}


# ---- what does not wait ----


@pytest.mark.parametrize("api", JOBS.values(), ids=lambda api: api.name)
def test_a_target_without_room_holds_up_no_other(api: Api) -> None:
    """It is asked ever less often, and the other one has all of the rate."""
    world = World.of(
        lambda dispatch, now_s: full(dispatch, now_s) if dispatch.target_name == "a" else None,
        *launches(1000),
        api=api,
    )
    world.run(120)
    world.push(launch("b", "b"))
    world.run(TOKEN_S)
    assert world.sent_s("b") < 121
    after_the_first = [at_s for at_s, id in world.calls if at_s >= 10 and id != "b"]
    assert len(after_the_first) <= (TOKEN_S - 10) / 5
    assert world.taken() == ["b"]


def test_the_log_says_what_has_no_room_and_how_many_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once for each try, and not for each that waits."""
    caplog.set_level(logging.WARNING, "lambda_executor")
    World.of(full, *launches(400)).run(100)
    assert "No room on a: 400 invocations wait, one is tried in" in caplog.text
    assert caplog.text.count(f"s: {FULL}") == len(caplog.messages) < 20


def test_all_that_wait_leave_as_soon_as_there_is_room() -> None:
    """At the rate of the service, in their order."""
    world = World.of(lambda _, now_s: FULL if now_s < 100 else None, *launches(200))
    world.run(130)
    taken = world.taken()
    assert len(taken) == 200
    first, *others = taken
    assert others == sorted(set(taken) - {first})


def test_a_target_with_little_room_is_filled() -> None:
    """One place becomes free every 20 s: each is taken soon."""
    taken_s = list[float]()

    def answers(_: Dispatch, now_s: float) -> LambdaExecutorError | None:
        if len(taken_s) >= now_s // 20:
            return FULL
        taken_s.append(now_s)
        return None

    world = World.of(answers, *launches(500))
    world.run(580)
    assert len(taken_s) >= 27
    assert len(world.calls) < 580


def test_what_is_urgent_is_tried_first_and_holds_up_nothing_smaller() -> None:
    """It may be the only one that is too large: each has its turn."""
    world = World.of(
        lambda dispatch, now_s: full(dispatch, now_s) if dispatch.priority else None,
        *launches(50),
        launch("large", priority=5),
        launch("larger", priority=9),
    )
    world.run(300)
    assert [id for _, id in world.calls][:2] == ["larger", "large"]
    assert len(world.taken()) == 50


def test_what_becomes_urgent_while_others_wait_leaves_first() -> None:
    """Those that were tried before it do not."""
    world = World.of(lambda _, now_s: FULL if now_s < 60 else None, *launches(5))
    world.run(50)
    world.push(launch("urgent", priority=1))
    world.run(90)
    assert world.taken().index("urgent") <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_place_that_becomes_free_goes_to_the_most_urgent(seed: int) -> None:
    """One after the other becomes free, and less urgent launches keep coming."""
    free_s = 120.0

    def one_a_minute(_: Dispatch, now_s: float) -> LambdaExecutorError | None:
        nonlocal free_s
        if now_s < free_s:
            return FULL
        free_s += 60
        return None

    world = World.of(one_a_minute, *launches(60), seed=seed)
    world.run(30)
    world.push(launch("urgent", priority=10))
    for number in range(50):
        world.run(42 + 12 * number)
        world.push(launch(f"later-{number}"))
    assert world.taken().index("urgent") < 4


def test_a_launch_that_is_refused_or_revoked_leaves_its_turn_to_the_next() -> None:
    """Nobody waits behind what is gone."""
    wanted = {"a-0000", "a-0001"}
    first, second, third = (
        Dispatch(
            InvocationId(f"a-000{number}"),
            launch("").prepare,
            wanted=lambda number=number: f"a-000{number}" in wanted,  # type: ignore[misc]
            target_name="a",
        )
        for number in range(3)
    )
    wanted.add("a-0002")
    answers = {first.id: FULL, second.id: RejectedError("no such image"), third.id: FULL}
    world = World.of(lambda dispatch, _: answers[dispatch.id], first, second, third)
    world.run(20)
    assert set(world.outcomes) == {second.id}
    wanted.remove("a-0000")
    world.queue.drop([first.id])
    assert len(world.queue) == 1
    del answers[third.id]
    world.answers = lambda *_: None
    world.run(60)
    assert world.taken() == [third.id]
    assert len(world.queue) == 0
