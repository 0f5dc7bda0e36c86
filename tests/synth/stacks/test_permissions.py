"""All permissions, so that one more action fails a test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from tests.synth.assembly import Assembly, Resource
from tests.synth.policies import listed, statements

#: What is allowed on all resources, as AWS offers no permission on some of them; its own words:
WITHOUT_RESOURCE: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
        ),
        # Lambda demands them on `*`, and the function's code is denied them.
        "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    ),
    **dict.fromkeys(
        (
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        ),
        "https://docs.aws.amazon.com/service-authorization/latest/reference/"
        "list_amazonmessagegatewayservice.html",
    ),
    "cloudwatch:GetMetricData": (
        "https://docs.aws.amazon.com/service-authorization/latest/reference/"
        "list_amazoncloudwatch.html"
    ),
    "lambda:ListMicrovms": (
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_lambda.html"
    ),
    "lambda:GetAccountSettings": (
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html"
    ),
    "ecr:GetAuthorizationToken": (
        "https://docs.aws.amazon.com/service-authorization/latest/reference/"
        "list_amazonelasticcontainerregistry.html"
    ),
    **dict.fromkeys(
        (
            "batch:DescribeComputeEnvironments",
            "batch:DescribeJobDefinitions",
            "batch:DescribeJobQueues",
            "batch:DescribeJobs",
            "batch:ListJobs",
        ),
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html",
    ),
    **dict.fromkeys(
        # The first knows container instances, which Fargate has not; its condition names a cluster.
        ("ecs:ListTasks", "ecs:DescribeTaskDefinition"),
        "https://docs.aws.amazon.com/service-authorization/latest/reference/"
        "list_amazonelasticcontainerservice.html",
    ),
}

#: The statement of a stage that its owner wrote (`tests/synth/variants.py`), not the stacks.
OWNERS = "ReadOrders"

#: In the policy of a key or an endpoint `*` is what can be had with this key, or there.
#: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
POLICIES_OF_ONE_THING = ("AWS::KMS::Key", "AWS::EC2::VPCEndpoint")


def allowed(policy: Resource) -> set[tuple[str, str]]:
    """Every pair of an action and the resource it is allowed on."""
    pairs: set[tuple[str, str]] = set()
    for statement in policy.properties["PolicyDocument"]["Statement"]:
        if statement["Effect"] == "Allow":
            actions, resources = statement["Action"], statement["Resource"]
            actions = actions if isinstance(actions, list) else [actions]
            resources = resources if isinstance(resources, list) else [resources]
            pairs |= {(action, name_of(resource)) for action in actions for resource in resources}
    return pairs


def name_of(resource: object) -> str:
    """The construct behind a reference: its logical id without the hash."""
    if resource == "*":
        return "*"
    exported = r"(?:[a-z-]+:ExportsOutput(?:FnGetAtt|Ref))?"
    found = re.search(rf'"{exported}([A-Za-z]+?)[0-9A-F]{{8}}', json.dumps(resource))
    assert found, f"{resource} refers to no construct of the stage"
    return found[1]


def test_function_may_send_and_log_and_nothing_else(dev: Assembly) -> None:
    """The function's role reports, takes payloads, writes logs, and is attached to the VPC."""
    attach = {(action, "*") for action in WITHOUT_RESOURCE if action.startswith("ec2:")}
    assert allowed(dev.only("AWS::IAM::Policy", "WorkloadRole")) == {
        *attach,
        ("s3:GetObject", "TaskLogs"),
        ("s3:ListBucket", "TaskLogs"),
        ("s3:PutObject", "TaskLogs"),
        ("sqs:SendMessage", "ResultsQueueResults"),
        ("sqs:SendMessage", "ResultsQueueDeadLetters"),
        ("sqs:SendMessage", "ResultsQueueFailures"),
        ("s3:DeleteObject", "PayloadBucketPayloads"),
        ("s3:GetObject", "PayloadBucketPayloads"),
        ("logs:CreateLogStream", "WorkloadLog"),
        ("logs:PutLogEvents", "WorkloadLog"),
    }
    role = dev.only("AWS::IAM::Role", "WorkloadRole")
    assert "ManagedPolicyArns" not in role.properties


