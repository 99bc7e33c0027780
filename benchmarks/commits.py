"""This state of the package beside an earlier commit: a whole run, and in a process of its own features, fit and score.

python benchmarks/commits.py COMMIT [--category cable] [--recipe padim-lite0] [--rounds 5] [--out FILE]
python benchmarks/commits.py COMMIT --thresholds bottle toothbrush [--recipe padim-lite0] [--rounds 5] [--out FILE]

The earlier commit is checked out beside this one for as long as it takes; both use this environment and the same
images, rendered beforehand. They take turns: "run" is `padim-nb run CATEGORY` from its start to its end, "features",
"fit" and "score" begin when everything is imported and a few images have been through the network. Ratios are of
medians.

With `--thresholds` only `fit(samples, false_alarm=0.05)` of these categories is timed: in seconds, and in the process's
own seconds of processor time, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from padim_nb import load_category
from padim_nb.util.machine import commit, machine

ROOT = Path(__file__).resolve().parents[1]
PARTS = """
import json, sys, time
from padim_nb import evaluate, load_category, recipe
parts = load_category(sys.argv[1], "twin:lite")
detector = recipe(sys.argv[2], device="cpu")
detector.features(parts.train[:8])
seconds = {}
def timed(name, work):
    start = time.perf_counter()
    result = work()
    seconds[name] = time.perf_counter() - start
    return result
timed("features", lambda: detector.features(parts.train))
timed("fit", lambda: detector.fit(parts.train))
maps = timed("score", lambda: detector.score(parts.test))
print(json.dumps([seconds, evaluate(maps, parts.test).metrics["image_auroc"]]))
"""


FIT = """
import json, sys, time
from padim_nb import load_category, recipe
parts = load_category(sys.argv[1], "twin:lite")
detector = recipe(sys.argv[2], device="cpu")
detector.fit(parts.train[:8], false_alarm=0.2)
clocks, rows = (time.perf_counter, time.process_time), []
for _ in range(2):
    start = [clock() for clock in clocks]
    detector.fit(parts.train, false_alarm=0.05)
    rows.append([clock() - begun for clock, begun in zip(clocks, start)])
print(json.dumps(rows))
"""


def fits(code: Path, category: str, recipe: str) -> list[list[float]]:
    """Seconds, and seconds of processor time, of each fit with its threshold by the package in `code`."""
    shown = subprocess.run(
        [sys.executable, "-c", FIT, category, recipe],
        cwd=code, env=os.environ | {"PYTHONPATH": str(code)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(shown.stdout.splitlines()[-1])


def compare_fits(states: dict[str, Path], categories: list[str], recipe: str, rounds: int) -> dict:
    """Medians of `fits` by category and state, and the ratios of the medians."""
    result: dict = {}
    for category in categories:
        taken: dict[str, list[list[float]]] = {state: [] for state in states}
        for number in range(rounds):
            for state in sorted(states, reverse=number % 2 == 1):
                taken[state] += fits(states[state], category, recipe)
                print(category, state, taken[state][-2:], file=sys.stderr)
        for place, clock in enumerate(("seconds", "processor seconds")):
            middle = {state: median(row[place] for row in rows) for state, rows in taken.items()}
            row = {state: round(value, 2) for state, value in middle.items()}
            row["earlier / now"] = round(middle["earlier"] / middle["now"], 2)
            result.setdefault(clock, {})[category] = row
    return result


def measured(code: Path, category: str, recipe: str, folder: str) -> tuple[dict[str, float], float]:
    """Seconds of all four, and the image AUROC, with the package in `code`."""
    environment = os.environ | {"PYTHONPATH": str(code), "MPLBACKEND": "agg"}

    def output(*command: str) -> str:
        shown = subprocess.run(
            [sys.executable, *command], cwd=code, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return shown.stdout

    start = time.perf_counter()
    output("-m", "padim_nb.cli", "run", category, "--recipe", recipe, "--device", "cpu", "--out", folder)
    whole = time.perf_counter() - start
    seconds, auroc = json.loads(output("-c", PARTS, category, recipe).splitlines()[-1])
    return {"run": whole, **seconds}, auroc


def main() -> None:
    """Take turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("--category", default="cable")
    parser.add_argument("--thresholds", nargs="+", metavar="CATEGORY", help="time the fit with its threshold of these")
    parser.add_argument("--recipe", default="padim-lite0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    parts = load_category(arguments.category, "twin:lite")
    git = ["git", "-C", str(ROOT)]
    with tempfile.TemporaryDirectory() as scratch:
        earlier = Path(scratch) / "earlier"
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", earlier, arguments.commit], check=True)
        try:
            states, taken, aurocs = {"earlier": earlier, "now": ROOT}, {"earlier": [], "now": []}, {}
            if arguments.thresholds:
                facts = {"benchmark": "commits", "earlier": arguments.commit, "recipe": arguments.recipe}
                facts |= {"machine": machine("cpu"), "commit": commit(), "rounds": arguments.rounds}
                facts |= compare_fits(states, arguments.thresholds, arguments.recipe, arguments.rounds)
                _write(facts, arguments.out)
                return
            for number in range(arguments.rounds):
                for state in sorted(states, reverse=number % 2 == 1):
                    folder = f"{scratch}/{state}{number}"
                    row, aurocs[state] = measured(states[state], arguments.category, arguments.recipe, folder)
                    taken[state].append(row)
                    print(state, {name: round(value, 2) for name, value in row.items()}, file=sys.stderr)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", earlier], check=True)
    medians = {state: {name: median(row[name] for row in rows) for name in rows[0]} for state, rows in taken.items()}
    result = {
        "benchmark": "commits",
        "earlier": arguments.commit,
        "category": arguments.category,
        "recipe": arguments.recipe,
        "images": {"train": len(parts.train), "test": len(parts.test)},
        "machine": machine("cpu"),
        "rounds": arguments.rounds,
        "median seconds": {s: {name: round(value, 2) for name, value in row.items()} for s, row in medians.items()},
        "earlier / now": {name: round(value / medians["now"][name], 2) for name, value in medians["earlier"].items()},
        "image AUROC": {state: round(value, 4) for state, value in aurocs.items()},
    }
    _write(result, arguments.out)


def _write(result: dict, out: Path | None) -> None:
    text = json.dumps(result, indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")


if __name__ == "__main__":
    main()
