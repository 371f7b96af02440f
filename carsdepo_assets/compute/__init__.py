"""Where a job runs (this machine now; ECS and SageMaker run the same worker), and what runs tell: states, metadata."""
