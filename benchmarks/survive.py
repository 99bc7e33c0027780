"""A sweep that is killed twenty times, and what is left of it.

python benchmarks/survive.py UNDISTURBED --recipes padim-lite0 padim-gabor padim-random --seeds 0-2 --out RECORD

UNDISTURBED is the folder of the same sweep, or of a part of it, that ran in peace. At random moments one process is
killed with signal 9: the command (with the scheduler that lives in it), one of its workers or their children, or, every
other time with a cluster of its own, the scheduler. A command that ended is given again, until nothing is missing. Then
every record must be there with the metrics of the undisturbed one, and none that was whole may have been written again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from padim_nb.experiments.record import files_below
from padim_nb.experiments.sweep import plan, seeds_in
from padim_nb.util.machine import machine
from padim_nb.util.mvtec_counts import CATEGORIES

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def family(pid: int) -> list[int]:
    """All processes a process started, and theirs."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [member for child in map(int, listed.stdout.split()) for member in (child, *family(child))]


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def cluster(place: Path, wanted: bool) -> Iterator[list[subprocess.Popen]]:
    """A scheduler and two workers of their own, [] if not wanted."""
    processes: list[subprocess.Popen] = []
    file = place / "scheduler.json"
    file.unlink(missing_ok=True)
    try:
        if wanted:
            dask = [sys.executable, "-m", "dask"]
            at = ["--dashboard-address", ":0", "--scheduler-file", str(file)]
            processes.append(subprocess.Popen([*dask, "scheduler", "--port", "0", *at], **QUIET))
            while not file.exists():
                time.sleep(0.2)
            alone = ["--nthreads", "1", "--nworkers", "2"]
            processes.append(subprocess.Popen([*dask, "worker", *alone, *at], **QUIET))
            time.sleep(8)
        yield processes
    finally:
        for process in processes:
            for pid in (*family(process.pid), process.pid):
                kill(pid)
            process.wait()


def turn(command: list[str], place: Path, external: bool, kills: Counter, until: int, rng: random.Random) -> None:
    """One life of the command: workers are killed under it, then perhaps itself or its scheduler."""
    with cluster(place, external) as others:
        if external:
            command = [*command, "--scheduler", json.loads((place / "scheduler.json").read_text())["address"]]
        else:
            command = [*command, "--workers", "2"]
        process = subprocess.Popen(command, **QUIET)
        while True:
            try:
                process.wait(rng.uniform(8, 40) if sum(kills.values()) < until else None)
                return
            except subprocess.TimeoutExpired:
                pass
            kind = rng.choice(["command", "worker", "worker", *(["scheduler"] if external else [])])
            if kind == "worker":
                members = family(others[1].pid if external else process.pid)
                if not members:
                    continue
                kill(rng.choice(members))
            else:
                kill(process.pid if kind == "command" else others[0].pid)
            kills[kind] += 1
            print(f"{sum(kills.values()):3} killed: a {kind}{' of a cluster' if external else ''}", flush=True)
            if kind != "worker":
                process.wait(120)  # a command that hangs without its scheduler ends this benchmark with an error
                return


def metrics(path: Path) -> dict:
    return json.loads(path.read_text())["metrics"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("undisturbed", type=Path)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--categories", nargs="+", default=list(CATEGORIES))
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, help="where the runs go (default: a folder that is removed afterwards)")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rng, kills, stamps, again, turns = random.Random(a.seed), Counter(), {}, 0, 0
    print(f"moments and victims: --seed {a.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = a.place or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        runs = plan(a.recipes, a.categories, seeds_in(a.seeds), place / "runs")
        command = [sys.executable, "-m", "padim_nb.cli", "sweep", "--recipes", *a.recipes]
        command += ["--categories", *a.categories, "--seeds", a.seeds, "--out", str(place / "runs")]
        start = time.monotonic()
        while not all((run.folder / "record.json").is_file() for run in runs):
            turn(command, place, bool(turns % 2), kills, a.kills, rng)
            turns += 1
            now = {path: path.stat().st_mtime_ns for path in files_below(place / "runs", "record.json")}
            again += sum(now.get(path) != stamp for path, stamp in stamps.items())
            stamps = now
            print(f"turn {turns}: {len(now)} of {len(runs)} records after {time.monotonic() - start:.0f} s", flush=True)
        names = [run.folder.relative_to(place / "runs") / "record.json" for run in runs]
        both = [name for name in names if (a.undisturbed / name).is_file()]
        differ = [str(name) for name in both if metrics(place / "runs" / name) != metrics(a.undisturbed / name)]
    record = {
        "benchmark": "survive",
        "machine": machine("cpu"),
        "runs": len(runs),
        "killed": dict(kills),
        "records": len(names),
        "compared with an undisturbed sweep": len(both),
        "of these different": differ,
        "whole records written again": again,
    }
    print(json.dumps(record, indent=1))
    if a.out:
        a.out.write_text(json.dumps(record, indent=1) + "\n")
    return 1 if differ or again else 0


if __name__ == "__main__":
    sys.exit(main())
