"""The worker's side of a job: its process, its reports, and the jobs that no single step owns. Without Dagster."""
