"""An API Gateway through which functions outside the VPC reach Airflow's Execution API.

It costs nothing while nobody calls it, and brings HTTPS without a certificate of one's own. Whoever
finds its address can call it: the Execution API asks each caller for the token of a workload.
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge

#: Anybody may call it, each call costs something, and one api-server answers a few hundred a
#: second. What is beyond is refused, and clients repeat it. An account's own limit is 10,000:
#: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html
_THROTTLE = apigateway.ThrottleSettings(rate_limit=500, burst_limit=1000)


def http_api(scope: Construct, id: str, *, name: str) -> apigateway.HttpApi:
    """Make an API without routes, whose address functions can be told before Airflow exists."""
    api = apigateway.HttpApi(
        scope,
        id,
        api_name=name,
        description=f"Reaches the control plane of {name}",
        create_default_stage=False,
    )
    stage = apigateway.HttpStage(api, "Stage", http_api=api, auto_deploy=True, throttle=_THROTTLE)
    acknowledge(
        stage, APIG1="The api-server logs every request; a second log would cost as much again."
    )
    return api


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiEntranceProps:
    """The settings of an `ApiEntrance`.

    Attributes:
        api: What `http_api` made, in this stack or one that is deployed earlier.
        subnets: Subnets of the VPC, one or more, from which API Gateway connects.
        ui: Whether everybody may open the UI too; otherwise only the Execution API is reached.
    """

    api: apigateway.IHttpApi
    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    ui: bool


class ApiEntrance(Construct):
    """The way from an API Gateway into the VPC.

    Attributes:
        url: The address of the API, without a slash at the end.
        serves_the_ui: Whether everybody may open the UI through it.
        security_group: API Gateway connects from it.
    """

    def __init__(self, scope: Construct, id: str, props: ApiEntranceProps) -> None:
        super().__init__(scope, id)
        self.api = props.api
        self.url = props.api.api_endpoint
        self.serves_the_ui = props.ui
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=props.vpc,
            description="Of the API Gateway",
            allow_all_outbound=False,
        )
        self._link = apigateway.VpcLink(
            self,
            "Link",
            vpc=props.vpc,
            subnets=props.subnets,
            security_groups=[self.security_group],
        )

    def lead_to(self, service: servicediscovery.IService, *, execution_path: str) -> None:
        """Forward requests to the tasks of a service that is registered with its ports.

        API Gateway learns addresses and ports from SRV records:
        https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-private.html
        """
        route = apigateway.HttpRoute(
            self,
            "Route",
            http_api=self.api,
            route_key=(
                apigateway.HttpRouteKey.DEFAULT
                if self.serves_the_ui
                else apigateway.HttpRouteKey.with_(
                    f"{execution_path}/{{proxy+}}", apigateway.HttpMethod.ANY
                )
            ),
            integration=integrations.HttpServiceDiscoveryIntegration(
                "Airflow",
                service,
                vpc_link=self._link,
                # A private integration may put the name of the API's stage before the path.
                parameter_mapping=apigateway.ParameterMapping().overwrite_path(
                    apigateway.MappingValue.request_path()
                ),
            ),
        )
        acknowledge(
            route, APIG4="Airflow asks each caller for a token, and people for their password."
        )
