"""The plan: what is done in which order, what it runs, and what must be seen.

`docs/unproven.md` has the same list; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lambda_executor.contract.lambda_limits import EARLIER_LONGEST_TIMEOUT_S, LONGEST_TIMEOUT_S
from prove import checks
from prove.actions import Action, Call, Deploy, InAirflow, Seen, Shell, deploy
from prove.airflow_api import DagRuns
from prove.place import FOLDER, NotSeenError, Place
from stacks.config.relations.snapshots import obstacles

Check = Callable[[Place, Seen], str]

#: How each DAG of `dags/` ends.
ENDS = {
    "fails_for_good": "failed",
    "large_config": "success",
    "mapped_squares": "success",
    "retry_once": "success",
}
#: A range from which nobody can come: it is reserved, and yet the configuration calls it public.
#: https://www.rfc-editor.org/rfc/rfc7526
NOBODY = "192.88.99.0/24"
PRIVATE = "10.0.0.0/8"
NO_IMAGE = "sha256:" + "0" * 64
PROBE = '["lambda_executor probe", {"dag_files": {}}]'
#: More than any account is granted without a request.
TOO_MANY = 90_000

_OURS = "the stage's own DAG files and configuration until it is deployed again"
_FUNCTION = {"FunctionName": "$FunctionName"}
_NEW_TASKS = (
    "for service in $(aws ecs list-services --cluster airflow-lambda-{stage} "
    "--query 'serviceArns[]' --output text); do aws ecs update-service --cluster "
    "airflow-lambda-{stage} --service $service --force-new-deployment --query "
    "service.serviceName; done"
)
_AIRFLOW = "python -m lambda_image.control_plane"
_SEND = "boto3.client('sqs').send_message(QueueUrl='$ResultsQueueUrl', MessageBody='x')"
_LIST = "boto3.client('s3').list_objects_v2(Bucket='$PayloadBucketName')"


def _nothing(_place: Place) -> Any:
    return None


def _always(_place: Place) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan.

    Attributes:
        name: Names it on the command line.
        does: What it does, for a person.
        sees: What must be seen.
        minutes: How long it takes, as a guess.
        actions: What it runs.
        check: Judges what was seen.
        before: What is noted before the first action, for the check.
        undo: What is run afterwards, whatever was seen.
        undone: Judges whether that worked.
        after: Steps without which it makes no sense.
        only_account: Why the embedded AWS cannot show it; empty: it can.
        takes: What it takes from those who use the stage; empty: nothing.
        left_out: Returns why the stage has no use for it; empty: it has.
    """

    name: str
    does: str
    sees: str
    minutes: int
    actions: Callable[[Place], Sequence[Action]]
    check: Check
    before: Callable[[Place], Any] = _nothing
    undo: Callable[[Place, Seen], Sequence[Action]] = field(default=lambda _place, _seen: ())
    undone: Check | None = None
    after: tuple[str, ...] = ("deploy",)
    only_account: str = ""
    takes: str = ""
    left_out: Callable[[Place], str] = _always

    def all_actions(self, place: Place) -> Iterator[Action]:
        """Yield what it runs, and then what undoes it."""
        yield from self.actions(place)
        yield from self.undo(place, Seen(FOLDER))


def _needs_airflow(place: Place) -> str:
    if not place.has_airflow:
        return "the stage has no Airflow of its own"
    if not place.config.control_plane.execute_command:
        return "control_plane.execute_command is false: there is no way in"
    return ""


def _needs_its_dags(place: Place) -> str:
    if place.config.dags.source != "baked":
        return f'dags.source is "{place.config.dags.source}", so the image has no DAG files'
    if place.config.image.uri:
        return "image.uri names an image, which has its own DAG files"
    return _needs_airflow(place)


def _needs_a_plain_image(place: Place) -> str:
    image = place.config.image
    for name in ("airflow_version", "base_image", "python_version", "requirements"):
        if name in image.model_fields_set:
            return f"image.{name} is set, which is refused beside an image that is not built"
    if len({function.architecture for function in place.config.functions}) > 1:
        return "functions have two architectures, and a missing image is one"
    return ""


