"""Every fix of ministack works, and is still needed.

Each test checks the same behaviour twice: with all fixes it is AWS's, and without any (`bare`) it
is ministack's own. When the second assertion fails, a newer ministack has AWS's behaviour and the
fix can be removed.
"""

from __future__ import annotations

import ast
import json
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.support import api_gateway
from tests.support.http_server import http_server
from tests.support.local_aws import ACCOUNT, REGION, REGISTRY, ROOT, Queue, Server, client

ALLOWED = "allowed"


def template(outputs: dict[str, Any] | None = None, **resources: tuple[str, dict[str, Any]]) -> Any:
    """A CloudFormation template of resources given as type and properties."""
    return {
        "Resources": {
            name: {"Type": type_, "Properties": properties}
            for name, (type_, properties) in resources.items()
        },
        "Outputs": {key: {"Value": value} for key, value in (outputs or {}).items()},
    }


def error_code(call: Any, **request: Any) -> str:
    """The error code of a call; `ALLOWED`: it succeeds."""
    try:
        call(**request)
    except ClientError as e:
        return str(e.response["Error"]["Code"])
    return ALLOWED


VPC = ("AWS::EC2::VPC", {"CidrBlock": "10.1.0.0/16"})
GROUP = ("AWS::EC2::SecurityGroup", {"GroupDescription": "d", "VpcId": {"Ref": "Vpc"}})


def test_ref_of_a_secret_is_its_arn(local_aws: Server, bare_aws: Server) -> None:
    """secret_ref: AWS gives the ARN, ministack the name."""
    stack = template({"Ref": {"Ref": "S"}}, S=("AWS::SecretsManager::Secret", {}))
    assert local_aws.deploy(stack).output("Ref").startswith("arn:aws:secretsmanager:")
    assert not bare_aws.deploy(stack).output("Ref").startswith("arn:")