def test_scheduler_may_dispatch_and_drain_and_nothing_else(dev: Assembly) -> None:
    """The scheduler's policy covers dispatch, payloads, draining, the parameter and the log."""
    drain = (
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    )
    dispatch = (
        "lambda:GetAlias",
        "lambda:GetFunction",
        "lambda:GetFunctionConfiguration",
        "lambda:GetFunctionEventInvokeConfig",
        "lambda:InvokeFunction",
    )
    assert allowed(dev.only("AWS::IAM::ManagedPolicy", "SchedulerPolicy")) == {
        *(
            (action, queue)
            for action in drain
            for queue in ("ResultsQueueResults", "ResultsQueueDeadLetters")
        ),
        *(
            (action, target)
            for action in dispatch
            for target in ("WorkloadFunction", "WorkloadLive")
        ),
        ("s3:PutObject", "PayloadBucketPayloads"),
        ("s3:GetObject", "TaskLogs"),
        ("s3:ListBucket", "TaskLogs"),
        ("ssm:GetParameter", "Executor"),
        ("lambda:GetAccountSettings", "*"),
        ("logs:FilterLogEvents", "WorkloadLog"),
        ("logs:GetLogEvents", "WorkloadLog"),
    }


def test_page_may_count_messages_and_look_after_dead_letters_and_nothing_else(
    dev: Assembly,
) -> None:
    """The page's policy takes no results, which belong to the schedulers."""
    dead_letters = (
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    )
    assert allowed(dev.only("AWS::IAM::ManagedPolicy", "PagePolicy")) == {
        *((action, "ResultsQueueDeadLetters") for action in dead_letters),
        ("sqs:GetQueueAttributes", "ResultsQueueResults"),
        *(("lambda:InvokeFunction", target) for target in ("WorkloadFunction", "WorkloadLive")),
        ("ssm:GetParameter", "Executor"),
        ("cloudwatch:GetMetricData", "*"),
    }


def test_page_may_ask_where_jobs_log(assembly: Assembly) -> None:
    """Of the services that a stage has targets of; of a function and a MicroVM it is known."""
    describe = {"batch": "batch:DescribeJobDefinitions", "ecs": "ecs:DescribeTaskDefinition"}
    kinds = {target.kind for target in assembly.config.targets}
    policy = assembly.only("AWS::IAM::ManagedPolicy", "PagePolicy")
    granted = policy.properties["PolicyDocument"]["Statement"]
    found = {
        action
        for statement in granted
        for action in listed(statement["Action"])
        if action in describe.values()
    }
    assert found == {action for kind, action in describe.items() if kind in kinds}


def test_nobody_may_list_payloads_or_touch_anything_beside_them(assembly: Assembly) -> None:
    """Only objects below the prefix are granted, and never listing."""
    of_payloads = [
        statement
        for type_ in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        for policy in assembly.resources(type_)
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if "PayloadBucket" in json.dumps(statement["Resource"])
    ]
    workloads = [*assembly.config.functions, *assembly.config.targets]
    # A scheduler may also read which MicroVMs its invocations were given to, and no payload.
    ids = int(any(target.kind == "microvm" for target in assembly.config.targets))
    assert len(of_payloads) == 1 + len(workloads) + ids
    for statement in of_payloads:
        assert "s3:ListBucket" not in statement["Action"]
        (arn,) = (r for r in listed(statement["Resource"]) if "PayloadBucket" in json.dumps(r))
        objects = arn["Fn::Join"][1][1]
        if objects == "/invocations/*.microvm":
            assert statement["Action"] == "s3:GetObject"
        else:
            assert objects == "/invocations/*"


def reads_dags(assembly: Assembly) -> bool:
    """Whether the DAG processor of an Airflow elsewhere reads the stage's bucket."""
    return assembly.config.dags.source == "s3"


def test_scheduler_role_has_the_policy_and_only_that(assembly: Assembly) -> None:
    """The role for a scheduler without one carries the managed policies and nothing inline.

    A control plane of the stage's own has a role already, and the account no way around it.
    """
    roles = [
        role
        for role in assembly.resources("AWS::IAM::Role")
        if role.part == "execution" and role.logical_id.startswith("SchedulerRole")
    ]
    if assembly.has("control-plane"):
        assert roles == []
        return
    role = roles[0].properties
    names = {"SchedulerPolicy", "DagReadPolicy"} if reads_dags(assembly) else {"SchedulerPolicy"}
    policies = {assembly.only("AWS::IAM::ManagedPolicy", name).logical_id for name in names}
    assert {policy["Ref"] for policy in role["ManagedPolicyArns"]} == policies
    assert "Policies" not in role
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert ':root"' in json.dumps(trust["Principal"])


