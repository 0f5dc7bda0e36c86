"""The cost page: every resource is counted, and the page is current."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stacks.reference.costs import STAGES, lines, render
from stacks.reference.prices import FREE, PRICES
from stacks.reference.rates import RATES
from tests.synth.assembly import Assembly
from tests.synth.variants import ROOT

Get = Callable[[str], Assembly]


def template(**resources: dict[str, Any]) -> dict[str, Any]:
    """A template of a few resources."""
    return {"Resources": resources}


def test_the_page_is_that_of_the_templates(assembly_of: Get) -> None:
    """`docs/reference/costs.md` is current; `make docs` writes it."""
    stages = {stage: assembly_of(stage) for stage in STAGES}
    page = render({stage: [a.json(part) for part in a.parts] for stage, a in stages.items()})
    assert (ROOT / "docs/reference/costs.md").read_text() == page, "run: make docs"


def test_every_resource_is_priced_or_known_to_be_free(assembly: Assembly) -> None:
    """Every type of resource in any stage has a price or is known to be free."""
    for resource in assembly.resources():
        assert (resource.type in RATES) != (resource.type in FREE), str(resource)


def test_a_type_without_a_price_is_an_error() -> None:
    """A type of resource without a price is an error."""
    with pytest.raises(KeyError, match="AWS::Neptune::DBCluster has no price"):
        lines([template(Graph={"Type": "AWS::Neptune::DBCluster"})])


def test_a_database_with_a_standby_costs_twice() -> None:
    """Instance and storage are charged in each zone: 730 h at $0.016 and 20 GB at $0.115."""
    properties = {"DBInstanceClass": "db.t4g.micro", "AllocatedStorage": "20"}
    single, double = (
        lines([template(Db={"Type": "AWS::RDS::DBInstance", "Properties": properties | more})])
        for more in ({}, {"MultiAZ": True})
    )
    assert single[0].idle == pytest.approx(13.98)
    assert double[0].idle == pytest.approx(27.96)


def test_a_workload_costs_its_memory_for_its_time() -> None:
    """A minute on 2 GB of x86_64 is 120 GB-seconds and a request; idle costs nothing."""
    function = {"MemorySize": 2048, "Architectures": ["x86_64"]}
    (line,) = lines([template(F={"Type": "AWS::Lambda::Function", "Properties": function})])
    assert line.idle == 0
    assert line.thousand(60) == pytest.approx(1000 * 120 * 0.0000166667 + 0.0002)


def test_a_service_is_paid_for_its_processors_and_memory() -> None:
    """Two tasks of half a processor and a GB, all month."""
    task = {"Cpu": "512", "Memory": "1024"}
    service = {"DesiredCount": 2, "TaskDefinition": {"Ref": "Task"}}
    found = lines(
        [
            template(
                Task={"Type": "AWS::ECS::TaskDefinition", "Properties": task},
                Service={"Type": "AWS::ECS::Service", "Properties": service},
            )
        ]
    )
    assert found[0].idle == pytest.approx(2 * 730 * (0.5 * 0.04048 + 0.004445))


def test_two_functions_do_not_make_a_workload_dearer() -> None:
    """Of several functions, the most expensive one is counted."""
    functions = {
        name: {"Type": "AWS::Lambda::Function", "Properties": {"MemorySize": size}}
        for name, size in (("Small", 1024), ("Large", 4096))
    }
    (line,) = lines([template(**functions)])
    (large,) = lines([template(Large=functions["Large"])])
    assert line.count == 2
    assert line.thousand(1) == large.thousand(1)


def test_every_price_can_be_checked() -> None:
    """Each price is positive, and names AWS's page and the page where it was read, if any."""
    for name, price in PRICES.items():
        assert price.usd > 0, name
        assert price.page.startswith("https://aws.amazon.com/"), name
        assert price.source is None or price.source.startswith("https://"), name
