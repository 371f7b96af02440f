"""Writes catalogue.yaml, the tables of Glue and Athena, from the lake's schemas: `python -m deploy.aws.catalogue`."""

from __future__ import annotations

import sys

import pyarrow as pa

from carsdepo_assets.lake.schemas import TABLES
from deploy.aws.templates import FOLDER

FILE = FOLDER / "catalogue.yaml"
_PRIMITIVES = {
    pa.string(): "string",
    pa.bool_(): "boolean",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.binary(): "binary",
}
_HEAD = """\
AWSTemplateFormatVersion: "2010-09-09"
Description: >-
  Carsdepo 8 of 8: the lake's tables for Athena. Written by deploy/aws/catalogue.py from carsdepo_assets/lake/schemas.py.

Parameters:
  Env: { Type: String, AllowedPattern: "^[a-z][a-z0-9]{1,11}$", Description: Name of the environment }

Resources:
  Database:
    Type: AWS::Glue::Database
    Properties:
      CatalogId: !Ref AWS::AccountId
      DatabaseInput: { Name: !Sub "carsdepo_${Env}", Description: The tables of the lake }
  WorkGroup:
    Type: AWS::Athena::WorkGroup
    Properties:
      Name: !Sub "carsdepo-${Env}"
      RecursiveDeleteOption: true
      WorkGroupConfiguration:
        EnforceWorkGroupConfiguration: true
        PublishCloudWatchMetricsEnabled: true
        BytesScannedCutoffPerQuery: 1099511627776
        ResultConfiguration:
          EncryptionConfiguration: { EncryptionOption: SSE_S3 }
          OutputLocation: { "Fn::Sub": ["s3://${Logs}/athena/", { Logs: { "Fn::ImportValue": !Sub "carsdepo-${Env}-LogsBucket" } }] }
"""  # noqa: E501
_TABLE = """\
  {resource}:
    Type: AWS::Glue::Table
    Properties:
      CatalogId: !Ref AWS::AccountId
      DatabaseName: !Ref Database
      TableInput:
        Name: {table}
        TableType: EXTERNAL_TABLE
        Parameters: {{ EXTERNAL: "TRUE", table_type: DELTA, spark.sql.sources.provider: delta, classification: delta }}
        StorageDescriptor:
          Location: {{ "Fn::Sub": ["s3://${{Lake}}/lake/tables/{table}/", {{ Lake: {{ "Fn::ImportValue": !Sub "carsdepo-${{Env}}-LakeBucket" }} }}] }}
          InputFormat: org.apache.hadoop.mapred.SequenceFileInputFormat
          OutputFormat: org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat
          SerdeInfo: {{ SerializationLibrary: org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe }}
          Columns:
"""  # noqa: E501


def hive_type(kind: pa.DataType) -> str:
    """A column's type as Glue and Athena call it.

    Raises:
        ValueError: The lake has a type that nothing here translates.
    """
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_list(kind):
        return f"array<{hive_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(f'{field.name}:{hive_type(field.type)}' for field in kind)}>"
    raise ValueError(f"Glue has no type here for {kind}: add it to deploy/aws/catalogue.py.")


def text() -> str:
    """The whole template."""
    parts = [_HEAD]
    for table, schema in TABLES.items():
        resource = "".join(word.capitalize() for word in table.split("_")) + "Table"
        parts.append(_TABLE.format(resource=resource, table=table))
        parts += [f'            - {{ Name: {field.name}, Type: "{hive_type(field.type)}" }}\n' for field in schema]
    return "".join(parts)


def main() -> int:
    """Writes the file."""
    FILE.write_text(text())
    print(f"{FILE.name}: {len(TABLES)} tables.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
