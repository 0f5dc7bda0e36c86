"""The command line of `make prove` and `make preflight`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from destroy import DestroyError, session_of, stages
from lambda_executor.contract.help import with_page
from prove import report
from prove.needs import needs_of
from prove.place import FOLDER, NotSeenError, Place
from prove.preflight import Finding, Verdict, preflight
from prove.running import Outcome, Result, run
from prove.steps import STEPS, Step
from stacks.config.loading import StageConfigError, load

#: The account of the embedded AWS, which is nobody's.
EMBEDDED_ACCOUNT = "000000000000"

_NAMES = [step.name for step in STEPS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if everything that was tried was seen."""
    given = _parser().parse_args(arguments)
    if given.page:
        _say("\n".join(report.page()))
        return 0
    try:
        return _main(given)
    except (StageConfigError, DestroyError, NotSeenError, BotoCoreError, ClientError) as e:
        sys.exit(with_page(str(e)))


def _main(given: argparse.Namespace) -> int:
    config = load(stages(), given.stage)
    steps = _chosen(given)
    options = {
        "email": given.email,
        "certificate_arn": given.certificate_arn,
        "domain_name": given.domain_name,
    }
    if given.dry_run:
        _say("\n".join(report.dry_run(steps, Place(given.stage, config, None, **options))))
        return 0
    if config.removal == "retain" and not (given.allow_retain or given.preflight):
        sys.exit(
            f'The stage {given.stage} has the removal "retain", so it is one whose data matters, '
            'and the plan breaks things on purpose: use a stage with the removal "destroy", or '
            "give --allow-retain."
        )
    session, account = session_of(given.stage, config)
    place = Place(
        given.stage,
        config,
        session,
        account,
        session.region_name,
        is_embedded=account == EMBEDDED_ACCOUNT,
        **options,
    )
    _say(f"Stage {place.stage} in {place.region}, account {account}")
    findings = list(preflight(place, needs_of(given.stage, config)))
    _say("\n".join(report.findings_table(findings)))
    if given.preflight:
        return int(any(finding.verdict is Verdict.PROBLEM for finding in findings))
    short = [finding.quota.name for finding in findings if finding.verdict is Verdict.PROBLEM]
    if given.yes and short:
        sys.exit(f"Too small: {', '.join(short)}. Ask AWS for more (above), or leave out --yes.")
    if not given.yes:
        _ask(place, steps)
    return _prove(place, steps, findings)


def _prove(place: Place, steps: Sequence[Step], findings: Sequence[Finding]) -> int:
    logs = FOLDER / place.stage
    logs.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    try:
        results.extend(run(steps, place, logs, _say))
    except KeyboardInterrupt:
        _say("Interrupted.")
    file = logs / "results.json"
    report.write_json(file, place, findings, results)
    _say("\n".join(["", *report.table(results), f"All of it: {file}"]))
    if place.stacks():
        _say(f"The stage is still there, and costs money: make destroy STAGE={place.stage}")
        own = f"node_modules/.bin/cdk deploy --all -c stage={place.stage}"
        _say(f"If it stays, give it its own DAG files and configuration again: {own}")
    elif not place.is_embedded:
        _say("Look at the bill of the day after: a few dollars.")
    tried = [r for r in results if r.outcome in (Outcome.SEEN, Outcome.FAILED)]
    return int(len(results) < len(steps) or any(r.outcome is Outcome.FAILED for r in tried))


def _ask(place: Place, steps: Sequence[Step]) -> None:
    takes = [f"  {step.name}: {step.takes}" for step in steps if step.takes]
    minutes = sum(step.minutes for step in steps if not step.left_out(place))
    lines = [
        f"{len(steps)} steps take about {minutes} minutes, and a stage costs money while it is up.",
        *(["These take something from those who use the stage:", *takes] if takes else []),
        "Type the stage's name to continue: ",
    ]
    if input("\n".join(lines)) != place.stage:
        sys.exit("Nothing was done.")


def _chosen(given: argparse.Namespace) -> list[Step]:
    if given.only:
        return [step for step in STEPS if step.name in given.only]
    return list(STEPS[_NAMES.index(given.first) :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make prove",
        description="Do what could not be tried without an AWS account (docs/unproven.md), step by "
        "step, and check what must be seen. A pre-flight reads the account's quotas first.",
    )
    parser.add_argument("stage", nargs="?", default="dev", help="the stage's name in cdk.json")
    parser.add_argument("--dry-run", action="store_true", help="only print steps and commands")
    parser.add_argument("--preflight", action="store_true", help="only compare the quotas")
    parser.add_argument("--page", action="store_true", help="only print docs/unproven.md's list")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", action="append", choices=_NAMES, metavar="STEP", help="this step")
    which.add_argument(
        "--from", dest="first", choices=_NAMES, default=_NAMES[0], metavar="STEP", help="from it on"
    )
    parser.add_argument("--email", default="", help="where the alarms go")
    parser.add_argument("--certificate-arn", default="", help="of ACM, in the stage's Region")
    parser.add_argument("--domain-name", default="", help="a name that the certificate is for")
    parser.add_argument("--allow-retain", action="store_true", help='also with removal "retain"')
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
