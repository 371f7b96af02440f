"""What deploy/aws/push-images asks of ECR: `python -m deploy.aws.images missing|registry|password ENV [TAG]`."""

from __future__ import annotations

import base64
import sys

from deploy.aws import parameters
from deploy.aws.account import Account, DeployError, missing_images, open_account

_BUILT_AS = {"worker": "worker-cuda"}  # as deploy/images/build.sh calls it


def to_build(account: Account, tag: str) -> list[str]:
    """The images that ECR lacks with a tag, as deploy/images/build.sh calls them."""
    names = [repository.partition("/carsdepo-")[2] for repository in missing_images(account, tag)]
    return [_BUILT_AS.get(name, name) for name in names]


def registry(account: Account) -> str:
    """What the names of an environment's images begin with."""
    return f"{account.number}.dkr.ecr.{account.region}.amazonaws.com/{account.env}"


def password(account: Account) -> str:
    """The password of ECR's user AWS, for half a day."""
    token = account.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]


def main(arguments: list[str]) -> int:
    """Prints the answer to one question."""
    try:
        if len(arguments) > 1:
            parameters.require_name(arguments[1])
        match arguments:
            case ["missing", env, tag]:
                print(" ".join(to_build(open_account(env), tag)))
            case ["registry", env]:
                print(registry(open_account(env)))
            case ["password", env]:
                print(password(open_account(env)))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except DeployError as error:
        print(f"push-images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
