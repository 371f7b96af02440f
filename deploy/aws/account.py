"""The account that a deployment works on: its clients, and what must be there before a stack is made."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

from carsdepo_assets.lake.aws_access import region_name
from deploy.aws.templates import FOLDER

IMAGES = ("orchestrator", "worker", "worker-cpu", "service")
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # in the archive, so that the same code has the same digest


class DeployError(RuntimeError):
    """A deployment cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """An account and a region, with the name of an environment in it."""

    session: Any
    env: str
    number: str
    region: str

    def client(self, service: str) -> Any:
        """A client of boto3."""
        return self.session.client(service)

    @property
    def lake(self) -> str:
        """The bucket of the lake."""
        return f"carsdepo-{self.env}-lake-{self.number}"

    @property
    def logs(self) -> str:
        """The bucket of logs, which also has the front's code."""
        return f"carsdepo-{self.env}-logs-{self.number}"

    @property
    def signing_secret(self) -> str:
        """The secret with the keys that models are signed with."""
        return f"carsdepo/{self.env}/model-signing"


def open_account(env: str, session: Any = None) -> Account:
    """The account of the credentials at hand.

    Args:
        env: the environment.
        session: of boto3; None: boto3's own choice of profile, variables or role.

    Raises:
        DeployError: There are no credentials, they are not valid, or no region is named.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        session = session or boto3.Session(region_name=region_name())  # boto3 does not read AWS_REGION
    except BotoCoreError as error:
        raise DeployError(f"AWS's configuration cannot be used: {error}.") from error
    if not session.region_name:
        raise DeployError("No region is named: set AWS_REGION or AWS_DEFAULT_REGION, such as eu-west-1.")
    if session.get_credentials() is None:
        raise DeployError("There are no AWS credentials: log in (aws sso login), or set AWS_PROFILE or a role.")
    try:
        number = session.client("sts").get_caller_identity()["Account"]
    except ClientError as error:
        raise DeployError(f"AWS does not take the credentials: {error.response['Error']['Message']}") from error
    except BotoCoreError as error:
        raise DeployError(f"AWS cannot be asked who you are: {error}.") from error
    return Account(session, env, str(number), str(session.region_name))


def status_of(error: Exception) -> int:
    """The HTTP status of botocore's ClientError; 0 where there is none."""
    response = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def has_bucket(account: Account, name: str) -> bool:
    """Whether the account has a bucket.

    Raises:
        DeployError: Somebody else has it.
    """
    from botocore.exceptions import ClientError

    try:
        account.client("s3").head_bucket(Bucket=name, ExpectedBucketOwner=account.number)
    except ClientError as error:
        if status_of(error) == 404:
            return False
        raise DeployError(f"The bucket {name} cannot be looked at: {error.response['Error']['Message']}.") from error
    return True


def require_lake(account: Account) -> None:
    """Checks that a bucket that is taken over as the lake has what nobody notices the lack of.

    Raises:
        DeployError: It keeps no former versions, or tells EventBridge nothing; the message has the commands for it.
    """
    s3, name = account.client("s3"), account.lake
    commands = []
    if s3.get_bucket_versioning(Bucket=name).get("Status") != "Enabled":
        commands.append(f"put-bucket-versioning --bucket {name} --versioning-configuration Status=Enabled")
    if "EventBridgeConfiguration" not in s3.get_bucket_notification_configuration(Bucket=name):
        given = """'{"EventBridgeConfiguration": {}}'"""
        commands.append(f"put-bucket-notification-configuration --bucket {name} --notification-configuration {given}")
    if commands:
        raise DeployError(
            f"The bucket {name} is there, and not as a lake must be: delete it where it is empty, or\n"
            + "\n".join(f"  aws s3api {command}" for command in commands)
        )


def missing_images(account: Account, tag: str) -> list[str]:
    """The images of a tag that are not in ECR yet."""
    from botocore.exceptions import ClientError

    ecr, missing = account.client("ecr"), []
    for image in IMAGES:
        repository = f"{account.env}/carsdepo-{image}"
        try:
            ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("ImageNotFoundException", "RepositoryNotFoundException"):
                raise
            missing.append(repository)
    return missing


def ensure_signing_keys(account: Account) -> str:
    """The ARN of the secret with the keys that models are signed with; it is made where it is missing.

    No template has it: a stack that is removed must not take the keys along, since what was signed stays.
    """
    from botocore.exceptions import ClientError

    secrets = account.client("secretsmanager")
    try:
        present = secrets.describe_secret(SecretId=account.signing_secret)
        if "DeletedDate" in present:  # nothing can read it, and what it signed is still in the lake
            secrets.restore_secret(SecretId=account.signing_secret)
            print(f"Restored the secret {account.signing_secret}, which somebody had deleted.")
        return str(present["ARN"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    private, public = _new_keys()
    try:
        made = secrets.create_secret(
            Name=account.signing_secret,
            Description="The keys that models are signed with. Keep it as long as the lake.",
            SecretString=json.dumps({"private": private, "public": public}),
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceExistsException":
            raise
        return str(secrets.describe_secret(SecretId=account.signing_secret)["ARN"])  # another deployment was faster
    print(f"Made the secret {account.signing_secret}: the keys that models are signed with.")
    return str(made["ARN"])


def require_secret(account: Account, name: str, keys: tuple[str, ...]) -> None:
    """Checks that a secret is there and has some keys; shows none of it.

    Raises:
        DeployError: It is missing, or lacks a key.
    """
    from botocore.exceptions import ClientError

    try:
        text = account.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
        lacking = [key for key in keys if not json.loads(text).get(key)]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        lacking = list(keys)
    except (ValueError, AttributeError, LookupError):  # bytes, or JSON of another form
        lacking = list(keys)
    if lacking:
        raise DeployError(
            f"The secret {name} lacks {', '.join(lacking)}: make it in Secrets Manager as a JSON object with these "
            "keys. They are of the two applications that your identity provider has for approvers and for viewers."
        )


def _new_keys() -> tuple[str, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def front_archive() -> bytes:
    """The function of the front as an archive; the same code gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("front_handler.py", _EARLIEST)
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, (FOLDER / "front_handler.py").read_bytes())
    return buffer.getvalue()


def front_key() -> str:
    """The key of the archive: other code has another one, by which CloudFormation sees that it changed."""
    return f"deploy/front-{hashlib.sha256(front_archive()).hexdigest()[:16]}.zip"


def put_front_code(account: Account) -> None:
    """Puts the function's code where the stack `front` takes it from."""
    account.client("s3").put_object(Bucket=account.logs, Key=front_key(), Body=front_archive())
