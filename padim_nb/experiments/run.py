"""One run = category x recipe x seed: an executed notebook, its HTML, the maps and `record.json`, in one folder.

A run writes into a hidden folder within its own and moves its files to their place when all of them are whole: until
then an earlier run's stay. A run that fails leaves `failed.ipynb`, a training that was stopped its checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.duplicates import notes_on
from ..data.groups import group_sizes, grouping
from ..data.images import load_roi
from ..data.mvtec import data_root
from ..errors import OptionError, PadimError, RunFailed
from ..padim.settings import PaDiMSettings
from ..util.files import ensure_dir, whole_file, writing_to
from ..util.machine import commit, gpu_facts, gpus, peak_memory_mb, versions
from .costs import peak_mb
from .recipes import RECIPES, recipe, settings_of, size_of
from .record import DataFacts, Record, fingerprint, plain
from .settings import CHECKPOINT, RunSettings, digest, expect_free
from .workers import NO_TRIM

if TYPE_CHECKING:
    from ..data.mvtec import Category
    from ..detectors import Detector
    from ..evaluation.report import Report
    from ..padim.memory import Memory

NOTEBOOK, RECORD, FAILED = "run_category.ipynb", "record.json", "failed.ipynb"
PARTIAL, WHOLE = ".partial-", ".whole"  # a run's hidden folder while it is written, and while its files are moved


def detector_of(settings: RunSettings, category: Category) -> Detector:
    """The detector that a run's settings ask for, with the region of interest of these images."""
    from ..efficientad.detector import EfficientAD

    detector = recipe(**settings.chosen_for(category), device=settings.device)
    if isinstance(detector, EfficientAD):
        detector.checkpoint = settings.checkpoint
        detector.validation = category.validation
    return detector


def expect_memory(settings: RunSettings, images: int) -> Memory | None:
    """What PaDiM will take of memory to fit so many images of another size than the recipe's, whose memory is known.

    OptionError where that is more than this machine has.
    """
    wanted = settings_of(**settings.chosen)
    if not settings.size or not isinstance(wanted, PaDiMSettings):
        return None
    from distributed.system import MEMORY_LIMIT

    from ..padim.memory import in_words, memory_of

    memory = memory_of(wanted, size_of(settings.size), images)
    if memory.peak > MEMORY_LIMIT and (settings.device == "cpu" or not gpus()):
        raise OptionError(
            f"{settings.recipe} at {settings.size} px takes up to {in_words(memory.peak)} for {images} images, "
            f"this machine has {in_words(MEMORY_LIMIT)}: take a smaller size"
        )
    return memory


@dataclass
class Stopwatch:
    """Seconds spent in named stages: `with watch("fit"): ...`."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def write_record(
    settings: RunSettings, category: Category, detector: Detector, report: Report, watch: Stopwatch
) -> Path:
    """Write `record.json`, all that a table needs to know of a run, and return its path."""
    from ..efficientad.detector import EfficientAD

    defects = [sample.defect for sample in category.test]
    seconds = dict(watch.seconds)
    if isinstance(detector, EfficientAD):  # its training may have resumed from a checkpoint
        seconds["fit"] = round(seconds["fit"] + detector.earlier_, 3)
    counts = {"train": len(category.train), **{defect: defects.count(defect) for defect in sorted(set(defects))}}
    together = grouping(category.train)
    groups = len(group_sizes(category.train)) if together else 0
    images = fingerprint(category)
    record = Record(
        recipe=settings.recipe,
        category=category.name,
        seed=detector.seed,
        data=DataFacts(category.source, category.root.name, counts, images, groups, together, settings.group),
        n_train=len(category.train),
        n_test=len(category.test),
        weights=detector.weights | {"source": _weights_source(detector)},
        settings=plain(detector.settings),
        facts=detector.facts | gpu_facts(detector.device),
        **report.as_dict() | {"notes": [*notes_on(category.train), *report.notes]},
        deviations=RECIPES[settings.recipe].deviations,
        threshold=detector.threshold_,
        seconds=seconds,
        peak_memory_mb=peak_memory_mb(),
        device=detector.device,
        versions=versions(),
        commit=commit(),
    )
    path = settings.folder / RECORD
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    if isinstance(detector, EfficientAD):  # its own: one of another training would have been refused
        settings.checkpoint.unlink(missing_ok=True)
    return path


def _weights_source(detector: Detector) -> str:
    """Where weights are from: a word of the settings, also for a file with a published one's hash, or "file"."""
    from ..efficientad.teacher import publisher_of
    from ..features.backbones import SPECS
    from ..features.weights import LITE_FILES, sources

    settings, digest = detector.settings, detector.weights["sha256"]
    if settings.weights in ("random", "shipped"):
        return settings.weights
    if not isinstance(settings, PaDiMSettings):
        return publisher_of(settings.size, digest) or "file"
    network = SPECS[settings.backbone].weights
    if not network:
        return "formula"
    published = LITE_FILES[network][2] if network in LITE_FILES else sources()[network].digest
    return "imagenet" if digest.startswith(published) else "file"