def _needs_services(place: Place) -> str:
    return "" if place.has_airflow else "the stage has no Airflow of its own"


def _needs_fresh_stage(place: Place) -> str:
    if place.config.removal == "retain":
        return 'the stage keeps its data (removal is "retain")'
    return _needs_services(place)


def _needs_certificate(place: Place) -> str:
    if place.certificate_arn and place.domain_name:
        return _needs_fresh_stage(place)
    return "give --certificate-arn and --domain-name"


def _needs_snapshots(place: Place) -> str:
    function = place.config.default_function
    if place.config.image.uri and not function.snap_start:
        return "image.uri names an image, whose Python is not known"
    return next((found for found, _ in obstacles(place.config, function)), "")


def _goes(place: Place) -> str:
    if place.config.removal == "retain":
        return 'the stage keeps its data (removal is "retain"): make destroy refuses it'
    return ""


def _bootstrap(place: Place) -> list[Action]:
    """Make what is missing; what is there is for every CDK app of the account and Region."""
    if place.session and checks.toolkit(place):
        return []
    return [Shell("node_modules/.bin/cdk bootstrap --ci --no-color -c stage={stage}")]


def _reservation(place: Place) -> Action:
    """Give the function the concurrency of the stage again."""
    wanted = place.config.default_function.reserved_concurrency
    if wanted is None:
        return Call("lambda", "delete_function_concurrency", _FUNCTION)
    arguments = {**_FUNCTION, "ReservedConcurrentExecutions": wanted}
    return Call("lambda", "put_function_concurrency", arguments)


def _function(timeout_s: int, **values: Any) -> dict[str, Any]:
    """Change the default function; margins of the stage may not fit the time-out."""
    margins = {"stop_margin_s": None, "kill_margin_s": None}
    return {"functions": [{"name": "default", "timeout_s": timeout_s, **margins, **values}]}


def _no_image(place: Place) -> dict[str, Any]:
    host = f"{place.account}.dkr.ecr.{place.region}.amazonaws.com"
    return {"image": {"uri": f"{host}/{place.prefix}@{NO_IMAGE}"}}


def _invocations_of(place: Place) -> list[Action]:
    now = datetime.now(UTC).replace(microsecond=0)
    arguments = {
        "Namespace": "AWS/Lambda",
        "MetricName": "Invocations",
        "Dimensions": [{"Name": "FunctionName", "Value": place.prefix}],
        "StartTime": (now - timedelta(hours=1)).isoformat(),
        "EndTime": now.isoformat(),
        "Period": 3600,
        "Statistics": ["Sum"],
    }
    return [Call("cloudwatch", "get_metric_statistics", arguments)]


def _probe() -> Call:
    arguments = {**_FUNCTION, "Qualifier": "$FunctionAlias", "Payload": PROBE}
    return Call("lambda", "invoke", arguments)


def _alias(version: object) -> Call:
    arguments = {**_FUNCTION, "Name": "$FunctionAlias", "FunctionVersion": version}
    return Call("lambda", "update_alias", arguments)


def _previous(place: Place) -> str:
    """Return the newest version that invocations do not run."""
    if place.session is None:
        return "<version before>"
    versions = place.client("lambda").get_paginator("list_versions_by_function")
    published = [
        int(version["Version"])
        for page in versions.paginate(FunctionName=place.prefix)
        for version in page["Versions"]
        if version["Version"] != "$LATEST"
    ]
    live = int(place.version())
    if older := [version for version in published if version < live]:
        return str(max(older))
    raise NotSeenError(f"the function has no version before {live}")


def _old_password(place: Place, seen: Seen) -> list[Action]:
    before = seen.before["password"] if seen.before else "<version before>"
    now = checks.password(place) if seen.before else "<version now>"
    arguments = {
        "SecretId": "$DatabaseSecretArn",
        "VersionStage": "AWSCURRENT",
        "MoveToVersionId": before,
        "RemoveFromVersionId": now,
    }
    change = Call("secretsmanager", "update_secret_version_stage", arguments)
    return [] if now == before else [change]