def test_security_group_rules_are_resources(local_aws: Server, bare_aws: Server) -> None:
    """security_group_rules: separate rules are deployed, and deleted with the stack."""
    rule = {"GroupId": {"Ref": "Group"}, "IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432}
    stack = template(
        {"Group": {"Fn::GetAtt": ["Group", "GroupId"]}},
        Vpc=VPC,
        Group=GROUP,
        In=("AWS::EC2::SecurityGroupIngress", {**rule, "CidrIp": "10.1.0.0/16"}),
        Out=("AWS::EC2::SecurityGroupEgress", {**rule, "CidrIp": "10.1.0.0/16"}),
    )
    deployed = local_aws.deploy(stack)
    (group,) = local_aws.client("ec2").describe_security_groups(
        GroupIds=[deployed.output("Group")]
    )["SecurityGroups"]
    assert [rule["FromPort"] for rule in group["IpPermissions"]] == [5432]
    assert 5432 in [rule.get("FromPort") for rule in group["IpPermissionsEgress"]]
    assert error_code(bare_aws.deploy, template=stack) == "ValidationError"


def test_a_vpc_has_its_address_range(local_aws: Server, bare_aws: Server) -> None:
    """network_attributes: `Fn::GetAtt` returns `CidrBlock`."""
    stack = template({"Range": {"Fn::GetAtt": ["Vpc", "CidrBlock"]}}, Vpc=VPC)
    assert local_aws.deploy(stack).output("Range") == "10.1.0.0/16"
    assert bare_aws.deploy(stack).status == "ROLLBACK_COMPLETE"


def test_a_vpc_can_have_egress(local_aws: Server, bare_aws: Server) -> None:
    """network_records: address and NAT gateway are created, and deleted with the stack."""
    gateway = {
        "SubnetId": {"Ref": "Subnet"},
        "AllocationId": {"Fn::GetAtt": ["Address", "AllocationId"]},
    }
    stack = template(
        Vpc=VPC,
        Subnet=("AWS::EC2::Subnet", {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.1.0.0/24"}),
        Address=("AWS::EC2::EIP", {"Domain": "vpc"}),
        Gateway=("AWS::EC2::NatGateway", gateway),
    )
    ec2 = local_aws.client("ec2")
    deployed = local_aws.deploy(stack)
    assert len(ec2.describe_nat_gateways()["NatGateways"]) == 1
    deployed.delete()
    assert ec2.describe_nat_gateways()["NatGateways"] == []
    assert ec2.describe_addresses()["Addresses"] == []
    assert error_code(bare_aws.deploy, template=stack) == "ValidationError"


def test_an_http_api_leads_through_a_vpc_link(local_aws: Server, bare_aws: Server) -> None:
    """http_api: path, query, body and headers reach an instance of a Cloud Map service and back."""
    seen: list[tuple[str, str, bytes, str | None]] = []

    class Backend(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.command, self.path, body, self.headers["Authorization"]))
            self.send_response(401)
            self.send_header("Refreshed-API-Token", "new")
            self.end_headers()
            self.wfile.write(b"who are you?")

        def log_message(self, *_: object) -> None:
            pass

    stack = api_gateway.template(f"link-{uuid.uuid4().hex[:8]}")
    deployed = local_aws.deploy(stack)
    url = deployed.output("Url")
    headers = {"Authorization": "Bearer old"}
    call = partial(httpx.post, headers=headers, content=b"{}", trust_env=False)
    assert call(f"{url}/execution/run").status_code == 503
    with http_server(Backend) as port:
        cloud_map = local_aws.client("servicediscovery")
        api_gateway.register(cloud_map, deployed.output("ServiceId"), port)
        answer = call(f"{url}/execution/run?a=1")
        assert httpx.get(f"{url}/execution/health", trust_env=False).status_code == 200
        assert call(f"{url}/api/v2/dags").status_code == 404
    assert (answer.status_code, answer.text) == (401, "who are you?")
    assert answer.headers["refreshed-api-token"] == "new"
    assert seen == [("POST", "/execution/run?a=1", b"{}", "Bearer old")]
    assert error_code(bare_aws.deploy, template=stack) == "ValidationError"


def test_a_database_can_be_started_at_its_endpoint(local_aws: Server, bare_aws: Server) -> None:
    """rds_endpoint: the endpoint is a local port, and all APIs return the same."""
    stack = template(
        {
            "Host": {"Fn::GetAtt": ["Db", "Endpoint.Address"]},
            "Port": {"Fn::GetAtt": ["Db", "Endpoint.Port"]},
        },
        Db=(
            "AWS::RDS::DBInstance",
            {"DBInstanceClass": "db.t4g.micro", "Engine": "postgres", "AllocatedStorage": "20"},
        ),
    )
    deployed = local_aws.deploy(stack)
    (instance,) = local_aws.client("rds").describe_db_instances()["DBInstances"]
    assert deployed.output("Host") == instance["Endpoint"]["Address"] == "127.0.0.1"
    assert int(deployed.output("Port")) == instance["Endpoint"]["Port"]
    assert 1024 < instance["Endpoint"]["Port"] < 32768
    assert bare_aws.deploy(stack).output("Host").endswith("amazonaws.com")


def test_a_bucket_with_objects_is_not_deleted(local_aws: Server, bare_aws: Server) -> None:
    """bucket_not_empty: the deletion fails while the bucket has objects."""
    stack = template({"Name": {"Ref": "B"}}, B=("AWS::S3::Bucket", {}))

    def status_after_deletion(server: Server) -> str:
        deployed = server.deploy(stack)
        server.client("s3").put_object(Bucket=deployed.output("Name"), Key="k", Body=b"")
        return deployed.delete()

    assert status_after_deletion(local_aws) == "DELETE_FAILED"
    assert status_after_deletion(bare_aws) == "DELETE_COMPLETE"


def test_a_missing_image_is_not_found_in_ecr(local_aws: Server, bare_aws: Server) -> None:
    """image_not_found: DescribeImages fails instead of returning an empty list."""

    def describe(server: Server) -> str:
        ecr, name = server.client("ecr"), f"r-{uuid.uuid4().hex}"
        ecr.create_repository(repositoryName=name)
        return error_code(
            ecr.describe_images, repositoryName=name, imageIds=[{"imageTag": "absent"}]
        )

    assert describe(local_aws) == "ImageNotFoundException"
    assert describe(bare_aws) == ALLOWED


def function_request(uri: str) -> dict[str, Any]:
    """CreateFunction's parameters for an image."""
    return {
        "FunctionName": f"f-{uuid.uuid4().hex}",
        "Role": f"arn:aws:iam::{ACCOUNT}:role/any",
        "PackageType": "Image",
        "Code": {"ImageUri": uri},
    }


def test_a_function_needs_its_image(local_aws: Server, bare_aws: Server) -> None:
    """missing_image: neither the API nor CloudFormation accepts an image that does not exist."""
    request = function_request(f"{REGISTRY}/absent:tag")
    stack = template(F=("AWS::Lambda::Function", request))
    for server, code, status in (
        (local_aws, "InvalidParameterValueException", "ROLLBACK_COMPLETE"),
        (bare_aws, ALLOWED, "CREATE_COMPLETE"),
    ):
        assert error_code(server.client("lambda").create_function, **request) == code
        assert server.deploy(stack).status == status


def test_an_unfit_event_is_refused(local_aws: Server, bare_aws: Server) -> None:
    """invoke_limits: events that are too large or not JSON never reach a function."""

    def answers(server: Server) -> list[str]:
        function = server.function()
        request = {"FunctionName": function.name, "InvocationType": "Event"}
        return [
            error_code(function.client.invoke, **request, Payload=payload)
            for payload in (b'"' + b"x" * 1024 * 1024 + b'"', b"{not json", b"{}")
        ]

    refused = ["RequestTooLargeException", "InvalidRequestContentException"]
    assert answers(local_aws) == [*refused, ALLOWED]
    assert answers(bare_aws) == [ALLOWED] * 3


def test_a_functions_code_cannot_become_a_missing_image(local_aws: Server) -> None:
    """missing_image: an update is refused, too, and leaves the function unchanged."""
    function = local_aws.function()
    code = error_code(
        function.client.update_function_code,
        FunctionName=function.name,
        ImageUri=f"{REGISTRY}/absent:tag",
    )
    assert code == "InvalidParameterValueException"
    assert function.invoke()["StatusCode"] == 200


def test_cloudformation_sets_every_property(local_aws: Server, bare_aws: Server) -> None:
    """function_properties: concurrency, dead letters, tenancy and files reach the function."""
    files = [{"Arn": "arn:aws:elasticfilesystem:x", "LocalMountPath": "/mnt/shared"}]

    def settings(server: Server) -> tuple[Any, ...]:
        request = function_request(server.image("local_aws_handlers.handle"))
        properties = {
            **request,
            "ReservedConcurrentExecutions": 3,
            "DeadLetterConfig": {"TargetArn": server.queue().arn},
            "TenancyConfig": {"TenantIsolationMode": "PER_TENANT"},
            "FileSystemConfigs": files,
        }
        assert server.deploy(template(F=("AWS::Lambda::Function", properties))).status
        found = server.client("lambda").get_function(FunctionName=request["FunctionName"])
        configuration = found["Configuration"]
        return (
            found.get("Concurrency"),
            configuration.get("DeadLetterConfig"),
            configuration.get("TenancyConfig"),
            configuration.get("FileSystemConfigs"),
        )

    concurrency, dead_letters, tenancy, mounted = settings(local_aws)
    assert concurrency == {"ReservedConcurrentExecutions": 3}
    assert dead_letters["TargetArn"].startswith("arn:aws:sqs:")
    assert tenancy == {"TenantIsolationMode": "PER_TENANT"}
    assert mounted == files
    assert settings(bare_aws) == (None, None, None, None)


def latency_s(queue: Queue) -> float:
    """The time from sending a message to its receipt by a waiting call."""
    with ThreadPoolExecutor() as threads:
        received = threads.submit(lambda: (queue.receive(), time.monotonic())[1])
        # The poll must be under way, and ministack have just looked: it does every 100 ms.
        time.sleep(0.12)
        queue.server.client("sqs").send_message(QueueUrl=queue.url, MessageBody="{}")
        sent_s = time.monotonic()
        return received.result() - sent_s


def test_a_deployment_waits_for_the_snapshot_of_a_version(
    local_aws: Server, bare_aws: Server
) -> None:
    """snap_start: a snapshot that cannot be made fails the version, with its reason."""

    def outcome(server: Server, variables: dict[str, str], **more: Any) -> tuple[str, str]:
        image = server.image("local_aws_snapshot_handlers.handle")
        stack = server.deploy(
            template(
                Role=("AWS::IAM::Role", {"AssumeRolePolicyDocument": {}}),
                Function=(
                    "AWS::Lambda::Function",
                    {
                        "PackageType": "Image",
                        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                        "Code": {"ImageUri": image},
                        "SnapStart": {"ApplyOn": "PublishedVersions"},
                        "Environment": {"Variables": variables},
                        **more,
                    },
                ),
                Version=("AWS::Lambda::Version", {"FunctionName": {"Ref": "Function"}}),
            )
        )
        status = stack.status
        events = server.client("cloudformation").describe_stack_events(StackName=stack.name)
        reasons = [e.get("ResourceStatusReason", "") for e in events["StackEvents"]]
        return status, " ".join(reasons)

    assert outcome(local_aws, {})[0] == "CREATE_COMPLETE"
    status, reasons = outcome(local_aws, {"BEFORE": "raise"})
    assert status == "ROLLBACK_COMPLETE"
    assert "did not stabilize: the init phase failed: ValueError: no BEFORE today" in reasons
    status, reasons = outcome(local_aws, {}, EphemeralStorage={"Size": 1024})
    assert status == "ROLLBACK_COMPLETE"
    assert "512 MB" in reasons
    assert outcome(bare_aws, {"BEFORE": "raise"})[0] == "CREATE_COMPLETE"
    assert outcome(bare_aws, {}, EphemeralStorage={"Size": 1024})[0] == "CREATE_COMPLETE"


def test_a_long_poll_ends_when_a_message_arrives(local_aws: Server, bare_aws: Server) -> None:
    """prompt_receive: a waiting receive gets a message without a polling delay."""
    prompt = statistics.median(latency_s(local_aws.queue()) for _ in range(3))
    polled = statistics.median(latency_s(bare_aws.queue()) for _ in range(3))
    assert prompt < 0.03
    assert polled > prompt


def test_long_polls_do_not_hold_up_other_requests(local_aws: Server) -> None:
    """While twenty receives wait, another call is answered."""
    queues = [local_aws.queue() for _ in range(20)]
    sqs = local_aws.client("sqs")
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(queue.receive) for queue in queues]
        local_aws.client("ssm").describe_parameters()
        assert not any(future.done() for future in waiting)
        for queue in queues:
            sqs.send_message(QueueUrl=queue.url, MessageBody="{}")
        assert [future.result()["body"] for future in waiting] == [{}] * 20


def assume_role(server: Server, *statements: dict[str, Any]) -> tuple[str, ...]:
    """Credentials of a new role with a policy of these statements."""
    iam, name = server.client("iam"), f"r-{uuid.uuid4().hex[:8]}"
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    trust = policy({"Effect": "Allow", "Principal": root, "Action": "sts:AssumeRole"})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
    session = server.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="s")
    given = session["Credentials"]
    return given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]


