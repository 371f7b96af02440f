"""The sections `data` and `split` of the policy: how files become photographs, labels and splits of a dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from carsdepo_assets.policy_values import Count, NotNegative, PolicySection, Share, policy_value

# `lake.licence_names.is_non_commercial` says how they are compared. Creative Commons, then words of people.
NON_COMMERCIAL = (
    "*-NC-*", "*-BYNC*", "*-CCBYNC*", "*noncommercial*", "*non commercial*", "*no commercial*", "*not * commercial*",
    "*commercial* not *", "*commercial*prohibited*", "*commercial*forbidden*", "*non profit*", "*nonprofit*",
    "*research only*", "*research*use*", "*research*purpose*", "*only*research*", "*academic*use*",
    "*academic*purpose*", "*academic*only*", "*only*academic*", "*education*use*", "*education*purpose*",
    "*education*only*", "*scientific*use*", "*scientific*purpose*", "*personal use*", "*personal*only*",
    "*private use*", "*evaluation*only*", "*nicht kommerziell*", "*nichtkommerziell*", "*keine kommerzielle*",
    "*pas d utilisation commerciale*", "*no comercial*", "*nocomercial*", "*nao comercial*", "*naocomercial*",
    "*niet commercieel*", "*nietcommercieel*", "*非商*",
)  # fmt: skip


class DataPolicy(PolicySection):
    """How uploads are batched, checked and processed."""

    batch_max_images: Count = policy_value(2000, "photographs", "A batch of uploads closes when it holds this many.")
    batch_max_age_s: NotNegative = policy_value(
        20.0, "seconds", "A batch of uploads closes when its newest file is this old."
    )
    batch_max_wait_s: NotNegative = policy_value(
        600.0,
        "seconds",
        "A batch of uploads closes when its oldest file is this old, even while more files come without a pause; not "
        "before batch_max_age_s.",
    )
    label_wait_s: NotNegative = policy_value(
        3600.0, "seconds", "A label file waits this long for its photograph, then it goes to quarantine."
    )
    longest_side_px: int = policy_value(1280, "pixels", "Longest side of a processed image.", ge=64)
    jpeg_quality: int = policy_value(90, "JPEG quality", "Quality of processed images.", ge=50, le=100)
    max_bytes: Count = policy_value(64 * 2**20, "bytes", "Larger files go to quarantine without being read.")
    recheck_bytes: Count = policy_value(
        2**30,
        "bytes",
        "Of files whose modification time alone changed, one sensor tick hashes at most this much again; the rest "
        "waits for the next tick.",
    )
    reconcile_s: NotNegative = policy_value(
        3600.0,
        "seconds",
        "So often all of raw/ is looked at, for files that were rewritten in place or are gone. In between only "
        "folders whose time changed are looked into.",
    )
    batch_retention_days: Count = policy_value(
        90,
        "days",
        "The manifests of ingested batches that are older are rolled up into few files, and their partitions leave "
        "Dagster's pages. Tables keep all that was read from them.",
    )
    max_pixels: Count = policy_value(80_000_000, "pixels", "Larger photographs go to quarantine without being decoded.")
    min_side_px: Count = policy_value(32, "pixels", "Photographs with a shorter side go to quarantine.")
    min_box_px: NotNegative = policy_value(
        1.0, "pixels", "A label file with a box whose shorter side is less goes to quarantine: nobody drew it."
    )
    clip_share: Share = policy_value(
        0.05,
        "share of the side",
        "A box that lies outside the photograph by at most this is clipped; beyond it the label file goes to "
        "quarantine.",
    )
    conflicts: Literal["latest", "majority", "exclude"] = policy_value(
        "latest",
        "",
        "Which labels count where several annotators labelled a photograph. latest: the last ones. majority: the boxes "
        "that more than half of them drew. exclude: the last ones where they agree, else none: the photograph is left "
        "out and asked for by the next labelling queue.",
    )
    min_agreement: Share = policy_value(
        0.5,
        "F1",
        "With conflicts = exclude: photographs whose annotators agree by less than this are left out. Boxes agree in "
        "class and by evaluation.iou.",
    )
    duplicate_hamming: int = policy_value(
        4, "bits of 64", "Photographs whose perceptual hashes differ by at most this may show one scene.", ge=0, le=64
    )
    max_group: Count = policy_value(200, "photographs", "A group of near-duplicates never grows beyond this.")
    non_commercial_licences: tuple[str, ...] = policy_value(
        NON_COMMERCIAL,
        "patterns",
        "Licences of photographs or labels that forbid commercial use. A model that learnt from one of them goes to "
        "production only where a person approves it and says why. Upper and lower case, accents, and the signs between "
        "words are the same.",
    )
    max_quarantined_share: Share = policy_value(
        0.5, "share", "A batch with a larger share in quarantine stops: nothing after it runs."
    )
    max_black_share: Share = policy_value(
        0.5, "share", "A batch with a larger share of all-black photographs stops: nothing after it runs."
    )


class SplitPolicy(PolicySection):
    """Shares of the dataset's splits. A group is assigned once, by a hash of its name, and stays in its split."""

    train: float = policy_value(0.7, "share of groups", "Groups that models are trained on.", gt=0, lt=1)
    val: float = policy_value(
        0.15,
        "share of groups",
        "Groups by which a training chooses its best weights; the rest is the test split.",
        gt=0,
        lt=1,
    )
    salt: str = policy_value(
        "carsdepo-1", "", "Hashed together with the group's name; another salt gives other splits."
    )

    @model_validator(mode="after")
    def _room_for_test(self) -> SplitPolicy:
        if self.train + self.val >= 1:
            raise ValueError("train + val must leave a share for test: below 1")
        return self