def _too_warm() -> dict[str, Any]:
    values = _function(
        timeout_s=120,
        provisioned_concurrency=TOO_MANY,
        reserved_concurrency=None,
        snap_start=None,
    )
    return {**values, "execution": {"parallelism": TOO_MANY}}


def _anew(place: Place, **more: Mapping[str, Any]) -> Deploy:
    """Deploy the stage anew: with a customer's key, and all that hangs on a VPC."""
    network: dict[str, Any] = {"function_in_vpc": True}
    settings = place.config.network
    if not (settings.vpc_id or settings.endpoints or settings.nat_gateways):
        network["nat_gateways"] = 1
    values: dict[str, dict[str, Any]] = {
        "encryption": {"key": "customer"},
        "network": network,
        "control_plane": {"entrance": "load_balancer"},
    }
    for name, section in more.items():
        values[name] = {**values.get(name, {}), **section}
    return deploy(values)


def _entrance(place: Place, cidr: str) -> Deploy:
    values = {"certificate_arn": place.certificate_arn, "domain_name": place.domain_name}
    return _anew(place, control_plane={**values, "allowed_cidrs": [cidr]})


def _destroy(name: str, after: str, only_account: str = "") -> Step:
    return Step(
        name,
        "delete the stage",
        "no stack; the result names what AWS still lists with the stage's tag",
        45,
        lambda _: [Shell(".venv/bin/python destroy.py {stage} --yes")],
        checks.gone,
        after=(after,),
        only_account=only_account,
        takes="the stage, with its database, DAG files and logs",
        left_out=_goes,
    )