def policy(*statements: dict[str, Any]) -> str:
    """A policy of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def batch_queue(server: Server) -> str:
    """The name of a new job queue, its compute environment and a job definition."""
    batch, name = server.client("batch"), f"b-{uuid.uuid4().hex[:12]}"
    batch.create_compute_environment(
        computeEnvironmentName=name,
        type="MANAGED",
        computeResources={"type": "FARGATE", "maxvCpus": 1},
    )
    batch.create_job_queue(
        jobQueueName=name,
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
    )
    batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        containerProperties={"image": "none"},
        retryStrategy={"attempts": 2},
    )
    return name


def test_describe_repositories_is_permitted_by_name(
    enforcing_aws: Server, bare_enforcing_aws: Server
) -> None:
    """describe_repositories_permission: a grant for one repository permits describing it."""

    def describe(server: Server) -> str:
        name = f"r-{uuid.uuid4().hex}"
        server.client("ecr").create_repository(repositoryName=name)
        arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}"
        role = assume_role(
            server, {"Effect": "Allow", "Action": "ecr:DescribeRepositories", "Resource": arn}
        )
        ecr = client("ecr", server.url, *role)
        return error_code(ecr.describe_repositories, repositoryNames=[name])

    assert describe(enforcing_aws) == ALLOWED
    assert describe(bare_enforcing_aws) == "AccessDeniedException"


def test_run_task_is_permitted_by_the_task_definition(
    enforcing_aws: Server, bare_enforcing_aws: Server
) -> None:
    """ecs_task_permission: grants for task definition and tasks permit to run, see and stop one."""

    def run(server: Server) -> list[str]:
        name, root = f"t-{uuid.uuid4().hex[:12]}", server.client("ecs")
        root.create_cluster(clusterName=name)
        root.register_task_definition(
            family=name, containerDefinitions=[{"name": "c", "image": "none"}]
        )
        task, other = (
            root.run_task(cluster=name, taskDefinition=name)["tasks"][0]["taskArn"]
            for _ in range(2)
        )
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
        resources = [f"{arn}:task-definition/{name}:*", f"{arn}:task/{name}/*"]
        role = assume_role(server, {"Effect": "Allow", "Action": "ecs:*", "Resource": resources})
        ecs = client("ecs", server.url, *role)
        return [
            error_code(ecs.run_task, cluster=name, taskDefinition=name),
            error_code(ecs.describe_tasks, cluster=name, tasks=[task, other]),
            error_code(ecs.stop_task, cluster=name, task=task),
        ]

    assert run(enforcing_aws) == [ALLOWED] * 3
    assert run(bare_enforcing_aws) == ["AccessDeniedException"] * 3


def test_each_task_is_checked_that_is_described(enforcing_aws: Server) -> None:
    """ecs_task_permission: a grant for one of two tasks does not permit to see both."""
    name, root = f"t-{uuid.uuid4().hex[:12]}", enforcing_aws.client("ecs")
    root.create_cluster(clusterName=name)
    root.register_task_definition(
        family=name, containerDefinitions=[{"name": "c", "image": "none"}]
    )
    one, other = (
        root.run_task(cluster=name, taskDefinition=name)["tasks"][0]["taskArn"] for _ in range(2)
    )
    see = {"Effect": "Allow", "Action": "ecs:DescribeTasks", "Resource": one}
    ecs = client("ecs", enforcing_aws.url, *assume_role(enforcing_aws, see))
    for tasks in ([one, other], [other, one]):
        assert error_code(ecs.describe_tasks, cluster=name, tasks=tasks) == "AccessDeniedException"
    assert error_code(ecs.describe_tasks, cluster=name, tasks=[one]) == ALLOWED


def test_the_cluster_is_a_condition_of_permissions_on_tasks(
    enforcing_aws: Server, bare_enforcing_aws: Server
) -> None:
    """ecs_task_permission: a grant for one cluster permits to list and run tasks there alone."""

    def use(server: Server) -> list[str]:
        name, root = f"t-{uuid.uuid4().hex[:12]}", server.client("ecs")
        for cluster in (name, f"{name}-other"):
            root.create_cluster(clusterName=cluster)
        root.register_task_definition(
            family=name, containerDefinitions=[{"name": "c", "image": "none"}]
        )
        cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}"
        statement = {
            "Effect": "Allow",
            "Action": ["ecs:ListTasks", "ecs:RunTask"],
            "Resource": "*",
            "Condition": {"ArnEquals": {"ecs:cluster": cluster}},
        }
        see = {"Effect": "Allow", "Action": "ecs:DescribeClusters", "Resource": cluster}
        ecs = client("ecs", server.url, *assume_role(server, statement, see))
        return [
            error_code(ecs.describe_clusters, clusters=[name]),
            error_code(ecs.describe_clusters, clusters=[f"{name}-other"]),
            error_code(ecs.list_tasks, cluster=name),
            error_code(ecs.run_task, cluster=cluster, taskDefinition=name),
            error_code(ecs.list_tasks, cluster=f"{name}-other"),
            error_code(ecs.run_task, cluster=f"{name}-other", taskDefinition=name),
        ]

    denied = "AccessDeniedException"
    assert use(enforcing_aws) == [ALLOWED, denied, ALLOWED, ALLOWED, denied, denied]
    assert use(bare_enforcing_aws) == [denied] * 6


def test_submit_job_is_permitted_by_queue_and_definition(
    enforcing_aws: Server, bare_enforcing_aws: Server
) -> None:
    """batch_permission: grants for both permit to submit, and one for jobs to terminate them."""

    def submit(server: Server, *kinds: str) -> list[str]:
        name = batch_queue(server)
        request = {"jobName": name, "jobQueue": name, "jobDefinition": name}
        job = server.client("batch").submit_job(**request)["jobId"]
        of_batch = f"arn:aws:batch:{REGION}:{ACCOUNT}"
        resources = [f"{of_batch}:{kind}/{job if kind == 'job' else name}" for kind in kinds]
        role = assume_role(server, {"Effect": "Allow", "Action": "batch:*", "Resource": resources})
        batch = client("batch", server.url, *role)
        return [
            error_code(batch.submit_job, **request),
            error_code(batch.terminate_job, jobId=job, reason="enough"),
            error_code(batch.describe_jobs, jobs=[job]),
        ]

    denied = "AccessDeniedException"
    both = ("job-queue", "job-definition")
    assert submit(enforcing_aws, *both, "job") == [ALLOWED, ALLOWED, denied]
    assert submit(enforcing_aws, *both) == [ALLOWED, denied, denied]
    assert submit(enforcing_aws, "job-queue") == [denied] * 3
    assert submit(enforcing_aws, "job-definition", "job") == [denied, ALLOWED, denied]
    assert submit(bare_enforcing_aws, *both, "job") == [denied] * 3


def test_roles_of_containers_are_passed(enforcing_aws: Server, bare_enforcing_aws: Server) -> None:
    """pass_role: RunTask and RegisterJobDefinition need iam:PassRole to the service."""

    def run(server: Server, service: str) -> list[str]:
        name, root = f"t-{uuid.uuid4().hex[:12]}", server.client("ecs")
        task_role = server.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        arn = task_role["Role"]["Arn"]
        root.create_cluster(clusterName=name)
        root.register_task_definition(
            family=name, taskRoleArn=arn, containerDefinitions=[{"name": "c", "image": "none"}]
        )
        role = assume_role(
            server,
            {"Effect": "Allow", "Action": ["ecs:*", "batch:*"], "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": arn,
                "Condition": {"StringEquals": {"iam:PassedToService": service}},
            },
        )
        ecs, batch = (client(service, server.url, *role) for service in ("ecs", "batch"))
        return [
            error_code(ecs.run_task, cluster=name, taskDefinition=name),
            error_code(
                batch.register_job_definition,
                jobDefinitionName=name,
                type="container",
                containerProperties={"image": "none", "jobRoleArn": arn},
            ),
        ]

    assert run(enforcing_aws, "ecs-tasks.amazonaws.com") == [ALLOWED] * 2
    assert run(enforcing_aws, "lambda.amazonaws.com") == ["AccessDeniedException"] * 2
    assert run(bare_enforcing_aws, "lambda.amazonaws.com") == [ALLOWED] * 2


def test_policies_see_secure_transport(enforcing_aws: Server, bare_enforcing_aws: Server) -> None:
    """secure_transport: a bucket that denies plain HTTP can be used."""

    def list_bucket(server: Server) -> str:
        s3, name = server.client("s3"), f"b-{uuid.uuid4().hex}"
        s3.create_bucket(Bucket=name)
        resources = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
        denied = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": resources,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        s3.put_bucket_policy(Bucket=name, Policy=policy(denied))
        role = assume_role(server, {"Effect": "Allow", "Action": "s3:*", "Resource": resources})
        return error_code(client("s3", server.url, *role).list_objects_v2, Bucket=name)

    assert list_bucket(enforcing_aws) == ALLOWED
    assert list_bucket(bare_enforcing_aws) == "AccessDenied"


def test_a_batch_needs_the_permission_of_the_single_call(
    enforcing_aws: Server, bare_enforcing_aws: Server
) -> None:
    """sqs_batch_permission: sqs:DeleteMessage permits DeleteMessageBatch, no other batch."""

    def delete_batch(server: Server, action: str) -> str:
        name = f"q-{uuid.uuid4().hex}"
        url = server.client("sqs").create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        role = assume_role(server, {"Effect": "Allow", "Action": action, "Resource": arn})
        entries = [{"Id": "1", "ReceiptHandle": "gone"}]
        sqs = client("sqs", server.url, *role)
        return error_code(sqs.delete_message_batch, QueueUrl=url, Entries=entries)

    assert delete_batch(enforcing_aws, "sqs:DeleteMessage") == ALLOWED
    assert "AccessDenied" in delete_batch(enforcing_aws, "sqs:ReceiveMessage")
    assert "AccessDenied" in delete_batch(bare_enforcing_aws, "sqs:DeleteMessage")


def test_a_log_group_is_granted_by_its_arn_with_the_ending(
    enforcing_aws: Server, bare_enforcing_aws: Server
) -> None:
    """log_group_permission: the ARN with `:*` permits reading, the bare one does not."""

    def read(server: Server, ending: str) -> str:
        name = f"/aws/lambda/{uuid.uuid4().hex}"
        server.client("logs").create_log_group(logGroupName=name)
        arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}{ending}"
        role = assume_role(
            server, {"Effect": "Allow", "Action": "logs:FilterLogEvents", "Resource": arn}
        )
        logs = client("logs", server.url, *role)
        return error_code(logs.filter_log_events, logGroupName=name)

    assert read(enforcing_aws, ":*") == ALLOWED
    assert "AccessDenied" in read(enforcing_aws, "")
    assert "AccessDenied" in read(bare_enforcing_aws, ":*")


def test_types_whose_apis_ministack_has_are_deployed(local_aws: Server, bare_aws: Server) -> None:
    """records: each type is created, visible through its own API, and deleted with the stack."""
    name = f"records-{uuid.uuid4().hex[:8]}"
    subnets = {
        zone: (
            "AWS::EC2::Subnet",
            {"VpcId": {"Ref": "Vpc"}, "CidrBlock": f"10.1.{i}.0/24", "AvailabilityZone": zone_name},
        )
        for i, (zone, zone_name) in enumerate((("A", f"{REGION}a"), ("B", f"{REGION}b")))
    }
    stack = template(
        None,
        Vpc=VPC,
        **subnets,
        Log=("AWS::EC2::FlowLog", {
            "ResourceId": {"Ref": "Vpc"}, "ResourceType": "VPC", "TrafficType": "ALL",
            "LogGroupName": name,
        }),
        Secret=("AWS::SecretsManager::Secret", {"Name": name, "SecretString": "{}"}),
        Rotation=("AWS::SecretsManager::RotationSchedule", {
            "SecretId": {"Ref": "Secret"}, "RotationRules": {"AutomaticallyAfterDays": 30},
        }),
        Proxy=("AWS::RDS::DBProxy", {
            "DBProxyName": name, "EngineFamily": "POSTGRESQL", "RequireTLS": True,
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/proxy",
            "Auth": [{"AuthScheme": "SECRETS", "SecretArn": {"Ref": "Secret"}}],
            "VpcSubnetIds": [{"Ref": "A"}, {"Ref": "B"}],
        }),
        Targets=("AWS::RDS::DBProxyTargetGroup", {
            "DBProxyName": {"Ref": "Proxy"}, "TargetGroupName": "default",
        }),
        Link=("AWS::ApiGatewayV2::VpcLink", {
            "Name": name, "SubnetIds": [{"Ref": "A"}, {"Ref": "B"}],
        }),
        Cluster=("AWS::ECS::Cluster", {"ClusterName": name}),
        Providers=("AWS::ECS::ClusterCapacityProviderAssociations", {
            "Cluster": {"Ref": "Cluster"}, "CapacityProviders": ["FARGATE", "FARGATE_SPOT"],
            "DefaultCapacityProviderStrategy": [],
        }),
        Budget=("AWS::Budgets::Budget", {"Budget": {
            "BudgetName": name, "BudgetType": "COST", "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": 5, "Unit": "USD"},
        }}),
        Nameless=("AWS::Budgets::Budget", {"Budget": {
            "BudgetType": "COST", "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": 6, "Unit": "USD"},
        }}),
    )  # fmt: skip
    deployed = local_aws.deploy(stack)
    assert deployed.status == "CREATE_COMPLETE"

    def seen() -> list[bool]:
        logs = local_aws.client("ec2").describe_flow_logs()["FlowLogs"]
        secrets = local_aws.client("secretsmanager").list_secrets()["SecretList"]
        proxies = local_aws.client("rds").describe_db_proxies()["DBProxies"]
        budgets = local_aws.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
        clusters = local_aws.client("ecs").describe_clusters(clusters=[name])["clusters"]
        return [
            any("FARGATE_SPOT" in cluster["capacityProviders"] for cluster in clusters),
            any(log["LogDestination"] == name for log in logs),
            any(s["Name"] == name and s.get("RotationEnabled", False) for s in secrets),
            any(p["DBProxyName"] == name and p["RequireTLS"] for p in proxies),
            any(budget["BudgetName"] == name for budget in budgets),
            any(float(budget["BudgetLimit"]["Amount"]) == 6 for budget in budgets),
        ]

    assert all(seen())
    deployed.delete()
    assert not any(seen())
    with pytest.raises(ClientError, match="Unrecognized resource types") as refused:
        bare_aws.deploy(stack)
    assert str(refused.value).count("AWS::") == 7


def test_an_alarm_may_have_an_expression(local_aws: Server, bare_aws: Server) -> None:
    """alarm_metric_math: the alarm is deployed, visible in its API, deleted with the stack."""
    name = f"alarm-{uuid.uuid4().hex[:8]}"
    metric = {"Namespace": "AWS/RDS", "MetricName": "ReadLatency"}
    alarm = {
        "AlarmName": name,
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "Metrics": [
            {"Id": "all", "Expression": "one * 2"},
            {"Id": "one", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Average"}},
        ],
    }
    stack = template(None, Alarm=("AWS::CloudWatch::Alarm", alarm))
    deployed = local_aws.deploy(stack)
    cloudwatch = local_aws.client("cloudwatch")
    (found,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert (found["Namespace"], found["MetricName"]) == ("AWS/RDS", "ReadLatency")
    deployed.delete()
    assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"] == []
    assert bare_aws.deploy(stack).status == "ROLLBACK_COMPLETE"


def put_lines(server: Server, streams: dict[str, list[str]], first_ms: int) -> str:
    """Make a log group; line `n` of each stream is `n` milliseconds after `first_ms`."""
    logs, group = server.client("logs"), f"g-{uuid.uuid4().hex}"
    logs.create_log_group(logGroupName=group)
    for stream, lines in streams.items():
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": first_ms + n, "message": line} for n, line in enumerate(lines)]
        for start in range(0, len(events), 10_000):
            logs.put_log_events(
                logGroupName=group,
                logStreamName=stream,
                logEvents=events[start : start + 10_000],
            )
    return group


#: Lines of JSON, as a handler logs them.
ENDS = [
    '{"event": "end", "outcome": "rejected", "facts": {"code": 1}}',
    '{"event": "end", "outcome": "completed", "facts": {"code": 2}}',
]


def filtered_pages(server: Server, **request: Any) -> list[list[str]]:
    """The messages of each page of FilterLogEvents."""
    pages = server.client("logs").get_paginator("filter_log_events").paginate(**request)
    return [[event["message"] for event in page["events"]] for page in pages]


def test_a_log_is_read_to_its_end(local_aws: Server, bare_aws: Server) -> None:
    """filter_log_events: every event is on one page; ministack has only the first 10,000."""
    streams = {"a": [f"a{n}" for n in range(12_000)], "b": [f"b{n}" for n in range(12_000)]}
    in_order = [f"{stream}{n}" for n in range(12_000) for stream in "ab"]
    first_ms = int(time.time() * 1000)

    def pages(server: Server, **request: Any) -> list[list[str]]:
        group = put_lines(server, streams, first_ms)
        return filtered_pages(server, logGroupName=group, **request)

    found = pages(local_aws)
    assert [len(page) for page in found] == [10_000, 10_000, 4_000]
    assert [*chain(*found)] == in_order
    assert [*chain(*pages(local_aws, startFromHead=False))] == in_order[::-1]
    assert [len(page) for page in pages(bare_aws)] == [10_000]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ('?"timed out" ?"Runtime exited"', ["Task timed out", "Runtime exited"]),
        ('"Task timed"', ["Task timed out"]),
        ('Task -"timed out"', ["out timed Task"]),
        ('{ $.event = "end" && $.outcome = "rejected" }', [ENDS[0]]),
        ('{ $.outcome != "rejected" }', [ENDS[1]]),
        ("{ $.facts.code = 1 || $.facts.code = 2 }", ENDS),
        ('{ $.nothing = "x" }', []),
    ],
)
def test_a_filter_pattern_selects_lines(
    local_aws: Server, bare_aws: Server, pattern: str, found: list[str]
) -> None:
    """filter_patterns: phrases, alternatives, exclusions, JSON; ministack selects others."""
    lines = ["Task timed out", "out timed Task", "Runtime exited", *ENDS]

    def selected(server: Server) -> list[str]:
        group = put_lines(server, {"s": lines}, int(time.time() * 1000))
        return [*chain(*filtered_pages(server, logGroupName=group, filterPattern=pattern))]

    assert selected(local_aws) == [line for line in lines if line in found]
    assert selected(bare_aws) != selected(local_aws)


def test_a_page_has_at_most_one_megabyte(local_aws: Server, bare_aws: Server) -> None:
    """filter_log_events: the size in UTF-8 ends a page; what a filter drops does not count."""
    lines = ["ä" * 512 * 200] * 12 + ["end"]  # Each `ä` has two bytes.

    def sizes(server: Server, pattern: str) -> list[int]:
        group = put_lines(server, {"s": lines}, int(time.time() * 1000))
        return [
            len(page) for page in filtered_pages(server, logGroupName=group, filterPattern=pattern)
        ]

    assert sizes(local_aws, "") == [5, 5, 3]
    assert sizes(local_aws, "end") == [1]
    assert sizes(bare_aws, "") == [13]


def test_pages_stay_whole_while_lines_are_added(local_aws: Server) -> None:
    """filter_log_events: what is logged between two pages repeats and hides no line."""
    logs, first_ms = local_aws.client("logs"), int(time.time() * 1000)
    group = put_lines(local_aws, {"a": ["a0", "a1", "a2"], "b": ["b0"]}, first_ms)
    page = logs.filter_log_events(logGroupName=group, limit=2)
    for stream, at_ms, message in (("b", first_ms, "late"), ("b", first_ms + 2, "b2")):
        logs.put_log_events(
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": at_ms, "message": message}],
        )
    seen = [event["message"] for event in page["events"]]
    while "nextToken" in page:
        page = logs.filter_log_events(logGroupName=group, limit=2, nextToken=page["nextToken"])
        seen += [event["message"] for event in page["events"]]
    assert seen == ["a0", "b0", "late", "a1", "a2", "b2"]


def test_streams_are_chosen_by_their_prefix(local_aws: Server, bare_aws: Server) -> None:
    """filter_log_events: the prefix limits the streams; ministack ignores it."""

    def read(server: Server) -> list[list[str]]:
        group = put_lines(server, {"one": ["1"], "other": ["2"]}, int(time.time() * 1000))
        return filtered_pages(server, logGroupName=group, logStreamNamePrefix="one")

    assert read(local_aws) == [["1"]]
    assert read(bare_aws) == [["1", "2"]]


@pytest.mark.parametrize(
    "request_",
    [
        {"nextToken": "not one of ours"},
        {"limit": 0},
        {"limit": 10_001},
        {"logStreamNames": ["s"], "logStreamNamePrefix": "s"},
    ],
    ids=str,
)
def test_an_invalid_page_is_refused(local_aws: Server, request_: dict[str, Any]) -> None:
    """filter_log_events: a foreign token, a limit beyond AWS's, two choices of streams."""
    group = put_lines(local_aws, {"s": ["1"]}, int(time.time() * 1000))
    call = local_aws.client("logs").filter_log_events
    assert error_code(call, logGroupName=group, **request_) == "InvalidParameterException"


