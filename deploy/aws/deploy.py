"""Makes, tries and removes an environment in an AWS account: `python -m deploy.aws.deploy deploy staging --size small`.

`make deploy`, `make smoke` and `make destroy` call it; docs/aws-account.md explains it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.aws import account as accounts
from deploy.aws import changes, costs, log_retention, parameters, smoke, standing, teardown, work
from deploy.aws.account import Account, DeployError
from deploy.aws.templates import ORDER, stack_name

Ask = Callable[[str], bool]
OIDC_KEYS = ("approvers_client_id", "approvers_client_secret", "viewers_client_id", "viewers_client_secret")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.aws.deploy", description=__doc__)
    parser.add_argument(
        "command",
        choices=["deploy", "costs", "smoke", "destroy"],
        help="deploy: make it, or change what has changed; costs: print the estimate alone, without an account; "
        "smoke: send one photograph; destroy: remove it, after saying what stays",
    )
    parser.add_argument("env", help="the environment, such as staging")
    parser.add_argument("--size", default="small", help=f"{', '.join(parameters.SIZES)}; without it small")
    parser.add_argument("--tag", help="of the images; without it the version in pyproject.toml")
    parser.add_argument(
        "--through",
        metavar="STACK",
        choices=ORDER,
        default=ORDER[-1],
        help=f"the last stack that is deployed, of {', '.join(ORDER)}; all of them without it",
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing: for CI")
    parser.add_argument("--photograph", type=Path, help="of smoke; without it one is rendered")
    options = parser.parse_args(arguments)
    ask: Ask = (lambda question: True) if options.yes else asked
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        parameters.require_name(options.env)
        parameters.read_sizes(options.size)
        if options.command == "costs":
            own = parameters.environment_file(options.env).is_file()
            print(costs.text(options.size, parameters.read_environment(options.env) if own else None))
            return 0
        if options.command == "deploy":
            environment = parameters.read_environment(options.env)
            tag = options.tag or parameters.version()
            if (trouble := parameters.trouble_with("Tag", tag)) is not None:
                raise DeployError(f"TAG={tag}: {trouble}.")
            print(costs.text(options.size, environment))
            where = accounts.open_account(options.env)
            print(f"\nAccount {where.number}, {where.region}, environment {where.env}.")
            return 0 if deploy(where, options.size, environment, tag, ask, through=options.through) else 1
        if options.command == "smoke":
            photograph = smoke.photograph_to_send(options.photograph)  # before the account is asked
            smoke.run(accounts.open_account(options.env), *photograph)
            return 0
        return 0 if destroy(accounts.open_account(options.env), ask) else 1
    except DeployError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    except ClientError as error:
        why = error.response["Error"]
        refused = f"{error.operation_name}: {why.get('Message') or why.get('Code')}"
        print(f"deploy: AWS refuses {refused}", file=sys.stderr)
        return 1
    except BotoCoreError as error:
        print(f"deploy: AWS cannot be asked: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndeploy: interrupted. CloudFormation goes on with the stack that it has begun.", file=sys.stderr)
        return 130


def asked(question: str) -> bool:
    """What somebody at the terminal answers.

    Raises:
        DeployError: Nobody is there.
    """
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError as error:
        raise DeployError("Nobody is there to answer: give --yes (make deploy YES=1).") from error


def deploy(
    account: Account,
    size: str,
    environment: Mapping[str, str],
    tag: str,
    ask: Ask,
    wait: Callable[[float], object] = time.sleep,
    through: str = ORDER[-1],
) -> bool:
    """Brings every stack to what the templates say.

    Args:
        account: where.
        size: of parameters.SIZES.
        environment: from parameters.read_environment.
        tag: of the images.
        ask: whether to go on, after the change set has been printed.
        wait: lets seconds pass.
        through: the last stack, after which it stops; the rest stays as it is.

    Returns:
        Whether all was carried out; False where the answer was no.

    Raises:
        DeployError: Something is missing, or a stack failed.
    """
    own = parameters.own_values(account.env, tag)
    parameters.require_here(environment, account.region, account.number)
    if not standing.settle(account, "data", ask, wait):
        return False
    later = {"LakeIsThere": _lake_is_there(account)}
    _require_same_snapshot(account, environment.get("DatabaseSnapshot", ""))
    for stack in ORDER:
        if stack == "dagster":
            accounts.require_secret(account, environment["OidcSecret"], OIDC_KEYS)
            _require_images(account, tag)
            later["SigningSecretArn"] = accounts.ensure_signing_keys(account)
            later["FrontUrl"] = changes.outputs_of(account, "front").get("Url", "")
        if stack == "front":
            accounts.put_front_code(account)
        if not one_stack(account, stack, parameters.of_stack(stack, size, environment, own, later), ask, wait):
            return False
        if stack == "dagster":
            log_retention.limit_logs(account, int(parameters.of_stack(stack, size, environment, own, later)["LogDays"]))
        if stack == through != ORDER[-1]:
            print(f"\nDone up to {stack}.")
            return True
    front = changes.outputs_of(account, "front").get("Url", "")
    if front != later["FrontUrl"]:
        print("The front has its address now: Dagster's processes get it.")
        later["FrontUrl"] = front
        if not one_stack(account, "dagster", parameters.of_stack("dagster", size, environment, own, later), ask, wait):
            return False
    addresses = changes.outputs_of(account, "dagster")
    print(
        f"\nDone. {addresses.get('Dagster')} (approvers), {addresses.get('Viewer')} and {addresses.get('Mlflow')} are "
        f"names that must point to {addresses.get('LoadBalancerName')}. Clients: {front}/v1/inspections."
    )
    return True


def one_stack(
    account: Account, stack: str, given: Mapping[str, str], ask: Ask, wait: Callable[[float], object] = time.sleep
) -> bool:
    """Prints what would change in one stack, asks, and carries it out; False where the answer was no."""
    if not standing.settle(account, stack, ask, wait):
        return False
    change_set = changes.make_change_set(account, stack, given, wait=wait)
    name = stack_name(account.env, stack)
    if change_set is None:
        print(f"\n{name}: nothing changes.")
        return True
    print(f"\n{name}{' (new)' if change_set.is_new else ''}: {changes.summary(change_set.changes)}")
    for change in change_set.changes:
        print(changes.words(change))
    if not ask(f"Carry out these changes of {name}?"):
        changes.give_up(account, change_set)
        print(f"{name}: nothing was changed.")
        return False
    changes.carry_out(account, change_set, wait)
    print(f"{name}: done.")
    return True


def destroy(account: Account, ask: Ask, wait: Callable[[float], object] = time.sleep) -> bool:
    """Removes an environment after saying what stays; False where the answer was no."""
    endpoints = teardown.endpoints_of(account)
    present = teardown.present_stacks(account)
    if not present and not endpoints:
        _forget(account)  # an earlier `destroy` may have been cut off before
        print(f"There is nothing of the environment {account.env} in account {account.number}, {account.region}.")
        return True
    print(f"Account {account.number}, {account.region}: removed are the stacks {', '.join(present) or 'none'},")
    print(f"in this order, the bucket {account.logs} with all logs, all images,")
    print(f"and the endpoints {', '.join(endpoints) or 'none'}. Runs and jobs that are under way are stopped.")
    print("What stays:")
    for line in teardown.what_stays(account):
        print(f"  {line}")
    if not ask(f"Remove the environment {account.env}?"):
        print("Nothing was removed.")
        return False
    for stopped in work.stop_work(account, wait):  # before the endpoints: a sensor would make them again
        print(f"Stopped {stopped}.")
    teardown.remove_endpoints(account, teardown.endpoints_of(account), wait)
    teardown.remove_stacks(account, wait)
    _forget(account)
    print("What stays:")
    for line in teardown.what_stays(account):
        print(f"  {line}")
    return True


def _forget(account: Account) -> None:
    """Removes what is left of stacks that are gone, and would be in the way of, or cost, the next ones."""
    teardown.forget_secrets(account)
    log_retention.remove_logs(account)


def _lake_is_there(account: Account) -> str:
    """Whether the stack `data` takes over the bucket of an earlier deployment; what it did before, it does again."""
    given = changes.given_to(account, "data")
    if given is not None:
        return given.get("LakeIsThere", "false")
    is_there = accounts.has_bucket(account, account.lake)
    if is_there:
        accounts.require_lake(account)
        print(f"The bucket {account.lake} is there from an earlier deployment: it is taken over as it is.")
    return "true" if is_there else "false"


def _require_same_snapshot(account: Account, snapshot: str) -> None:
    """Refuses another snapshot for a database that is there: CloudFormation replaces nothing that has a fixed name.

    Raises:
        DeployError: The stack `data` was made with another snapshot, or with none.
    """
    given = changes.given_to(account, "data")
    before = (given or {}).get("DatabaseSnapshot", "")
    if given is not None and before != snapshot:
        raise DeployError(
            f"DatabaseSnapshot is {snapshot or 'empty'}, and the database was made with {before or 'none'}: only a "
            "database that is made anew takes a snapshot. Leave the value as it was; docs/aws-account.md, Backup and "
            "restore, has how a database that is there goes back in time."
        )


def _require_images(account: Account, tag: str) -> None:
    missing = accounts.missing_images(account, tag)
    if missing:
        raise DeployError(
            f"ECR has no image with the tag {tag} in {', '.join(missing)}. Build and push them, then deploy again:\n"
            f"  deploy/aws/push-images {account.env} {tag}"
        )


if __name__ == "__main__":
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # a workflow's log is a pipe, where lines would wait for kilobytes of others
        reconfigure(line_buffering=True)
    sys.exit(main())
