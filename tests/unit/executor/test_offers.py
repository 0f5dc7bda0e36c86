"""What targets offer, what a task needs, and the errors for unusable values of both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.contract.options import OFFERS
from lambda_executor.contract.routing_reason import routed
from lambda_executor.core.offers import Need, Offer, next_longer, of_queue, smallest
from lambda_executor.core.task_settings import TaskSettings, moved_to, with_routed
from lambda_executor.setup import offers

SMALL = Offer("default", timeout_s=900, memory_mb=1769, cpu=1, disk_gb=0.5)
LARGE = Offer("large", timeout_s=900, memory_mb=10240, cpu=6, disk_gb=10)
DAY = Offer("day", timeout_s=86400, memory_mb=8192, cpu=2, disk_gb=20)
GPU = Offer("gpu", memory_mb=65536, cpu=8, gpu=1, disk_gb=100)
ALL = (SMALL, LARGE, DAY, GPU)


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        (Need(), SMALL),
        (Need(timeout_s=880, memory_mb=1769, cpu=1, disk_gb=0.5), SMALL),
        (Need(timeout_s=881), DAY),
        (Need(memory_mb=1770), LARGE),
        (Need(cpu=1.5), LARGE),
        (Need(disk_gb=10.5), DAY),
        (Need(timeout_s=1e9), GPU),
        (Need(gpu=1), GPU),
        (Need(gpu=2), None),
    ],
)
def test_the_first_that_fits_is_the_smallest(need: Need, expected: Offer | None) -> None:
    """A try must end before its target asks it to stop, 20 s before the time-out."""
    assert smallest(ALL, need) == expected


@pytest.mark.parametrize(("timeout_s", "longest_s"), [(900, 880), (80, 60), (40, 30), (4, 1)])
def test_a_short_time_out_leaves_most_of_it(timeout_s: float, longest_s: float) -> None:
    """The margin is the default one of the image."""
    assert Offer("q", timeout_s=timeout_s).longest_try_s == longest_s


@pytest.mark.parametrize(
    ("current", "need", "expected"),
    [
        (SMALL, Need(), DAY),
        (LARGE, Need(), DAY),
        (SMALL, Need(memory_mb=10000), GPU),
        (DAY, Need(), GPU),
        (DAY, Need(gpu=2), None),
        (GPU, Need(), None),
    ],
)
def test_the_next_longer_is_larger_too(current: Offer, need: Need, expected: Offer | None) -> None:
    """One with as little time would end in the same way."""
    assert next_longer(ALL, current, need) == expected


def test_a_queue_may_have_no_offer() -> None:
    """Then nobody knows what its target gives."""
    assert of_queue(ALL, "day") is DAY
    assert of_queue(ALL, "x") is None
    assert of_queue(ALL, None) is None


def test_the_texts_name_what_is_set() -> None:
    """They are for people, who write the same words."""
    assert str(Need(3600, 4096, 0.5, 1, 10)) == (
        "execution_timeout 3600 s, memory_mb 4096, cpu 0.5, gpu 1, disk_gb 10"
    )
    assert str(GPU) == "gpu (no time limit, 65536 MB, 8 vCPU, 1 GPU, 100 GB of disk)"


def test_the_option_keeps_its_order() -> None:
    """It says which target is smaller."""
    assert offers.read('{"b": {"cpu": 0.5}, "a": {"timeout_s": 900}}') == (
        Offer("b", cpu=0.5),
        Offer("a", timeout_s=900),
    )
    assert [offer.queue for offer in offers.read(OFFERS.example)] == ["default", "long"]
    assert offers.read(None) == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "offers is no JSON"),
        ("[]", "set it to a JSON object from queue to offer"),
        ({"long": 5}, "has 5 for the queue 'long': write an object of numbers"),
        ({"long": {"memory": 5}}, "has 'memory' for the queue 'long': allowed are timeout_s, mem"),
        ({"long": {"memory_mb": 0.5}}, "has 0.5 for memory_mb of .*a whole number of at least 0"),
        ({"long": {"cpu": "2"}}, "has '2' for cpu of the queue 'long': write a number"),
        ({"long": {"gpu": True}}, "has True for gpu"),
        ({"long": {"timeout_s": 0}}, "has 0 for timeout_s .*a number above 0, or leave it out"),
        ('{"long": {"cpu": NaN}}', "has nan for cpu"),
    ],
)
def test_an_unusable_option_is_refused(value: Any, message: str) -> None:
    """The error names the value, the queue and what is allowed."""
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(ConfigError, match=message):
        offers.read(text)


def test_a_tasks_settings_are_read() -> None:
    """What is left out is unset."""
    given = {"memory_mb": 4096, "cpu": 0.5, "gpu": 1, "disk_gb": 1.5, "on_deadline": "next_target"}
    found = TaskSettings.read({"lambda_executor": given, "batch": {}})
    assert found == TaskSettings(need=Need(0, 4096, 0.5, 1, 1.5), moves_on_deadline=True)
    assert TaskSettings.read(None) == TaskSettings.read({"pod": 1}) == TaskSettings()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": 1}, "has 'memory'; allowed are target, function, memory_mb, cpu, gpu, disk_gb"),
        ({"memory_mb": "4 GB"}, "is '4 GB'; write a whole number above 0"),
        ({"memory_mb": True}, "is True; write a whole number"),
        ({"cpu": 0}, "is 0; write a number above 0"),
        ({"disk_gb": float("nan")}, "is nan"),
        ({"on_deadline": "retry"}, "is 'retry'; write 'next_target', or leave it out"),
        ({"target": "a", "function": "b"}, "write either"),
        ({"target": 5}, "write either"),
        ({}, "write either"),
        ("large", "write either"),
    ],
)
def test_unusable_settings_are_refused(given: Any, message: str) -> None:
    """The error names the value and what is allowed."""
    with pytest.raises(RouteError, match=message):
        TaskSettings.read({"lambda_executor": given})


def test_the_reason_is_kept_beside_the_settings() -> None:
    """Several tasks may share one `executor_config`, so it is copied."""
    config = {"lambda_executor": {"cpu": 2}, "pod": 1}
    changed = with_routed(config, "why")
    assert changed == {"lambda_executor": {"cpu": 2, "routed": "why"}, "pod": 1}
    assert config == {"lambda_executor": {"cpu": 2}, "pod": 1}
    assert with_routed(None, "why") == {"lambda_executor": {"routed": "why"}}
    assert routed(changed) == TaskSettings.read(changed).routed == "why"
    assert moved_to(with_routed(config, "why", "long")) == "long"
    assert moved_to(changed) == ""
    assert routed(config) == routed(None) == routed({"lambda_executor": "x"}) == ""
