"""The lake: where files and tables are stored, in a folder or an S3 bucket."""
