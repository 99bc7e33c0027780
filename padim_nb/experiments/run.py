"""One run = category x recipe x seed: an executed notebook, its HTML, the maps and `record.json`, in one folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..data.mvtec import plain_name
from ..efficientad.settings import EfficientADSettings
from ..errors import OptionError, PadimError, did_you_mean
from ..util.files import whole_file, writing_to
from ..util.machine import commit, peak_memory_mb, versions
from .recipes import DEFAULT, RECIPES, recipe
from .workers import keeping_memory

if TYPE_CHECKING:
    from ..data.mvtec import Category
    from ..detectors import Detector
    from ..evaluation.report import Report


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do: the parameters of `run_category.ipynb` and of `padim-nb run`.

    `seed` -1 is the recipe's own draw. An empty string means the usual choice: `data` the first root that exists,
    `weights` the recipe's own, `out` the folder runs/<category>/<recipe>, with -seed<seed> where one was given.
    `steps` (0: the recipe's own) and `penalty` (a folder, "bank" or "none") are EfficientAD's.
    """

    category: str = "cable"
    recipe: str = DEFAULT
    seed: int = -1
    data: str = ""
    weights: str = ""
    out: str = ""
    device: str = "auto"
    steps: int = 0
    penalty: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            found = getattr(self, each.name)
            wanted = int if each.type == "int" else str
            if type(found) is not wanted:
                raise OptionError(f"parameter '{each.name}' must be of type {wanted.__name__}, not {found!r}")
        plain_name(self.category)  # it becomes a folder's name
        if self.recipe not in RECIPES:
            raise OptionError(f"no recipe {self.recipe!r}{did_you_mean(self.recipe, RECIPES)}")
        if self.seed < -1:
            raise OptionError(f"parameter 'seed' must be 0 or more (or -1, the recipe's own), not {self.seed}")
        if self.steps < 0:
            raise OptionError(f"parameter 'steps' must be 1 or more (or 0, the recipe's own), not {self.steps}")

    @property
    def folder(self) -> Path:
        """Where this run's files go."""
        if self.out:
            return Path(self.out)
        seed = f"-seed{self.seed}" if self.seed >= 0 else ""
        return Path("runs") / self.category / f"{self.recipe}{seed}"

    @property
    def checkpoint(self) -> Path:
        """Where a long training is kept while it runs, so that a run that was stopped goes on from there."""
        return self.folder / "checkpoint.safetensors"


def settings_from(names: Mapping[str, object]) -> Settings:
    """The settings among a fresh notebook's variables; any other variable is a misspelt parameter and refused.

    papermill passes unknown parameters on in silence, so that `-p categry cable` would run the default category:
    call this with `globals()` in the cell right after the parameters.
    """
    known = {each.name for each in fields(Settings)}
    noise = {"In", "Out", "get_ipython", "exit", "quit", "open"}
    given = {
        name: value
        for name, value in names.items()
        if not name.startswith("_") and name not in noise and not callable(value) and not isinstance(value, ModuleType)
    }
    for name in given:
        if name not in known:
            raise OptionError(f"run_category has no parameter {name!r}{did_you_mean(name, known)}")
    return Settings(**given)


def detector_of(settings: Settings) -> Detector:
    """The detector that a run's settings ask for."""
    seed = settings.seed if settings.seed >= 0 else None
    s = settings
    detector = recipe(s.recipe, s.weights or None, seed, s.device, s.steps, s.penalty)
    if isinstance(detector.settings, EfficientADSettings):
        detector.checkpoint = s.checkpoint
    return detector


@dataclass
class Stopwatch:
    """Seconds spent in named stages: `with watch("fit"): ...`."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def write_record(settings: Settings, category: Category, detector: Detector, report: Report, watch: Stopwatch) -> Path:
    """Write `record.json`, all that a table needs to know of a run, and return its path."""
    kinds = [sample.defect for sample in category.test]
    seconds = dict(watch.seconds)
    if isinstance(detector.settings, EfficientADSettings):  # its training may have gone on from a checkpoint
        seconds["fit"] = round(seconds["fit"] + detector.earlier_, 3)
    counts = {"train": len(category.train), **{kind: kinds.count(kind) for kind in sorted(set(kinds))}}
    record = {
        "recipe": settings.recipe,
        "category": category.name,
        "seed": detector.seed,
        "data": {"name": category.source, "root": category.root.name, "counts": counts},
        "weights": detector.weights,
        "facts": detector.facts,
        **report.as_dict(),
        "threshold": asdict(detector.threshold_) if detector.threshold_ else None,
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "n_train": len(category.train),
        "n_test": len(category.test),
        "device": detector.device,
        "versions": versions(),
        "commit": commit(),
    }
    path = settings.folder / "record.json"
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(record, indent=2) + "\n")
    settings.checkpoint.unlink(missing_ok=True)
    return path


def execute(settings: Settings) -> tuple[Path, Path]:
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
        with keeping_memory():
            papermill.execute_notebook(
                template(),
                notebook,
                parameters=parameters,
                kernel_name="python3",
                progress_bar={"desc": settings.category, "disable": None, "leave": False},
                cwd=folder,
                extra_arguments=["--IPKernelApp.log_level=50"],  # at start and end it tells of itself, not of the run
            )
    except PapermillExecutionError as error:
        if error.ename in {kind.__name__ for kind in PadimError.__subclasses__()}:
            raise PadimError(error.evalue) from None
        raise RuntimeError(f"{error.ename}: {error.evalue} (the notebook with the error: {notebook})") from None
    return notebook, write_html(notebook)


def summary(path: Path) -> str:
    """A record as a small table: the metrics, then the rows of each defect type."""
    record = json.loads(path.read_text())
    lines = [f"{record['category']} x {record['recipe']}, seed {record['seed']}, data: {record['data']['name']}", ""]
    lines += [f"  {name:<14} {_figure(value)}" for name, value in record["metrics"].items()]
    lines += ["", f"  {'defect':<24}{'n':>4}  image AUROC  pixel AUROC  AUPRO"]
    for row in record["per_defect"]:
        figures = (row["image_auroc"], row["pixel_auroc"], row["aupro"])
        lines.append(f"  {row['defect']:<24}{row['n']:>4}  " + "  ".join(f"{_figure(f):>11}" for f in figures))
    return "\n".join(lines)


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


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