STEPS: tuple[Step, ...] = (
    Step(
        "bootstrap",
        "prepare account and Region for the CDK, if they are not yet",
        "the stack `CDKToolkit` is there, and new enough",
        2,
        _bootstrap,
        checks.bootstrapped,
        after=(),
        takes="the name `CDKToolkit` with a bucket and roles, if there is none yet",
    ),
    Step(
        "deploy",
        "build the image, publish it, deploy every stack",
        "every stack is complete; follow the link in SNS's mail",
        15,
        lambda _: [deploy()],
        checks.deployed,
        after=("bootstrap",),
        takes=_OURS,
    ),
    Step(
        "again",
        "the same deploy again",
        "`no changes` for every stack",
        1,
        lambda _: [deploy()],
        checks.unchanged,
        takes=_OURS,
    ),
    Step(
        "probe",
        "ask the function for its versions",
        "it answers, and says how long its Execution API took",
        1,
        lambda _: [_probe()],
        checks.answers,
    ),
    Step(
        "dags",
        "open the tunnel, log in with the generated password, run the DAGs of `dags/`",
        "all end as expected, one of them as failed",
        3,
        lambda _: [DagRuns({dag: {} for dag in ENDS})],
        checks.ended(**ENDS),
        only_account="its Fargate starts no container",
        left_out=_needs_its_dags,
    ),
    Step(
        "doctor",
        "`check` and `status` in a scheduler's container",
        "no `PROBLEM`",
        2,
        lambda _: [
            InAirflow(f"{_AIRFLOW} lambda-executor check"),
            InAirflow(f"{_AIRFLOW} lambda-executor status"),
        ],
        checks.healthy,
        only_account="its Fargate starts no container",
        left_out=_needs_airflow,
    ),
    Step(
        "payloads",
        "list the payload bucket",
        "no object",
        1,
        lambda _: [Call("s3api", "list_objects_v2", {"Bucket": "$PayloadBucketName"})],
        checks.no_payload_left,
    ),
    Step(
        "token",
        "look for a task's token (`eyJ`) in the function's log",
        "no event",
        1,
        lambda _: [
            Call(
                "logs",
                "filter_log_events",
                # In percent signs it is also found within a word:
                # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/regex-expressions.html
                {"logGroupName": "$LogGroupName", "filterPattern": "%eyJ%"},
            )
        ],
        checks.no_token_logged,
        only_account="it knows no regular expressions in logs",
    ),
    Step(
        "role",
        "two calls that a scheduler may not make, in its container",
        "`AccessDenied`, both",
        1,
        lambda _: [InAirflow(f'python -c "import boto3; {each}"') for each in (_SEND, _LIST)],
        checks.both_denied,
        only_account="its Fargate starts no container",
        left_out=_needs_airflow,
    ),
    Step(
        "version",
        "deploy a time-out of a minute",
        "invocations run a newer version",
        4,
        lambda _: [deploy(_function(timeout_s=60))],
        checks.a_newer_version,
        before=Place.version,
        takes=_OURS,
    ),
    Step(
        "deadline",
        "deploy while a task sleeps; then run one that sleeps longer than its function may run",
        "the first ends well after the deploy, the second is stopped and fails",
        20,
        lambda _: [
            deploy(_function(timeout_s=900)),
            DagRuns({"prove_sleeper": {"seconds": 600}}, deploy(_function(timeout_s=60))),
            DagRuns({"prove_sleeper": {"seconds": 600}}),
        ],
        checks.stopped_in_time,
        undo=lambda _place, _seen: [deploy()],
        only_account="its Fargate starts no container",
        takes=_OURS,
        left_out=_needs_its_dags,
    ),
    Step(
        "thirty-minutes",
        f"deploy a time-out of {LONGEST_TIMEOUT_S} s, and run a task that sleeps for 1,000 s",
        f"the Region takes more than {EARLIER_LONGEST_TIMEOUT_S} s, and the task succeeds",
        25,
        lambda _: [
            deploy(_function(timeout_s=LONGEST_TIMEOUT_S)),
            DagRuns({"prove_sleeper": {"seconds": 1000}}, minutes=30),
        ],
        checks.ran_for_long,
        undo=lambda _place, _seen: [deploy()],
        only_account="its Fargate starts no container",
        takes=_OURS,
        left_out=_needs_its_dags,
    ),
    Step(
        "snapshot",
        "deploy with `snap_start`, and ask the function for its versions",
        "the version has a snapshot; Lambda's log says how long the restore took",
        6,
        lambda place: [
            deploy(_function(place.config.default_function.timeout_s, snap_start=True)),
            _probe(),
        ],
        checks.restored,
        undo=lambda _place, _seen: [deploy()],
        only_account="it forks a process where Lambda restores a machine",
        takes=_OURS,
        left_out=_needs_snapshots,
    ),
    Step(
        "pause",
        "pause the function, invoke it, and end the pause",
        "one more message in the failures queue; afterwards the stage's own concurrency",
        3,
        lambda _: [
            Call(
                "lambda",
                "put_function_concurrency",
                {**_FUNCTION, "ReservedConcurrentExecutions": 0},
            ),
            Call(
                "lambda",
                "invoke",
                {**_FUNCTION, "Qualifier": "$FunctionAlias", "InvocationType": "Event"}
                | {"Payload": PROBE},
            ),
        ],
        checks.a_dead_letter,
        before=checks.dead_letters,
        undo=lambda place, _seen: [_reservation(place)],
        undone=checks.runs_again,
        takes="every task that starts in these minutes",
    ),
    Step(
        "alarm",
        "wait for the alarm",
        "*invocations dropped* is on, and sends a mail",
        15,
        lambda _: [],
        checks.an_alarm,
        after=("pause",),
        only_account="it has no metrics of Lambda",
    ),
    Step(
        "dashboard",
        "read the dashboard; look at it, too",
        "it has widgets",
        1,
        lambda _: [Call("cloudwatch", "get_dashboard", {"DashboardName": "$DashboardName"})],
        checks.a_dashboard,
    ),
    Step(
        "metrics",
        "read the function's invocations of the last hour",
        "there are some",
        1,
        _invocations_of,
        checks.data,
        only_account="it has no metrics of Lambda",
    ),
    Step(
        "rollback",
        "point the alias at the version before, probe it, and point it back",
        "it answers",
        1,
        lambda place: [_alias(_previous(place)), _probe()],
        checks.answers,
        before=Place.version,
        undo=lambda _place, seen: [_alias(seen.before or "<version>")],
        after=("version",),
    ),
    Step(
        "missing-image",
        "deploy an image that does not exist",
        "the deploy is rolled back; the version is the same",
        5,
        lambda place: [deploy(_no_image(place), may_fail=True)],
        checks.the_same_version,
        before=checks.version_and_rollbacks,
        undo=lambda _place, _seen: [deploy()],
        undone=checks.works_again,
        takes=_OURS,
        left_out=_needs_a_plain_image,
    ),
    Step(
        "failure-after-version",
        "deploy, twice, what fails after the function's version was published",
        "the same reason twice, and never that the version exists; then a deploy works",
        15,
        lambda _: [deploy(_too_warm(), may_fail=True), deploy(_too_warm(), may_fail=True)],
        checks.failed_alike,
        before=checks.version_and_rollbacks,
        undo=lambda _place, _seen: [deploy()],
        undone=checks.works_again,
        only_account="it grants any provisioned concurrency",
        takes=_OURS,
    ),
    Step(
        "failed-migration",
        "start the services with a wrong password of the database",
        "a task stops with an exit code and does not stay `PENDING`; afterwards all run",
        30,
        lambda _: [
            Call(
                "secretsmanager",
                "put_secret_value",
                {
                    "SecretId": "$DatabaseSecretArn",
                    "SecretString": '{"username": "airflow", "password": "wrong"}',
                },
            ),
            Shell(_NEW_TASKS),
        ],
        checks.stopped_not_pending,
        before=checks.tasks_and_password,
        undo=lambda place, seen: [*_old_password(place, seen), Shell(_NEW_TASKS)],
        undone=checks.steady,
        only_account="its Fargate starts no container",
        takes="the UI and all scheduling, for up to half an hour",
        left_out=_needs_services,
    ),
    _destroy("destroy", "deploy"),
    Step(
        "customer-key",
        "deploy the stage anew with a KMS key of its own, functions in the VPC, a load balancer",
        "every service runs",
        20,
        lambda place: [_anew(place)],
        checks.steady,
        after=("destroy",),
        only_account="its Fargate starts no container",
        takes=_OURS,
        left_out=_needs_fresh_stage,
    ),
    Step(
        "proxy",
        "add RDS Proxy",
        "it is available, and every service runs",
        15,
        lambda place: [_anew(place, database={"proxy": True})],
        checks.a_proxy,
        after=("customer-key",),
        only_account="it makes no proxy",
        takes=_OURS,
        left_out=_needs_fresh_stage,
    ),
    Step(
        "certificate",
        "add a certificate, to a private load balancer",
        "the load balancer is internal, and every service runs",
        10,
        lambda place: [_entrance(place, PRIVATE)],
        checks.scheme("internal"),
        after=("customer-key",),
        only_account="its load balancer is a record",
        takes=_OURS,
        left_out=_needs_certificate,
    ),
    Step(
        "public",
        "make the load balancer public, for nobody (a reserved range)",
        "the load balancer is internet-facing, and every service runs",
        10,
        lambda place: [_entrance(place, NOBODY)],
        checks.scheme("internet-facing"),
        after=("certificate",),
        only_account="its load balancer is a record",
        takes=_OURS,
        left_out=_needs_certificate,
    ),
    Step(
        "private",
        "make it private again, by the way that docs/howto/upgrade-and-rollback.md names",
        "the load balancer is internal, and every service runs",
        10,
        lambda place: [
            replace(_entrance(place, PRIVATE), only="control-plane"),
            _entrance(place, PRIVATE),
        ],
        checks.scheme("internal"),
        after=("public",),
        only_account="its load balancer is a record",
        takes=_OURS,
        left_out=_needs_certificate,
    ),
    _destroy("destroy-again", "destroy", only_account="nothing was deployed again"),
)
