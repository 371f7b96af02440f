"""The S3 server of the lake's tests, for segments that are captured for a lake on S3."""

from __future__ import annotations

from carsdepo_assets_tests.lake.conftest import s3_endpoint, s3_url

__all__ = ["s3_endpoint", "s3_url"]
