"""The load balancer through which people open Airflow's UI.

Owns who may reach it and how the connection is encrypted. Functions reach the Execution API inside
the VPC instead (`airflow_control_plane.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge

_HTTP, _HTTPS = 80, 443

_ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntranceProps:
    """The settings of an `Entrance`.

    Attributes:
        on_the_internet: Whether the load balancer has public addresses, or else private ones.
        subnets: Public ones if it is on the Internet.
        allowed_cidrs: IPv4 ranges that may open the UI.
        certificate_arn: None: plain HTTP.
        domain_name: The certificate's name; None: people use the name that AWS assigns.
    """

    vpc: ec2.IVpc
    on_the_internet: bool
    subnets: ec2.SubnetSelection
    allowed_cidrs: Sequence[str]
    certificate_arn: str | None
    domain_name: str | None


class Entrance(Construct):
    """An application load balancer: HTTPS if there is a certificate, else HTTP."""

    def __init__(self, scope: Construct, id: str, props: EntranceProps) -> None:
        super().__init__(scope, id)
        ports = (_HTTP, _HTTPS) if props.certificate_arn else (_HTTP,)
        self.security_group = self._security_group(props, ports)
        self.load_balancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=props.vpc,
            internet_facing=props.on_the_internet,
            vpc_subnets=props.subnets,
            security_group=self.security_group,
            drop_invalid_header_fields=True,
        )
        self._listener = self._listen(props)
        # AWS never lets a target group go over to another load balancer, and CloudFormation makes
        # the new load balancer first. A public one has a target group of its own, because a load
        # balancer that goes on the Internet, or leaves it, is replaced.
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
        self._targets_id = "PublicAirflow" if props.on_the_internet else "Airflow"
        host = props.domain_name or self.load_balancer.load_balancer_dns_name
        self.url = f"{'https' if props.certificate_arn else 'http'}://{host}"
        acknowledge(
            self.load_balancer,
            ELB2="The api-server logs every request. An access log needs a bucket whose policy "
            "depends on the Region, which is not known at synth.",
        )

    def lead_to(
        self, target: elb.IApplicationLoadBalancerTarget, *, port: int, health_path: str
    ) -> elb.ApplicationTargetGroup:
        """Forward requests to a service; return the target group of its running tasks."""
        return self._listener.add_targets(
            self._targets_id,
            port=port,
            protocol=elb.ApplicationProtocol.HTTP,
            targets=[target],
            deregistration_delay=cdk.Duration.seconds(30),
            health_check=elb.HealthCheck(
                path=health_path,
                healthy_http_codes="200",
                interval=cdk.Duration.seconds(15),
                timeout=cdk.Duration.seconds(10),
                healthy_threshold_count=2,
                unhealthy_threshold_count=5,
            ),
        )

    def refuse(self, path: str) -> None:
        """Answer everything at or below a path with 404."""
        self._listener.add_action(
            "Refuse",
            priority=1,
            conditions=[elb.ListenerCondition.path_patterns([path, f"{path}/*"])],
            action=elb.ListenerAction.fixed_response(404),
        )

    def _security_group(self, props: EntranceProps, ports: Sequence[int]) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=props.vpc,
            description="Of the load balancer",
            allow_all_outbound=False,
        )
        for cidr in props.allowed_cidrs:
            for port in ports:
                group.add_ingress_rule(
                    ec2.Peer.ipv4(cidr), ec2.Port.tcp(port), f"The UI from {cidr}"
                )
        if _ANYWHERE in props.allowed_cidrs:
            acknowledge(
                group,
                EC23="The stage's control_plane.allowed_cidrs opens the UI to everybody; it needs "
                "a password, and HTTPS.",
            )
        return group

    def _listen(self, props: EntranceProps) -> elb.ApplicationListener:
        if props.certificate_arn is None:
            return self.load_balancer.add_listener("Http", port=_HTTP, open=False)
        self.load_balancer.add_listener(
            "Http",
            port=_HTTP,
            open=False,
            default_action=elb.ListenerAction.redirect(
                protocol="HTTPS", port=str(_HTTPS), permanent=True
            ),
        )
        return self.load_balancer.add_listener(
            "Https",
            port=_HTTPS,
            open=False,
            certificates=[
                acm.Certificate.from_certificate_arn(self, "Certificate", props.certificate_arn)
            ],
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS,
        )
