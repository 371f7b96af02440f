"""The demo's uploads and labels: objects in S3, events by EventBridge and SQS, one doubled, one lost."""

from __future__ import annotations

from pathlib import Path

from carsdepo_assets.data.batches.batches import event_account
from deploy.demo_aws.driving import Demo
from deploy.demo_aws.faults import double_and_lose, wait_until
from deploy.demo_aws.installation import write_policy
from deploy.demo_aws.sample import first_photographs

PHOTOGRAPHS = 64
NAME = "sample"


def upload(demo: Demo) -> None:
    """Uploads the sample's photographs and has their events ingest them."""
    with demo.step("uploads by events") as step:
        folder = demo.folder / "sample"
        first_photographs(demo.folder.parent / "sample", folder, PHOTOGRAPHS)
        # The first look at a lake is one at everything; after it events tell what is new.
        demo.pipeline.tick("new_uploads")
        demo.pipeline.tick("new_labels")
        photographs = sorted((folder / "images").iterdir())
        put(demo, f"raw/uploads/{NAME}/manifest.csv", folder / "manifest.csv")
        for file in photographs:
            put(demo, f"raw/uploads/{NAME}/{file.name}", file)
        sent = len(photographs) + 1
        wait_until(lambda: demo.waiting("Uploads") >= sent, f"{sent} events in the queue of uploads")
        sqs, queue = demo.account.client("sqs"), demo.account.queue("Uploads")
        doubled, lost = double_and_lose(sqs, queue)
        demo.tell(step, f"{len(photographs)} photographs put into s3; {sent} events came by EventBridge and SQS")
        demo.tell(step, f"the event of {Path(doubled).name} sent twice, that of {Path(lost).name} deleted")
        demo.drive("new_uploads", lambda: demo.waiting("Uploads") == 0, "reading the queue of uploads")
        came = keys(demo)
        demo.prove(
            "an event that came twice is ingested once",
            f"{event_account(demo.lake, 'uploads').messages} messages, {len(came)} photographs ingested",
            holds=len(came) == len(set(came)) == len(photographs) - 1
            and event_account(demo.lake, "uploads").messages == sent,
        )
        key = lost.removeprefix("lake/")
        write_policy(demo.pipeline.settings.home, reconcile_s=0.0)  # an hour by default, which the demo does not wait
        demo.drive("new_uploads", lambda: key in keys(demo), "finding the photograph whose event was lost")
        write_policy(demo.pipeline.settings.home)
        came = keys(demo)
        demo.prove(
            "an event that was lost is made up for by the look at everything",
            f"{Path(key).name} found, {len(came)} of {len(photographs)} photographs ingested, each once",
            holds=len(came) == len(set(came)) == len(photographs),
        )
        step.outcome = f"{len(photographs)} photographs, {sent} events: one doubled, one lost, each photograph once"


def label(demo: Demo) -> None:
    """Uploads the sample's labels and has their events ingest them."""
    with demo.step("labels by events") as step:
        folder = demo.folder / "sample"
        files = sorted((folder / "labels").iterdir())
        put(demo, f"raw/labels/{NAME}/classes.txt", folder / "classes.txt")
        for file in files:
            put(demo, f"raw/labels/{NAME}/{file.name}", file)
        await_labels(demo, len(files))
        step.outcome = f"{len(files)} label files, each a revision"


def await_labels(demo: Demo, revisions: int) -> None:
    """Has the events of labels ingest them, until so many revisions are in the lake."""

    def done() -> bool:
        return len(demo.rows("annotations", "image_id")) >= revisions and demo.waiting("Labels") == 0

    demo.drive("new_labels", done, f"ingesting labels: {revisions} revisions")
    found = len(demo.rows("annotations", "image_id"))
    demo.prove("each label file is one revision", f"{found} in the lake", holds=found == revisions)


def put(demo: Demo, key: str, file: Path) -> None:
    """Puts a file into the lake's bucket, as `aws s3 cp` does."""
    bucket = demo.account.account.lake
    demo.account.client("s3").put_object(Bucket=bucket, Key=f"lake/{key}", Body=file.read_bytes())


def keys(demo: Demo) -> list[str]:
    """The keys of all uploads that were ingested as photographs."""
    return [str(row["key"]) for row in demo.rows("uploads") if row["outcome"] != "quarantined"]