def execute(
    settings: RunSettings, force: bool = False, environment: Mapping[str, str] | None = None
) -> tuple[Path, Path]:
    """Run `run_category.ipynb` with these settings; returns the paths of the executed notebook and of its HTML.

    A cell that fails raises: PadimError with the cell's own message where it is one, RunFailed otherwise; the notebook
    with the error stays on disk as `failed.ipynb`.

    Args:
        settings: of the run.
        force: also where the folder holds a finished run of other settings or images, which is replaced.
        environment: further variables of the process in which the notebook runs.
    """
    folder = settings.folder.absolute()
    place = data_root(settings.data or None)  # here: the notebook's process looks around in another folder
    category = settings.load(place)
    parameters = asdict(settings) | {"data": place if isinstance(place, str) else str(place.absolute())}
    wanted = settings_of(**settings.chosen_for(category))
    if isinstance(wanted, PaDiMSettings) and wanted.roi:
        load_roi(Path(wanted.roi).expanduser(), wanted.frame, category.train)
    parameters["roi"] = settings.chosen_for(category)["roi"] or "none"
    for name in ("weights", "penalty", "roi"):
        path = Path(parameters[name]).expanduser()
        if parameters[name] and path.exists():
            parameters[name] = str(path.absolute())
    with writing_to(folder), only_one(folder, "run"):
        _move(folder)
        if not force:
            expect_free(settings, category)
        with _taking_place(folder, digest(settings, category)) as scratch:
            notebook = scratch / NOTEBOOK
            _run_notebook(notebook, parameters | {"out": str(scratch)}, folder, environment or {})
            html = write_html(notebook)
    return folder / notebook.name, folder / html.name


def _run_notebook(notebook: Path, parameters: dict[str, Any], folder: Path, environment: Mapping[str, str]) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    title = f"{parameters['category']} x {parameters['recipe']}"
    try:
        papermill.execute_notebook(
            template(),
            notebook,
            parameters=parameters,
            kernel_name="python3",
            kernel_manager_class=kernel_with({**NO_TRIM, **environment}),
            progress_bar={"desc": parameters["category"], "disable": None, "leave": False},
            cwd=folder,
            extra_arguments=["--IPKernelApp.log_level=50"],  # no messages of the kernel's own
        )
    except PapermillExecutionError as error:
        if error.ename in {"PadimError", *(kind.__name__ for kind in PadimError.__subclasses__())}:
            raise PadimError(error.evalue) from None
        raise RunFailed(f"{title}: {error.ename}: {error.evalue} (see {folder / FAILED})") from None
    except RuntimeError as error:
        if "Kernel died" not in str(error):
            raise
        raise RunFailed(f"{title}: its notebook's process was killed{_memory_hint(parameters)}") from None


def _memory_hint(parameters: Mapping[str, Any]) -> str:
    """What a run takes of memory and what is there: most processes that are ended are ended for it."""
    from distributed.system import MEMORY_LIMIT

    takes = peak_mb([parameters["recipe"]]) / 1000
    return (
        f", as a system does where memory runs out: {parameters['recipe']} takes about {takes:.1f} GB at its own "
        f"size, this machine has {MEMORY_LIMIT / 1e9:.1f} GB"
    )


def kernel_with(variables: Mapping[str, str]) -> type[Any]:
    """The class of a notebook's kernel, with these variables in its environment."""
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        def start_kernel(self, **options: Any) -> Any:
            return super().start_kernel(env={**os.environ, **variables}, **options)

    return Kernel


@contextmanager
def only_one(folder: Path, kind: str) -> Iterator[None]:
    """Only one run, or one sweep, writes to a folder; the lock goes with its process, also when that is killed."""
    from filelock import FileLock, Timeout

    try:
        lock = FileLock(ensure_dir(folder) / f".{kind}.lock").acquire(timeout=0)
    except Timeout:
        raise PadimError(f"another {kind} is writing to {folder}: wait for it, or choose another --out") from None
    with lock:
        yield


@contextmanager
def _taking_place(folder: Path, digest: str) -> Iterator[Path]:
    """A hidden folder for the files of a run, which are moved to `folder` when all of them are whole.

    `digest` stands for the run's settings and images. The hidden folder is removed where the block fails, unless it
    holds the checkpoint of a training: the same run finds it there, and no other touches it.
    """
    for abandoned in folder.glob(f"{PARTIAL}*"):
        _clear(abandoned)
    scratch = ensure_dir(folder / f"{PARTIAL}{digest}")
    try:
        yield scratch
        scratch.rename(folder / WHOLE)
        _move(folder)
    except BaseException as error:
        if isinstance(error, Exception) and (scratch / NOTEBOOK).is_file():
            os.replace(scratch / NOTEBOOK, folder / FAILED)
        _clear(scratch)
        raise
    for failure in (FAILED, "error.txt"):
        (folder / failure).unlink(missing_ok=True)


def _move(folder: Path) -> None:
    """Move the files of a whole run, if there is one, to their place, the record last."""
    if (folder / WHOLE).is_dir():
        for path in sorted((folder / WHOLE).iterdir(), key=lambda path: path.name == RECORD):
            os.replace(path, folder / path.name)
        (folder / WHOLE).rmdir()


def finish_move(folder: Path) -> None:
    """Do the rest where a run was killed while it moved its files."""
    if (folder / WHOLE).is_dir():
        with writing_to(folder), only_one(folder, "run"):
            _move(folder)


def _clear(scratch: Path) -> None:
    """Remove what an unfinished run left, but for a training's checkpoint."""
    with suppress(OSError):
        for path in scratch.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != CHECKPOINT:
                path.unlink()
        scratch.rmdir()  # fails where the checkpoint is


def template() -> Path:
    """The notebook that a run executes: the clone's own, or the copy that an installed package carries."""
    here = Path(__file__).parents[1]
    for path in (here.parent / "notebooks" / NOTEBOOK, here / "assets" / NOTEBOOK):
        if path.is_file():
            return path
    raise PadimError(f"{NOTEBOOK} is not part of this installation: install padim-nb again")


def write_html(notebook: Path) -> Path:
    """The executed notebook as one HTML file that loads nothing from elsewhere."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    html, _ = exporter.from_filename(str(notebook))
    path = notebook.with_suffix(".html")
    with whole_file(path) as scratch:
        scratch.write_text(html, encoding="utf-8")
    return path