def test_secrets_that_people_encrypt_with_the_stages_key_can_be_read(assembly: Assembly) -> None:
    """Who may read connections and variables may decrypt them, through Secrets Manager only.

    People make these secrets, and a secret with a customer key needs `kms:Decrypt` on it:
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    """
    policy = assembly.only("AWS::IAM::ManagedPolicy", "SecretsPolicy")
    decrypt = [s for s in statements(policy) if "kms:Decrypt" in listed(s["Action"])]
    if assembly.config.encryption.key == "aws":
        assert decrypt == []
        return
    (statement,) = decrypt
    (queue,) = {
        json.dumps(queue.properties["KmsMasterKeyId"])
        for queue in assembly.resources("AWS::SQS::Queue")
        if queue.part == "execution"
    }
    assert statement["Effect"] == "Allow"
    assert json.dumps(statement["Resource"]) == queue
    region = assembly.config.region or {"Ref": "AWS::Region"}
    ((condition, service),) = statement["Condition"]["StringEquals"].items()
    assert condition == "kms:ViaService"
    parts = service["Fn::Join"][1] if isinstance(service, dict) else service.partition(region)
    assert list(parts) == ["secretsmanager.", region, ".amazonaws.com"]


def test_only_the_cdk_pushes_and_only_the_function_pulls(dev: Assembly) -> None:
    """The repository takes images from the bootstrap role and gives them to one function."""
    policy = dev.only("AWS::ECR::Repository").properties["RepositoryPolicyText"]["Statement"]
    publish, pull = policy
    assert "cdk-hnb659fds-image-publishing-role-" in json.dumps(publish["Principal"])
    assert "ecr:PutImage" in publish["Action"]
    assert pull["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert set(pull["Action"]) == {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}


def test_lambda_pulls_for_each_function_and_each_of_its_versions(assembly: Assembly) -> None:
    """AWS's examples end in `*`: an inactive version may be made active again under its own ARN.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#configuration-images-permissions
    """
    names = [f.properties["FunctionName"] for f in assembly.resources("AWS::Lambda::Function")]
    for repository in assembly.resources("AWS::ECR::Repository"):
        _, pull = repository.properties["RepositoryPolicyText"]["Statement"]
        arns = pull["Condition"]["StringLike"]["aws:sourceArn"]
        ends = re.findall(r':function:([^"]+)"', json.dumps(arns))
        assert ends == [end for name in names for end in (name, f"{name}:*")]


def test_functions_may_always_leave_a_vpc_but_their_code_may_not_use_that(
    assembly: Assembly,
) -> None:
    """Every function's role has the EC2 actions, which are denied to the function's own code.

    Lambda removes the network interfaces of a function with its role, some time after the function
    left the VPC, and of an old version only when that is deleted.
    """
    for policy in assembly.resources("AWS::IAM::Policy"):
        if "OperatorRole" in policy.logical_id:
            continue  # Lambda's for MicroVMs, whose programs have another role.
        of_ec2 = [
            statement
            for statement in policy.properties["PolicyDocument"]["Statement"]
            if "ec2:" in json.dumps(statement["Action"])
        ]
        assert len(of_ec2) == (2 if policy.logical_id.startswith("Workload") else 0)
        if of_ec2:
            allow, deny = sorted(of_ec2, key=lambda statement: str(statement["Effect"]))
            assert deny["Effect"] == "Deny"
            assert allow["Action"] == deny["Action"]
            assert "lambda:SourceFunctionArn" in deny["Condition"]["ArnEquals"]


def test_no_statement_allows_every_action(assembly: Assembly) -> None:
    """No Allow names a whole service or a family of actions.

    An endpoint's policy allows nothing by itself, it narrows what roles may do: to the account's.
    """
    for resource in assembly.resources():
        for statement in statements(resource):
            if statement["Effect"] != "Allow" or statement.get("Sid") == OWNERS:
                continue
            assert "NotAction" not in statement, str(resource)
            if resource.type == "AWS::EC2::VPCEndpoint" and statement["Action"] == "*":
                assert statement["Condition"]["StringEquals"].keys() == {"aws:PrincipalAccount"}
            else:
                assert not [a for a in listed(statement["Action"]) if "*" in a], str(resource)


def test_every_resource_of_a_statement_is_named(assembly: Assembly) -> None:
    """`*` as resource appears only with actions that know no resources, each with its source."""
    for resource in assembly.resources():
        if resource.type in POLICIES_OF_ONE_THING:
            continue
        for statement in statements(resource):
            if statement["Effect"] == "Allow" and "*" in listed(statement.get("Resource", [])):
                unnamed = set(listed(statement["Action"])) - WITHOUT_RESOURCE.keys()
                assert not unnamed, str(resource)


def test_exceptions_are_needed(assembly_of: Callable[[str], Assembly]) -> None:
    """Every exception for `*` is still needed."""
    used = {
        action
        for variant in ("dev", "much", "targets")
        for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        for resource in assembly_of(variant).resources(kind)
        for statement in statements(resource)
        if statement["Effect"] == "Allow" and "*" in listed(statement["Resource"])
        for action in listed(statement["Action"])
    }
    assert used == WITHOUT_RESOURCE.keys()