def test_batch_is_changed_and_deleted_by_its_api(local_aws: Server, bare_aws: Server) -> None:
    """batch_apis: a definition keeps its parts; what is used or enabled is not deleted."""
    name, batch = batch_queue(local_aws), local_aws.client("batch")
    arn = f"arn:aws:batch:{REGION}:{ACCOUNT}"
    for wanted in (name, f"{name}:1", f"{arn}:job-definition/{name}:1"):
        (found,) = batch.describe_job_definitions(jobDefinitions=[wanted])["jobDefinitions"]
        assert found["retryStrategy"] == {"attempts": 2}
    queue, environment = f"{arn}:job-queue/{name}", f"{arn}:compute-environment/{name}"
    environments = batch.describe_compute_environments(computeEnvironments=[environment])
    assert len(environments["computeEnvironments"]) == 1
    many = {"computeEnvironment": name, "computeResources": {"maxvCpus": "many"}}
    assert error_code(batch.update_compute_environment, **many) == "ClientException"
    urgent = {"jobQueue": name, "priority": "urgent"}
    assert error_code(batch.update_job_queue, **urgent) == "ClientException"
    delete_queue = partial(error_code, batch.delete_job_queue, jobQueue=queue)
    delete_environment = partial(
        error_code, batch.delete_compute_environment, computeEnvironment=environment
    )
    assert delete_queue() == "ClientException"
    assert delete_environment() == "ClientException"
    batch.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    assert delete_environment() == "ClientException"
    batch.update_job_queue(jobQueue=name, state="DISABLED")
    assert [delete_queue(), delete_environment()] == [ALLOWED] * 2
    assert batch.describe_job_queues(jobQueues=[name])["jobQueues"] == []
    batch.deregister_job_definition(jobDefinition=f"{name}:1")
    described = batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")
    assert described["jobDefinitions"] == []
    name, batch = batch_queue(bare_aws), bare_aws.client("batch")
    many["computeEnvironment"] = name
    assert error_code(batch.update_compute_environment, **many) == ALLOWED
    update = error_code(batch.update_job_queue, jobQueue=name, state="DISABLED")
    assert update == "InvalidAction"
    described = batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    assert "retryStrategy" not in described[0]


