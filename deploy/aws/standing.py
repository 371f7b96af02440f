"""Brings a stack that an earlier deployment left half way into a state in which it can be changed."""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.aws import teardown
from deploy.aws.account import Account, DeployError
from deploy.aws.changes import event_ids, failures, stack_of, wait_for_end
from deploy.aws.templates import stack_name

# Nothing can be changed in these: what is left is removed, and the stack made anew.
LOST = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")


def settle(
    account: Account, stack: str, ask: Callable[[str], bool], wait: Callable[[float], object] = time.sleep
) -> bool:
    """Waits for a change that is under way, removes what never came up, and goes on with a rollback that got stuck.

    Args:
        account: where.
        stack: of templates.ORDER.
        ask: whether to remove, or to go on.
        wait: lets seconds pass.

    Returns:
        Whether the stack can be changed; False where the answer was no.

    Raises:
        DeployError: It cannot be removed, or the rollback is stuck again. The message has the events that say why.
    """
    name = stack_name(account.env, stack)
    while True:
        status = str((stack_of(account, stack) or {}).get("StackStatus", ""))
        if status.endswith("_IN_PROGRESS"):
            print(f"\n{name} is changing ({status}), by an earlier or another deployment: waiting for its end.")
            wait_for_end(account, stack, wait)
        elif status in LOST:
            print(f"\n{name} is of no use ({status}):")
            print("\n".join(f"  {reason}" for reason in failures(account, stack)))
            if not ask(f"Remove what is left of {name}, and make it anew?"):
                return False
            teardown.remove_stack(account, stack, wait)
        elif status == "UPDATE_ROLLBACK_FAILED":
            print(f"\n{name} could not be rolled back:")
            print("\n".join(f"  {reason}" for reason in failures(account, stack)))
            if not ask(f"Go on with the rollback of {name}, once what is named above is mended?"):
                return False
            before = event_ids(account, stack)
            account.client("cloudformation").continue_update_rollback(StackName=name)
            if wait_for_end(account, stack, wait) == status:
                raise DeployError(
                    f"{name} could not be rolled back again.\n"
                    + "\n".join(f"  {reason}" for reason in failures(account, stack, before))
                    + "\nMend that by hand, or leave these resources out: aws cloudformation continue-update-rollback "
                    f"--stack-name {name} --resources-to-skip NAME"
                )
        else:
            return True
