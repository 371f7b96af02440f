"""Imports thousands of mutated folders: `python -m carsdepo_assets_tests.data.fuzzing --imports 5000`.

Prints each fault with the seed that makes the folder again; exit code 1 where there was one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

from carsdepo_assets_tests.data.fuzzing.outcomes import of_seeds

IN_ONE_LAKE = 10  # a lake with more commits costs more for each


def main(arguments: list[str]) -> int:
    """Runs the imports; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imports", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args(arguments)
    end = options.first + options.imports
    started, counts = time.monotonic(), Counter[str]()
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        starts = range(options.first, end, IN_ONE_LAKE)
        runs = [pool.submit(of_seeds, first, min(first + IN_ONE_LAKE, end)) for first in starts]
        for number, ended in enumerate(as_completed(runs), 1):
            for became, description in ended.result():
                counts[became] += 1
                if became == "faulty":
                    print(description.encode(errors="backslashreplace").decode(), flush=True)  # names of any bytes
            if number % 25 == 0:
                print(f"{counts.total()} imports after {time.monotonic() - started:.0f} s", flush=True)
    print(f"{counts.total()} imports of mutated folders in {time.monotonic() - started:.0f} s: {dict(counts)}")
    return 1 if counts["faulty"] or counts.total() != options.imports else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
