"""One run = category x recipe x seed: an executed notebook, its HTML, the maps and `record.json`, in one folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any
from unittest.mock import patch

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from ..data.mvtec import plain_name
from ..errors import OptionError, PadimError, did_you_mean, expect_one_of
from ..padim.settings import PaDiMSettings
from ..util.files import whole_file, writing_to
from ..util.machine import commit, gpu_facts, gpus, peak_memory_mb, versions
from ..util.validation import validated
from .recipes import DEFAULT, RECIPES, recipe, settings_of, size_in_words, size_of
from .record import DataFacts, Record, fingerprint, plain
from .workers import NO_TRIM

if TYPE_CHECKING:
    from ..data.mvtec import Category
    from ..detectors import Detector
    from ..evaluation.report import Report
    from ..padim.memory import Memory


def _known_recipe(name: str) -> str:
    expect_one_of("recipe", name, RECIPES)
    return name


@validated
class RunSettings:
    """What a run is asked to do: the parameters of `run_category.ipynb` and of `padim-nb run`.

    `seed` -1 is the recipe's own. An empty string means the usual choice: `data` the first root that exists,
    `weights` the recipe's own, `out` the folder runs/<category>/<recipe>, with -size<size> and -seed<seed> where these
    were given. `steps` (0: the recipe's own) and `penalty` (a folder, or a word such as "none") are EfficientAD's.
    `size` is that of the images, such as "512", or "512x768" for height x width.
    """

    category: Annotated[StrictStr, AfterValidator(plain_name)] = "cable"  # it becomes a folder's name
    recipe: Annotated[StrictStr, AfterValidator(_known_recipe)] = DEFAULT
    seed: Annotated[StrictInt, Field(ge=-1)] = -1
    data: StrictStr = ""
    weights: StrictStr = ""
    out: StrictStr = ""
    device: StrictStr = "auto"
    steps: Annotated[StrictInt, Field(ge=0)] = 0
    penalty: StrictStr = ""
    size: Annotated[str, BeforeValidator(size_in_words)] = ""

    def __post_init__(self) -> None:
        if self.size:
            settings_of(self.recipe, size=self.size)  # refused here, before any run

    @property
    def chosen(self) -> dict[str, Any]:
        """The arguments of `settings_of` and of `recipe`."""
        names = ("weights", "steps", "penalty", "size")
        seed = self.seed if self.seed >= 0 else None
        return {"name": self.recipe, "seed": seed, **{name: getattr(self, name) for name in names}}

    @property
    def title(self) -> str:
        """The recipe, and the size where it is not the recipe's own."""
        return f"{self.recipe}-size{self.size}" if self.size else self.recipe

    @property
    def folder(self) -> Path:
        """Where this run's files go."""
        if self.out:
            return Path(self.out)
        seed = f"-seed{self.seed}" if self.seed >= 0 else ""
        return Path("runs") / self.category / f"{self.title}{seed}"

    @property
    def checkpoint(self) -> Path:
        """Where a long training is saved while it runs, so that a run that was stopped resumes there."""
        return self.folder / "checkpoint.safetensors"


def settings_from(names: Mapping[str, Any]) -> RunSettings:
    """The settings among a fresh notebook's variables; any other variable is a misspelled parameter and refused.

    papermill accepts unknown parameters, so that `-p categry cable` would run the default category: call this with
    `globals()` in the cell right after the parameters.
    """
    known = {entry.name for entry in fields(RunSettings)}
    given = {}
    for name, value in names.items():
        if name.startswith("_") or name in ("In", "Out") or callable(value) or isinstance(value, ModuleType):
            continue  # Jupyter's own, and what was imported
        if name not in known:
            raise OptionError(f"run_category has no parameter {name!r}{did_you_mean(name, known)}")
        given[name] = value
    return RunSettings(**given)


def detector_of(settings: RunSettings) -> Detector:
    """The detector that a run's settings ask for."""
    from ..efficientad.detector import EfficientAD

    detector = recipe(**settings.chosen, device=settings.device)
    if isinstance(detector, EfficientAD):
        detector.checkpoint = settings.checkpoint
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
    record = Record(
        recipe=settings.recipe,
        category=category.name,
        seed=detector.seed,
        data=DataFacts(category.source, category.root.name, counts, fingerprint(category)),
        n_train=len(category.train),
        n_test=len(category.test),
        weights=detector.weights | {"source": _weights_source(detector)},
        settings=plain(detector.settings),
        facts=detector.facts | gpu_facts(detector.device),
        **report.as_dict(),
        threshold=detector.threshold_,
        seconds=seconds,
        peak_memory_mb=peak_memory_mb(),
        device=detector.device,
        versions=versions(),
        commit=commit(),
    )
    path = settings.folder / "record.json"
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(asdict(record), indent=2) + "\n")
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


def execute(settings: RunSettings) -> tuple[Path, Path]:
    """Run `run_category.ipynb` with these settings; returns the paths of the executed notebook and of its HTML.

    A cell that fails raises: PadimError with the cell's own message where it is one, RuntimeError otherwise; the
    notebook with the error stays on disk either way.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    folder = settings.folder.absolute()
    notebook = folder / "run_category.ipynb"
    parameters = asdict(settings) | {"out": str(folder)}
    for name in ("data", "weights", "penalty"):  # the notebook runs in another folder
        if parameters[name] and Path(parameters[name]).exists():
            parameters[name] = str(Path(parameters[name]).absolute())
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").unlink(missing_ok=True)
    try:
        with patch.dict(os.environ, NO_TRIM):
            papermill.execute_notebook(
                template(),
                notebook,
                parameters=parameters,
                kernel_name="python3",
                progress_bar={"desc": settings.category, "disable": None, "leave": False},
                cwd=folder,
                extra_arguments=["--IPKernelApp.log_level=50"],  # no messages of the kernel's own
            )
    except PapermillExecutionError as error:
        if error.ename in {"PadimError", *(kind.__name__ for kind in PadimError.__subclasses__())}:
            raise PadimError(error.evalue) from None
        raise RuntimeError(f"{error.ename}: {error.evalue} (the notebook with the error: {notebook})") from None
    return notebook, write_html(notebook)


def template() -> Path:
    """The notebook that a run executes: the clone's own, or the copy that an installed package carries."""
    here = Path(__file__).parents[1]
    for path in (here.parent / "notebooks" / "run_category.ipynb", here / "assets" / "run_category.ipynb"):
        if path.is_file():
            return path
    raise PadimError("run_category.ipynb is not part of this installation: install padim-nb again")


def write_html(notebook: Path) -> Path:
    """The executed notebook as one HTML file that loads nothing from elsewhere."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    html, _ = exporter.from_filename(str(notebook))
    path = notebook.with_suffix(".html")
    with whole_file(path) as scratch:
        scratch.write_text(html)
    return path