def test_a_token_starts_a_task_once(local_aws: Server, bare_aws: Server) -> None:
    """run_task: a repeated request has the same task, another one conflicts; unknown is refused."""

    def run(server: Server) -> tuple[int, list[str]]:
        ecs, name = server.client("ecs"), f"t-{uuid.uuid4().hex[:12]}"
        ecs.create_cluster(clusterName=name)
        for _ in range(2):
            ecs.register_task_definition(
                family=name,
                containerDefinitions=[{"name": "c", "image": "none"}],
                cpu="256",
                memory="512",
            )
        ecs.deregister_task_definition(taskDefinition=f"{name}:2")
        own = {"cpu": "512", "memory": "1024"}
        request = {
            "cluster": name,
            "taskDefinition": name,
            "clientToken": name,
            "startedBy": name,
            "overrides": own,
        }
        ((first,), (second,)) = (ecs.run_task(**request)["tasks"] for _ in range(2))
        assert "stopCode" not in first or server is bare_aws
        described = {name: first[name] for name in own}
        assert (described == own) == (server is local_aws)
        assert first["taskDefinitionArn"].endswith(":1") == (server is local_aws)
        override = {"containerOverrides": [{"name": "other"}]}
        long = {"containerOverrides": [{"name": "c", "command": ["x" * 8192]}]}
        refused = [
            error_code(ecs.run_task, **{**request, "overrides": {}}),
            error_code(ecs.run_task, cluster=f"{name}-other", taskDefinition=name),
            error_code(ecs.run_task, cluster=name, taskDefinition=f"{name}:2"),
            error_code(ecs.run_task, cluster=name, taskDefinition=name, overrides=override),
            error_code(ecs.run_task, cluster=name, taskDefinition=name, overrides=long),
            error_code(ecs.list_tasks, cluster=f"{name}-none"),
            error_code(ecs.describe_tasks, cluster=f"{name}-none", tasks=["t"]),
            error_code(ecs.stop_task, cluster=f"{name}-none", task="t"),
        ]
        return len({first["taskArn"], second["taskArn"]}), refused

    assert run(local_aws) == (
        1,
        [
            "ConflictException",
            "ClusterNotFoundException",
            "ClientException",
            *["InvalidParameterException"] * 2,
            *["ClusterNotFoundException"] * 3,
        ],
    )
    assert run(bare_aws) == (2, [*[ALLOWED] * 7, "InvalidParameterException"])


