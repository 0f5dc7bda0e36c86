"""The cost page: every resource is counted, and the page is current."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacks.reference import alternatives, cost_charts
from stacks.reference.alternatives import Load, break_even
from stacks.reference.costs import STAGES, lines, render, table
from stacks.reference.prices import FREE, PRICES
from stacks.reference.rates import RATES
from tests.synth.assembly import Assembly, synthesize
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


@pytest.fixture(scope="module")
def on_demand(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """The stage `dev` without spare capacity."""
    folder = tmp_path_factory.mktemp("on-demand")
    return synthesize(folder, "dev", json.loads(alternatives.ON_DEMAND))


def idle(assembly: Assembly) -> float:
    """A month of a stage without a task, in US dollars."""
    return sum(line.idle for line in lines(assembly.json(part) for part in assembly.parts))


def test_the_stages_cost_no_more_than_they_promise(assembly_of: Get, on_demand: Assembly) -> None:
    """The README says so: `dev` on spare capacity, `dev` without it, and `prod`."""
    assert idle(assembly_of("dev")) <= 40
    assert idle(on_demand) <= 65
    assert idle(assembly_of("prod")) <= 350


def test_the_comparison_is_that_of_the_templates(
    assembly_of: Get, on_demand: Assembly, tmp_path: Path
) -> None:
    """`docs/reference/costs-compared.md` and its charts are current; `make docs` writes them."""
    beside = synthesize(tmp_path, "dev", json.loads(alternatives.BESIDE))
    stages = (assembly_of("dev"), on_demand, beside)
    found = (lines(a.json(part) for part in a.parts) for a in stages)
    costs = alternatives.alternatives(*found)
    page = alternatives.render(costs)
    assert (ROOT / "docs/reference/costs-compared.md").read_text() == page, "run: make docs"
    for seconds in alternatives.SECONDS:
        picture = (ROOT / "docs/images" / alternatives.chart_of(seconds)).read_text()
        assert picture == cost_charts.picture(costs, seconds), "run: make docs"


@pytest.mark.parametrize(
    ("name", "load", "usd"),
    [
        # 3 * 100,000 * 31 s / 86,400 s are 108 at once: 54 workers of 2 vCPUs and 8 GB.
        ("Celery on Fargate, fixed", Load(100_000, 30), 54 * 730 * (2 * 0.03238 + 8 * 0.00356)),
        ("MWAA", Load(100, 30), 0.29 * 730),
        ("MWAA Serverless", Load(1000, 600), 1000 * 730 / 24 * 600 / 3600 * 0.08),
    ],
)
def test_an_alternative_costs_what_its_sentence_says(
    assembly_of: Get, name: str, load: Load, usd: float
) -> None:
    """Celery comes with an Airflow that costs as much as ours; the others bring their own."""
    dev = assembly_of("dev")
    costs = alternatives.alternatives(*3 * [lines(dev.json(part) for part in dev.parts)])
    own_airflow = idle(dev) if name.startswith("Celery") else 0
    assert costs[name](load) == pytest.approx(usd + own_airflow)


def test_a_break_even_point_is_where_the_other_becomes_cheaper() -> None:
    """10 dollars and 1 a task, against 100 and 0.1 a task: they meet at 100 tasks."""
    found = break_even(lambda load: 10 + load.tasks, lambda load: 100 + load.tasks / 10, 1)
    assert found is not None
    assert 100 < found <= 102


def test_the_table_of_a_stage_fits_a_terminal(assembly_of: Get) -> None:
    """`make costs` shows what costs something, and the sum."""
    dev = assembly_of("dev")
    text = table("dev", lines(dev.json(part) for part in dev.parts))
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines()]
    (together,) = (row for row in rows if row[:1] == ["together"])
    assert float(together[1]) == pytest.approx(idle(dev), abs=0.01)
    assert ["ECS", "Service", "1", "14.49", "0.00", "0.00"] in rows
    assert not [row for row in rows if row[:2] == ["IAM", "Role"]]


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


@pytest.mark.parametrize(
    ("provider", "address", "an_hour"),
    [
        ("FARGATE", "DISABLED", 0.5 * 0.04048 + 0.004445),
        ("FARGATE", "ENABLED", 0.5 * 0.04048 + 0.004445 + 0.005),
        ("FARGATE_SPOT", "DISABLED", 0.5 * 0.0202 + 0.00222),
    ],
)
def test_a_service_is_paid_for_its_processors_and_memory(
    provider: str, address: str, an_hour: float
) -> None:
    """Two tasks of half a processor and a GB, all month, and their public addresses."""
    task = {"Cpu": "512", "Memory": "1024"}
    service = {
        "DesiredCount": 2,
        "TaskDefinition": {"Ref": "Task"},
        "CapacityProviderStrategy": [{"CapacityProvider": provider, "Weight": 1}],
        "NetworkConfiguration": {"AwsvpcConfiguration": {"AssignPublicIp": address}},
    }
    found = lines(
        [
            template(
                Task={"Type": "AWS::ECS::TaskDefinition", "Properties": task},
                Service={"Type": "AWS::ECS::Service", "Properties": service},
            )
        ]
    )
    assert found[0].idle == pytest.approx(2 * 730 * an_hour)


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
