"""A compute target for tests of assets: every verb but `train` works in the test's own process."""

from carsdepo_assets.compute.local import LocalCompute


def in_process(*verbs: str) -> LocalCompute:
    """verbs: those that work in this process; none: all but `train`."""
    return LocalCompute(in_process=list(verbs or ("evaluate", "export", "reference", "process")))