def test_starts_are_throttled(local_aws: Server, bare_aws: Server) -> None:
    """start_rates: beyond AWS's rates, SubmitJob and RunTask are refused."""

    def answers(server: Server, service: str, path: str, target: str = "") -> set[str]:
        # A region of its own, as rates are; unsigned and small, so that a busy machine is fast
        # enough.
        scope = f"test/20260101/eu-west-3/{service}/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}", "X-Amz-Target": target}
        with httpx.Client(headers=headers, trust_env=False) as http, ThreadPoolExecutor(4) as calls:
            post = partial(http.post, f"{server.url}{path}", json={"launchType": "FARGATE"})
            return {answer.json()["__type"] for answer in calls.map(lambda _: post(), range(120))}

    submit_job = ("batch", "/v1/submitjob")
    run_task = ("ecs", "/", "AmazonEC2ContainerServiceV20141113.RunTask")
    refused = {"ClientException"}
    assert answers(local_aws, *submit_job) == {*refused, "TooManyRequestsException"}
    assert answers(bare_aws, *submit_job) == refused
    refused = {"ClusterNotFoundException"}
    assert answers(local_aws, *run_task) == {*refused, "ThrottlingException"}
    assert "ThrottlingException" not in answers(bare_aws, *run_task)


@pytest.mark.parametrize("strategy", [None, [None], 5])
def test_a_strategy_may_be_invalid(local_aws: Server, strategy: object) -> None:
    """start_rates: a request is counted or not, and refused by RunTask only."""
    answer = httpx.post(
        local_aws.url,
        json={"capacityProviderStrategy": strategy},
        headers={"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.RunTask"},
        trust_env=False,
    )
    assert answer.json()["__type"] == "ClusterNotFoundException"


