"""Imports: a folder, an archive or a prefix of S3 is recognised, copied into raw/, and accounted for."""
