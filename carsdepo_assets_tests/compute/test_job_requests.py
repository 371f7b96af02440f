"""compute/pipes/job_requests.py, compute/instances.py: what fits into a request, and what an instance type has."""

from __future__ import annotations

import re

import pytest

from carsdepo_assets.compute.instances import UnknownInstance, hardware, types_of
from carsdepo_assets.compute.pipes.job_requests import (
    Price,
    attempt_name,
    check_counts,
    fit_environment,
    job_name,
    merge_tags,
)
from deploy.emulators.request_limits import violations
from deploy.images.entrypoint import join_pieces


@pytest.mark.parametrize("text", ["a", "carsdepo-train-1", "x" * 200, "ä/ö", "--a__b--", "-", "a" * 59 + "-b", "run/7"])
def test_any_text_becomes_a_name_that_aws_takes(text: str) -> None:
    for attempt in (1, 2, 99):
        name = attempt_name(job_name(text), attempt)
        assert violations("DescribeTrainingJob", {"TrainingJobName": name}) == []
    assert job_name(text) == job_name(text)


def test_long_names_keep_their_difference() -> None:
    assert job_name("x" * 100 + "a") != job_name("x" * 100 + "b")
    assert job_name("short") == "short"


@pytest.mark.parametrize("length", [0, 511, 512, 513, 5000])
def test_no_variable_is_cut(length: int) -> None:
    value = ("0123456789" * 600)[:length]
    fitting, parts = fit_environment({"V": value, "W": "w"}, 512)
    assert ("V" in fitting) == (length <= 512)
    assert {**fitting, **join_pieces(parts)} == {"V": value, "W": "w"}
    assert all(len(part) <= 256 for part in parts.values())
    request = {"Environment": fitting, "HyperParameters": parts}
    assert violations("CreateTrainingJob", request) == []


def test_what_cannot_be_passed_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"LINES has 600 characters.*line breaks"):
        fit_environment({"LINES": "a\n" * 300}, 512)
    with pytest.raises(ValueError, match="101 environment variables"):
        check_counts({f"V{i}": "" for i in range(101)}, {})
    with pytest.raises(ValueError, match=r"hyper-parameters; SageMaker takes 100.*LONG"):
        check_counts({}, fit_environment({"LONG": "x" * 256 * 101}, 512)[1])


def test_tags_of_the_request_go_first_and_dagsters_are_cleaned() -> None:
    tags = merge_tags([{"Key": "team", "Value": "a"}], {"team": "b", "dagster/job": "x[1]|y"})
    assert tags == [{"Key": "team", "Value": "a"}, {"Key": "dagster/job", "Value": "x-1--y"}]


def test_money_counts_every_instance() -> None:
    assert Price(2.0, "EUR").of(1800, 3) == {"money_EUR": 3.0}
    assert Price(None).of(1800, 3) == {}
    assert Price(2.0).of(None, 3) == {}


@pytest.mark.parametrize(
    ("instance", "gpus"), [("ml.g5.xlarge", 1), ("ml.g5.12xlarge", 4), ("ml.p4d.24xlarge", 8), ("ml.m5.xlarge", 0)]
)
def test_instance_types_have_their_gpus(instance: str, gpus: int) -> None:
    what = hardware(instance, 2)
    assert (what.gpus, what.device) == (gpus, "cuda:0" if gpus else "cpu")
    assert (what.place, what.name, what.instances) == ("sagemaker", instance, 2)


def test_every_type_of_aws_is_in_the_table_or_refused() -> None:
    refused = set()
    for instance in types_of("training"):
        try:
            hardware(instance)
        except UnknownInstance:
            refused.add(instance)
    assert {"ml.trn1.2xlarge"} <= refused
    assert not [r for r in refused if re.match(r"ml\.(c|m|r|t)\d", r)]
    with pytest.raises(UnknownInstance, match="no SageMaker instance type"):
        hardware("g5.xlarge")