def test_batch_is_deployed(local_aws: Server, bare_aws: Server) -> None:
    """batch_resources: `Ref` is the ARN, changes are made, and all of it goes with the stack."""

    def stack(command: str, priority: int) -> Any:
        return template(
            {name: {"Ref": name} for name in ("Environment", "Queue", "Definition")}
            | {"Arn": {"Fn::GetAtt": ["Definition", "JobDefinitionArn"]}},
            Environment=("AWS::Batch::ComputeEnvironment", {
                "Type": "managed",
                "ComputeResources": {"Type": "FARGATE", "MaxvCpus": 4, "Subnets": ["subnet-1"]},
            }),
            Queue=("AWS::Batch::JobQueue", {
                "Priority": priority,
                "ComputeEnvironmentOrder": [
                    {"Order": 1, "ComputeEnvironment": {"Ref": "Environment"}},
                ],
            }),
            Definition=("AWS::Batch::JobDefinition", {
                "JobDefinitionName": name, "Type": "container", "Parameters": {"Size": "1"},
                "PlatformCapabilities": ["FARGATE"], "Timeout": {"AttemptDurationSeconds": 60},
                "RetryStrategy": {"Attempts": 3, "EvaluateOnExit": [
                    {"OnStatusReason": "Host EC2*", "Action": "RETRY"},
                ]},
                "ContainerProperties": {
                    "Image": "none", "Command": [command],
                    "ResourceRequirements": [{"Type": "VCPU", "Value": "1"}],
                    "Secrets": [{"Name": "S", "ValueFrom": "/s"}],
                    "LogConfiguration": {"LogDriver": "awslogs", "Options": {"awslogs-group": "g"}},
                },
            }),
        )  # fmt: skip

    name, batch = f"b-{uuid.uuid4().hex[:12]}", local_aws.client("batch")
    deployed = local_aws.deploy(stack("one", 1))
    definition = deployed.output("Definition")
    assert definition == deployed.output("Arn")
    assert definition.endswith(f":job-definition/{name}:1")
    (found,) = batch.describe_job_definitions(jobDefinitions=[definition])["jobDefinitions"]
    assert found["parameters"] == {"Size": "1"}
    assert found["timeout"] == {"attemptDurationSeconds": 60}
    assert found["retryStrategy"]["evaluateOnExit"][0]["action"] == "RETRY"
    container = found["containerProperties"]
    assert container["secrets"] == [{"name": "S", "valueFrom": "/s"}]
    assert container["logConfiguration"]["options"] == {"awslogs-group": "g"}
    queue, environment = deployed.output("Queue"), deployed.output("Environment")
    (found,) = batch.describe_compute_environments(computeEnvironments=[environment])[
        "computeEnvironments"
    ]
    assert (found["type"], found["computeResources"]["maxvCpus"]) == ("MANAGED", 4)
    local_aws.client("cloudformation").update_stack(
        StackName=deployed.name, TemplateBody=json.dumps(stack("two", 7))
    )
    assert deployed.output("Definition").endswith(f"{name}:2")
    assert deployed.output("Queue") == queue
    (found,) = batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
    assert found["priority"] == 7
    assert found["computeEnvironmentOrder"] == [{"order": 1, "computeEnvironment": environment}]
    assert deployed.delete() == "DELETE_COMPLETE"
    for answer in (
        batch.describe_job_queues(jobQueues=[queue])["jobQueues"],
        batch.describe_compute_environments(computeEnvironments=[environment])[
            "computeEnvironments"
        ],
        batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")["jobDefinitions"],
    ):
        assert answer == []
    assert error_code(bare_aws.deploy, template=stack("one", 1)) == "ValidationError"


