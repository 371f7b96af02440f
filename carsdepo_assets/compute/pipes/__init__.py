"""Dagster Pipes clients for jobs on AWS. The modules import nothing else of this package, so that others can use them.

A client starts a job, relays its messages while it runs, and ends when the job has ended.
"""
