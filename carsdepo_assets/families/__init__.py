"""The families of detectors: what each is called, made of, licensed as and trained with at first. Light to import.

It lies below the policy, which names families; the detectors themselves are in `detectors/`.
"""
