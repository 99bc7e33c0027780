"""Every Python process that finds this folder on its path believes in PRETENDED_CORES processor cores."""

import os

CORES = int(os.environ["PRETENDED_CORES"])
os.cpu_count = lambda: CORES
os.sched_getaffinity = lambda _: set(range(CORES))
if hasattr(os, "process_cpu_count"):
    os.process_cpu_count = lambda: CORES
