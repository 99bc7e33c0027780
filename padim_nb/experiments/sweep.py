"""Many runs, recipes x categories x seeds, on Dask: in this machine's processes, or on a cluster's workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from ..data.mvtec import load_category
from ..errors import DataError, OptionError, PadimError, did_you_mean
from ..util.files import whole_file, writing_to
from . import workers as capacity
from .costs import peak_mb
from .recipes import RECIPES
from .record import Record, read_record
from .run import Settings, execute

RETRIES = 3  # of a run whose worker died
WAIT = 60.0  # seconds for a cluster to answer


@dataclass(frozen=True)
class Outcome:
    """How one run ended: "done", "was there" or "failed" with its error."""

    settings: Settings
    state: str
    seconds: float = 0.0
    metrics: dict[str, float | None] | None = None
    error: str = ""

    def __str__(self) -> str:
        s = self.settings
        told = self.error if self.state == "failed" else _told(self.metrics or {})
        return f"{s.category:<12} {s.recipe:<20} seed {s.seed:<5} {self.state:<9} {self.seconds:6.1f} s  {told}"


def plan(
    recipes: Sequence[str], categories: Sequence[str], seeds: Sequence[int], out: Path, **common: object
) -> list[Settings]:
    """The runs of a sweep, each with a folder of its own below `out`; `common` are parameters that all share."""
    for name in recipes:
        if name not in RECIPES:
            raise OptionError(f"no recipe {name!r}{did_you_mean(name, RECIPES)}")
    if not (recipes and categories and seeds):
        raise OptionError("a sweep needs at least one recipe, one category and one seed")
    folder = out.absolute()
    return [
        Settings(category, name, seed, out=str(folder / category / f"{name}-seed{seed}"), **common)
        for category in dict.fromkeys(categories)
        for name in dict.fromkeys(recipes)
        for seed in dict.fromkeys(seeds)
    ]


def seeds_in(text: str) -> list[int]:
    """ "0-4" or "0,3,7" as numbers; "own" is each recipe's own seed."""
    if text == "own":
        return [-1]
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise OptionError(f"--seeds takes numbers such as 0-4 or 0,3,7, or 'own', not {text!r}")
        found += range(int(first), int(last if dash else first) + 1)
    return found


def complete(settings: Settings) -> Record | None:
    """The whole record of a run that was done before, or None."""
    try:
        record = read_record(settings.folder / "record.json")
    except DataError:
        return None
    same = record and (record.recipe, record.category) == (settings.recipe, settings.category)
    return record if same and settings.seed in (-1, record.seed) and record.metrics else None


def sweep(
    runs: Sequence[Settings],
    out: Path,
    workers: int = 0,
    scheduler: str = "",
    tell: Callable[[str], None] = print,
    cores: int = 0,
) -> list[Outcome]:
    """Do all runs that are not done yet; a failed one keeps its notebook and its error and the others go on.

    Workers divide the machine's cores, or have `cores` each.

    Killed at any moment and called again, it does what is missing. Two sweeps into one folder are refused.
    """
    if workers < 0:
        raise OptionError(f"--workers must be 1 or more (or 0 to choose), not {workers}")
    if cores < 0 or (cores > capacity.cores() and not scheduler):
        raise OptionError(f"--cores must be 1 to {capacity.cores()} here (or 0: a worker's part), not {cores}")
    with _alone(out):
        before = [(settings, complete(settings)) for settings in runs]
        outcomes = [Outcome(s, "was there", 0.0, record.metrics) for s, record in before if record]
        todo = [settings for settings, record in before if not record]
        if outcomes:
            tell(f"{len(outcomes)} of {len(runs)} runs were there")
        if not todo:
            return outcomes
        if not scheduler:
            todo, broken = _with_data(todo)
            for each in broken:
                tell(str(each))
            outcomes += broken
            if not todo:
                return outcomes
            workers = workers or capacity.budget(len(todo), peak_mb(each.recipe for each in todo), cores or 1)
        with (
            _client(workers, scheduler, tell) as (client, sharing),
            tqdm(total=len(todo), unit="run", disable=None) as bar,
        ):
            for outcome in _results(client, sharing, todo, cores):
                outcomes.append(outcome)
                bar.update()
                bar.clear()
                tell(str(outcome))
        return outcomes


