"""Many runs, recipes x categories x seeds, on Dask: in this machine's processes, or on a cluster's workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from ..data.layouts import layout_of
from ..data.mvtec import Category, data_root, load_category
from ..data.tables import names_in
from ..errors import DataError, OptionError, PadimError, expect_one_of
from ..util.files import whole_file, writing_to
from . import workers as capacity
from .costs import peak_mb
from .recipes import RECIPES
from .record import Record, read_record
from .run import RECORD, execute, expect_memory, finish_move, only_one
from .settings import RunSettings, changes, conflict

if TYPE_CHECKING:
    from distributed import Client

RETRIES = 3  # of a run whose worker died
WAIT = 60.0  # seconds for a cluster to answer
Loader = Callable[[str, str | None, str], Category]  # `load_category`
PRINTED = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}


@dataclass(frozen=True)
class Outcome:
    """How one run ended: "done", "was there" or "failed" with its error."""

    settings: RunSettings
    state: Literal["done", "was there", "failed"]
    seconds: float = 0.0
    metrics: dict[str, float | None] | None = None
    error: str = ""

    def __str__(self) -> str:
        s, metrics = self.settings, self.metrics or {}
        numbers = [f"{words} {metrics[key]:.3f}" for key, words in PRINTED.items() if metrics.get(key) is not None]
        result = self.error if self.state == "failed" else "  ".join(numbers)
        return f"{s.category:<12} {s.title:<20} seed {s.seed:<5} {self.state:<9} {self.seconds:6.1f} s  {result}"


def plan(
    recipes: Sequence[str], categories: Sequence[str], seeds: Sequence[int], out: Path, **common: Any
) -> list[RunSettings]:
    """The runs of a sweep, each with a folder of its own below `out`; `common` are parameters that all share."""
    for name in recipes:
        expect_one_of("recipe", name, RECIPES)
    if not (recipes and categories and seeds):
        raise OptionError("a sweep needs at least one recipe, one category and one seed")
    runs = [
        RunSettings(category, name, seed, **common)
        for category in dict.fromkeys(categories)
        for name in dict.fromkeys(recipes)
        for seed in dict.fromkeys(seeds)
    ]
    folder = out.expanduser().absolute()
    return [replace(run, out=str(folder / run.category / f"{run.title}-seed{run.seed}")) for run in runs]


def seeds_in(text: str) -> list[int]:
    """ "0-4" or "0,3,7" as numbers; "own" is each recipe's own seed."""
    if text == "own":
        return [-1]
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise OptionError(f"--seeds takes numbers such as 0-4 or 0,3,7, or 'own', not {text!r}")
        seeds += range(int(first), int(last if dash else first) + 1)
    return seeds


def complete(settings: RunSettings, load: Loader = load_category) -> Record | None:
    """The record of an earlier run of the same settings on the same images (see `changes`), or None."""
    try:
        record = read_record(settings.folder / RECORD)
        if record is None or not record.metrics:
            return None
        return (
            None
            if changes(settings, load(settings.category, settings.data or None, settings.group), record)
            else record
        )
    except PadimError:
        return None


def expect_all_free(runs: Sequence[RunSettings], load: Loader) -> None:
    """Refuse a sweep, before its first run, that would replace a finished run of other settings or images."""
    reasons = []
    for settings in runs:
        if (settings.folder / RECORD).is_file():
            with suppress(PadimError):  # images that are not here: a cluster's workers have them and look again
                reasons.append(conflict(settings, load(settings.category, settings.data or None, settings.group)))
    if taken := [reason for reason in reasons if reason]:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise OptionError(f"{taken[0]}{more}: choose another --out, or replace what is there with --force")


def expect_root_of_many(runs: Sequence[RunSettings]) -> None:
    """Refuse several categories of a data root that holds one category: each would have the same images."""
    names = dict.fromkeys(settings.category for settings in runs)
    try:
        place = data_root(runs[0].data or None)
    except DataError:  # not on this machine: on a cluster's workers
        return
    if len(names) < 2 or isinstance(place, str):
        return
    held = names_in(place) if place.is_file() else [place.absolute().name] if layout_of(place) else []
    if len(held) == 1:
        raise OptionError(f"{place} holds one category, not {len(names)}: give --categories {held[0]}, or another root")


