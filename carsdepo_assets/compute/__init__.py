"""Where a job's worker runs: on this machine, on ECS or on SageMaker, with the same worker and specs."""
