"""The AWS calls of the executor: the only room that knows boto3."""

from lambda_executor.aws.batch_jobs import SUBMIT_JOB as SUBMIT_JOB
from lambda_executor.aws.batch_jobs import BatchJobs as BatchJobs
from lambda_executor.aws.clients import Clients as Clients
from lambda_executor.aws.clients import Patience as Patience
from lambda_executor.aws.clients import Place as Place
from lambda_executor.aws.clients import Session as Session
from lambda_executor.aws.clients import SessionFactory as SessionFactory
from lambda_executor.aws.dags import ChangedError as ChangedError
from lambda_executor.aws.dags import Listed as Listed
from lambda_executor.aws.dags import S3DagFolder as S3DagFolder
from lambda_executor.aws.ecs_tasks import RUN_TASK as RUN_TASK
from lambda_executor.aws.ecs_tasks import EcsTasks as EcsTasks
from lambda_executor.aws.functions import LambdaFunctions as LambdaFunctions
from lambda_executor.aws.inspection import AccountFacts as AccountFacts
from lambda_executor.aws.inspection import EventFacts as EventFacts
from lambda_executor.aws.inspection import FunctionFacts as FunctionFacts
from lambda_executor.aws.inspection import Inspection as Inspection
from lambda_executor.aws.inspection import ProbeReply as ProbeReply
from lambda_executor.aws.inspection import QueueFacts as QueueFacts
from lambda_executor.aws.logs import LogGroup as LogGroup
from lambda_executor.aws.logs import LogLine as LogLine
from lambda_executor.aws.parameters import read_parameter as read_parameter
from lambda_executor.aws.payloads import S3Payloads as S3Payloads
from lambda_executor.aws.queues import SqsQueue as SqsQueue
from lambda_executor.aws.translation import translate as translate