def run_one(settings: Settings, workers: int | Mapping[str, int] = 1, cores: int = 0) -> Outcome:
    """One run, on one of several workers: a number of them on this machine, or of a cluster's machines by host."""
    if (record := complete(settings)) is not None:  # a worker died after it was done and before it could say so
        return Outcome(settings, "done", 0.0, record.metrics)
    start = time.perf_counter()
    with capacity.room(workers, cores):
        try:
            execute(settings)
        except (PadimError, RuntimeError, OSError) as error:
            return _failed(settings, " ".join(str(error).split()), time.perf_counter() - start)
    (settings.folder / "error.txt").unlink(missing_ok=True)
    return Outcome(settings, "done", time.perf_counter() - start, complete(settings).metrics)


def _failed(settings: Settings, text: str, seconds: float = 0.0) -> Outcome:
    """A failure, kept beside the run's notebook if that can be written: the disk may be what is wrong."""
    with suppress(PadimError, OSError), whole_file(settings.folder / "error.txt") as scratch:
        scratch.write_text(text + "\n")
    return Outcome(settings, "failed", seconds, None, text)


def _results(
    client: object, workers: int | Mapping[str, int], todo: Sequence[Settings], cores: int
) -> Iterator[Outcome]:
    from distributed import as_completed

    futures = {client.submit(run_one, each, workers, cores, pure=False, retries=RETRIES): each for each in todo}
    for future in as_completed(futures):
        if future.status in ("cancelled", "lost"):
            raise PadimError("the scheduler went away: what is done is kept; start it again and give the command again")
        error = future.exception()
        if error is None:
            yield future.result()
        else:
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            yield _failed(futures[future], text)
        future.release()


@contextmanager
def _client(
    workers: int, scheduler: str, tell: Callable[[str], None]
) -> Iterator[tuple[object, int | Mapping[str, int]]]:
    """A Dask client and its workers: so many processes of this machine, or a cluster's, by host."""
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.scheduler.allowed-failures": RETRIES, "distributed.logging.distributed": "critical"})
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its tracebacks say less than our one line
    if scheduler:
        try:
            client = Client(scheduler, timeout=WAIT)
        except (OSError, ValueError, TimeoutError) as error:
            raise PadimError(
                f"no Dask scheduler answers at {scheduler} ({error}): start one, or leave it out"
            ) from error
        with client:
            hosts = capacity.by_host(client)
            tell(f"{sum(hosts.values())} workers at {scheduler}; dashboard {client.dashboard_link}")
            yield client, hosts
        return
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs="CRITICAL"
    )
    with cluster, Client(cluster) as client:
        tell(f"{workers} worker{'s' * (workers > 1)} on this machine; dashboard {client.dashboard_link}")
        yield client, workers


def _with_data(todo: Sequence[Settings]) -> tuple[list[Settings], list[Outcome]]:
    """The runs whose category is there (the twin is rendered here, once), and the failures of the others."""
    wrong = {pair: _trouble(*pair) for pair in dict.fromkeys((each.category, each.data) for each in todo)}
    bad = [(each, wrong[(each.category, each.data)]) for each in todo]
    return [each for each, text in bad if not text], [_failed(each, text) for each, text in bad if text]


def _trouble(category: str, data: str) -> str:
    """What is wrong with a category, or nothing."""
    try:
        load_category(category, data or None)
    except PadimError as error:
        return " ".join(str(error).split())
    return ""


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Only one sweep writes below a folder; the lock goes with the process, also when it is killed."""
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".sweep.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise PadimError(f"another sweep is writing to {out}: wait for it, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def _told(metrics: dict[str, float | None]) -> str:
    shown = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}
    return "  ".join(f"{words} {metrics[key]:.3f}" for key, words in shown.items() if metrics.get(key) is not None)
