"""Everything that Dagster's GraphQL says of the code location and its runs, without a login, in this process."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.test.utils import execute_dagster_graphql

RESOURCES = """
query($s: RepositorySelector!) {allTopLevelResourceDetailsOrError(repositorySelector: $s) {__typename
  ... on PythonError {message stack}
  ... on ResourceDetailsList {results {name description configuredValues {key value type}
    configFields {name description isRequired configTypeKey defaultValueAsJson}}}}}
"""
JOBS = "query($s: RepositorySelector!) {repositoryOrError(repositorySelector: $s) {... on Repository {jobs {name}}}}"
LAUNCHPAD = """
query($s: PipelineSelector!) {runConfigSchemaOrError(selector: $s) {__typename
  ... on RunConfigSchema {rootDefaultYaml rootConfigType {recursiveConfigTypes {key description
    ... on CompositeConfigType {fields {name description defaultValueAsJson}}}}}}}
"""
RUNS = """
{runsOrError {__typename ... on Runs {results {runId jobName status runConfigYaml tags {key value}
  eventConnection(limit: 1000) {events {__typename ... on MessageEvent {message}
    ... on ExecutionStepFailureEvent {stepKey error {message stack errorChain {error {message stack}}}
      failureMetadata {description metadataEntries {label ... on MarkdownMetadataEntry {mdStr}}}}
    ... on RunFailureEvent {error {message stack}}
    ... on LogsCapturedEvent {fileKey}}}}}}}
"""
CAPTURED = "query($k: [String!]!) {capturedLogs(logKey: $k) {stdout stderr}}"


class Dagster:
    """texts: every answer so far, as JSON."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(module_name="carsdepo_assets.definitions"), location_name="carsdepo"
        )
        self._context = WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin))
        self._selector = {"repositoryLocationName": "carsdepo", "repositoryName": "__repository__"}
        self.texts: list[str] = []

    def ask(self, query: str, **variables: Any) -> Any:
        result = execute_dagster_graphql(self._context.create_request_context(), query, variables)
        assert not result.errors, result.errors
        self.texts.append(json.dumps(result.data, ensure_ascii=False))
        return result.data

    def resources(self) -> dict[str, dict[str, Any]]:
        """By name: {key: what the UI shows as its value}."""
        listed = self.ask(RESOURCES, s=self._selector)["allTopLevelResourceDetailsOrError"]["results"]
        return {r["name"]: {v["key"]: (v["type"], v["value"]) for v in r["configuredValues"]} for r in listed}

    def launchpads(self) -> int:
        """Asks for the launchpad of every job; how many there are."""
        jobs = self.ask(JOBS, s=self._selector)["repositoryOrError"]["jobs"]
        for job in jobs:
            answer = self.ask(LAUNCHPAD, s={**self._selector, "pipelineName": job["name"]})["runConfigSchemaOrError"]
            assert answer["__typename"] == "RunConfigSchema", answer
        return len(jobs)

    def runs(self) -> dict[str, dict[str, Any]]:
        """Newest of each job, with its events and what its steps printed."""
        runs = {r["jobName"]: r for r in self.ask(RUNS)["runsOrError"]["results"]}
        for run in runs.values():
            keys = [e["fileKey"] for e in run["eventConnection"]["events"] if e["__typename"] == "LogsCapturedEvent"]
            run["printed"] = [self.ask(CAPTURED, k=[run["runId"], "compute_logs", k])["capturedLogs"] for k in keys]
        return runs