def test_a_task_definition_is_deployed_with_all_of_it(local_aws: Server, bare_aws: Server) -> None:
    """task_definition_properties: secrets, storage, files, platform are as the API has them."""
    stack = template(
        {"Arn": {"Ref": "Definition"}},
        Cluster=("AWS::ECS::Cluster", {}),
        Definition=("AWS::ECS::TaskDefinition", {
            "RequiresCompatibilities": ["FARGATE"], "NetworkMode": "awsvpc",
            "Cpu": "256", "Memory": "512", "EphemeralStorage": {"SizeInGiB": 30},
            "RuntimePlatform": {"CpuArchitecture": "X86_64"},
            "Volumes": [{"Name": "files", "EFSVolumeConfiguration": {
                "FilesystemId": "fs-1",
                "AuthorizationConfig": {"AccessPointId": "fsap-1", "IAM": "ENABLED"}}}],
            "ContainerDefinitions": [{
                "Name": "c", "Image": "none", "DockerLabels": {"Own": "label"}, "StopTimeout": 120,
                "Secrets": [{"Name": "S", "ValueFrom": "/s"}],
            }],
        }),
    )  # fmt: skip

    def described(server: Server) -> dict[str, Any]:
        deployed = server.deploy(stack)
        arn = deployed.output("Arn")
        found = server.client("ecs").describe_task_definition(taskDefinition=arn)
        definition: dict[str, Any] = found["taskDefinition"]
        assert deployed.delete() == "DELETE_COMPLETE"
        return definition

    found = described(local_aws)
    assert found["ephemeralStorage"] == {"sizeInGiB": 30}
    assert found["runtimePlatform"] == {"cpuArchitecture": "X86_64"}
    (volume,) = found["volumes"]
    assert volume["efsVolumeConfiguration"] == {
        "fileSystemId": "fs-1",
        "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
    }
    (container,) = found["containerDefinitions"]
    assert container["secrets"] == [{"name": "S", "valueFrom": "/s"}]
    assert container["dockerLabels"] == {"Own": "label"}
    assert (container["stopTimeout"], container["essential"]) == (120, True)
    found = described(bare_aws)
    assert "ephemeralStorage" not in found
    assert found["containerDefinitions"][0]["secrets"] == [{}]


def test_every_fix_has_its_test() -> None:
    """Each fix is named by the docstring of a test of fixes, and in the reference."""
    files = (ROOT / "local_aws/src/local_aws/fixes").glob("*/[!_]*.py")
    names = {file.stem for file in files}
    tests = [
        node
        for file in Path(__file__).parent.glob("test_*fixes.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert names <= {(ast.get_docstring(test) or "").partition(":")[0] for test in tests}
    reference = (ROOT / "docs" / "reference" / "local-aws.md").read_text()
    assert {name for name in names if f"`{name}`" not in reference} == set()
