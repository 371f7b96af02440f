"""Where a job's worker process runs: this machine now, ECS and SageMaker later with the same worker."""
