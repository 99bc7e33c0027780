"""What a warm kernel has imported: the slow libraries of the notebooks, none of which starts a thread by itself."""

import os
from importlib import import_module

os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # read when matplotlib is imported

for name in ("ipykernel.kernelapp", "matplotlib.pyplot", "scipy.ndimage", "sklearn.metrics", "torch", "torchvision"):
    import_module(name)
for name in ("detectors", "plots.figures"):
    import_module(f"padim_nb.{name}")

import pandas  # noqa: E402, which asks at its import whether it is in a terminal

pandas.set_option("display.max_columns", 20)  # what it takes in a notebook
