"""The S3 of the lake's tests, for the spool's."""

from __future__ import annotations

from carsdepo_assets_tests.lake.conftest import s3_endpoint, s3_url

__all__ = ["s3_endpoint", "s3_url"]
