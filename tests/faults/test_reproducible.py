"""The same seed on the CPU: the same bytes in every process, the same printed digits with any number of threads."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.torture

CHILD = """
import hashlib, json, sys
import torch
from padim_nb import evaluate, load_category, recipe
torch.set_num_threads(int(sys.argv[2]))
widget = load_category("widget", sys.argv[1])
results = {}
for name in ("padim-gabor", "padim-lite0"):
    detector = recipe(name, device="cpu").fit(widget.train)
    maps = detector.score(widget.test)
    threshold = detector.calibrate(widget.train, 0.1).value
    figures = {k: v and round(v, 3) for k, v in evaluate(maps, widget.test).metrics.items()}
    results[name] = {"figures": figures, "threshold": f"{threshold:.3g}"}
    results[name + " bytes"] = hashlib.sha256(maps.maps.tobytes()).hexdigest()
print(json.dumps(results))
"""


def test_same_seed_same_record(parts):
    def printed(threads):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(threads)}
        command = [sys.executable, "-c", CHILD, str(parts), str(threads)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    one, again, two = printed(1), printed(1), printed(2)
    assert one == again
    assert {k: v for k, v in one.items() if "bytes" not in k} == {k: v for k, v in two.items() if "bytes" not in k}