def sweep(
    runs: Sequence[RunSettings],
    out: Path,
    workers: int = 0,
    scheduler: str = "",
    log: Callable[[str], None] = print,
    cores: int = 0,
    force: bool = False,
) -> list[Outcome]:
    """Do all runs that are not done yet; a failed one keeps its notebook and its error and the others go on.

    Workers divide the machine's cores, or have `cores` each.

    Killed at any moment and called again, it does what is missing. Two sweeps into one folder are refused, and so is
    one that would replace finished runs of other settings or images, unless `force` is given.
    """
    if workers < 0:
        raise OptionError(f"--workers must be 1 or more (or 0 to choose), not {workers}")
    if cores < 0 or (cores > capacity.cores() and not scheduler):
        raise OptionError(f"--cores must be 1 to {capacity.cores()} here (or 0: a worker's part), not {cores}")
    out = out.expanduser()
    expect_root_of_many(runs)
    with writing_to(out), only_one(out, "sweep"):
        load = cache(load_category)  # each category once
        for settings in runs:
            finish_move(settings.folder)
        if not force:
            expect_all_free(runs, load)
        outcomes: list[Outcome] = []
        todo: list[RunSettings] = []
        peak = 0.0
        for settings in runs:
            if (record := complete(settings, load)) is not None:
                outcomes.append(Outcome(settings, "was there", 0.0, record.metrics))
                continue
            try:
                if not scheduler:  # a cluster's workers have the data; here the twin is rendered, once
                    category = load(settings.category, settings.data or None, settings.group)
                    memory = expect_memory(settings, len(category.train))
                    peak = max(peak, memory.peak / 1e6 if memory else peak_mb([settings.recipe]))
                todo.append(settings)
            except PadimError as error:
                outcomes.append(_failed(settings, str(error)))
                log(str(outcomes[-1]))
        if there := sum(outcome.state == "was there" for outcome in outcomes):
            log(f"{there} of {len(runs)} runs were there")
        if not todo:
            return outcomes
        if not scheduler:
            workers = workers or capacity.budget(len(todo), peak, cores or 1, todo[0].device)
        with (
            _client(workers, scheduler, log) as (client, sharing),
            tqdm(total=len(todo), unit="run", disable=None) as bar,
        ):
            for outcome in _results(client, sharing, todo, cores, force):
                outcomes.append(outcome)
                bar.update()
                bar.clear()
                log(str(outcome))
        return outcomes


def run_one(settings: RunSettings, workers: capacity.Workers = 1, cores: int = 0, force: bool = False) -> Outcome:
    """One run, on one of several workers: a number of them on this machine, or of a cluster's machines by host."""
    if (record := complete(settings)) is not None:  # a worker died after the run was done and before it could say so
        return Outcome(settings, "done", 0.0, record.metrics)
    start = time.perf_counter()
    try:
        execute(settings, force, capacity.environment(workers, cores, settings.device))
        record = read_record(settings.folder / RECORD)
    except (PadimError, RuntimeError, OSError) as error:
        return _failed(settings, str(error), time.perf_counter() - start)
    return Outcome(settings, "done", time.perf_counter() - start, record.metrics if record else {})


def _failed(settings: RunSettings, error: str, seconds: float = 0.0) -> Outcome:
    """A failure, kept in the run's folder where no finished run is, if it can be written: the disk may be full."""
    line = " ".join(error.split())
    if not (settings.folder / RECORD).is_file():
        with suppress(PadimError, OSError), whole_file(settings.folder / "error.txt") as scratch:
            scratch.write_text(line + "\n", encoding="utf-8")
    return Outcome(settings, "failed", seconds, None, line)


def _results(
    client: Client, workers: capacity.Workers, todo: Sequence[RunSettings], cores: int, force: bool
) -> Iterator[Outcome]:
    from distributed import as_completed

    futures = {client.submit(run_one, run, workers, cores, force, pure=False, retries=RETRIES): run for run in todo}
    for future in as_completed(futures):
        if future.status in ("cancelled", "lost"):
            raise PadimError("the scheduler went away: what is done is kept; start it again and give the command again")
        error = future.exception()
        yield _failed(futures[future], f"{type(error).__name__}: {error}"[:300]) if error else future.result()
        future.release()


@contextmanager
def _client(workers: int, scheduler: str, log: Callable[[str], None]) -> Iterator[tuple[Client, capacity.Workers]]:
    """A Dask client and its workers: so many processes of this machine, or a cluster's, by host."""
    import dask
    from distributed import Client

    dask.config.set({"distributed.scheduler.allowed-failures": RETRIES, "distributed.logging.distributed": "critical"})
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its tracebacks say less than our one line
    here = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": "CRITICAL"}
    try:
        client = Client(scheduler, timeout=WAIT) if scheduler else Client(**here)
    except (OSError, ValueError, TimeoutError) as error:
        if not scheduler:
            raise
        raise PadimError(f"no Dask scheduler answers at {scheduler} ({error}): start one, or leave it out") from error
    with client:
        hosts = capacity.by_host(client)
        count, place = sum(hosts.values()), f"at {scheduler}" if scheduler else "on this machine"
        log(f"{count} worker{'s' * (count > 1)} {place}; dashboard {client.dashboard_link}")
        yield client, hosts if scheduler else workers
