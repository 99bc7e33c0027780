"""The command line `padim-nb`. Exit codes: 0 done, 1 a check or a run failed, 2 bad input, 130 interrupted."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from .errors import PadimError, RunFailed

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
EXTRAS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "run": ("papermill", "nbconvert", "nbformat", "matplotlib", "seaborn", "jinja2", "distributed", "dask"),
}
GROUP = "finds in a training image's file name which images are of one part: 'part[0-9]+' or '^(.+)-'"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `padim-nb`.

    Args:
        argv: the words after `padim-nb` (default: those of this process).

    Returns:
        The exit code.
    """
    if argv is None:  # a process of our own: a name that its locale or code page lacks is printed as \\x.. or \\u....
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    arguments = vars(_parser().parse_args(argv))
    try:
        return arguments.pop("call")(**arguments) or 0
    except PadimError as error:
        print(f"padim-nb: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if isinstance(error, RunFailed) else 2
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        print(f"padim-nb: {package} is not installed: pip install 'padim-nb[{extra}]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("padim-nb: interrupted; finished results are unchanged", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `padim-nb ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="padim-nb", description="Visual anomaly detection to learn, run and reproduce."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_data(_group(verbs, "data", "the data set and its twin: status, render, check, extract, clean, sheets"))
    _add_run(verbs)
    _add_model(verbs)
    weights = _group(verbs, "weights", "published files: list them, or get what a recipe needs (needs a network)")
    _verb(weights, "list", _shown("features.weights:table"), "the weights that are known, and which are here")
    get = _verb(weights, "get", _shown("experiments.needs:get"), "download one file or a recipe's, checked by hash")
    get.add_argument("name", metavar="NAME", help="of a recipe, or a name from `padim-nb weights list`")
    get.add_argument("--from", dest="given", type=Path, metavar="FILE", help="the file, carried here by hand")
    return parser


def _group(verbs: Verbs, name: str, help: str) -> Verbs:
    return verbs.add_parser(name, help=help).add_subparsers(required=True, metavar="VERB")


def _verb(verbs: Verbs, name: str, call: Callable[..., int | None], help: str) -> argparse.ArgumentParser:
    """A command without its options; one that is not given is not passed on, so that the default stands at `call`."""
    verb = verbs.add_parser(name, help=help, argument_default=argparse.SUPPRESS)
    verb.set_defaults(call=call)
    return verb


def _add_data(verbs: Verbs) -> None:
    _verb(verbs, "status", _shown("data.check:status"), "the data roots, the one in use, and what is missing")

    render = _verb(verbs, "render", _render, "render the twin's categories (all fifteen by default)")
    render.add_argument("categories", nargs="*", metavar="CATEGORY")
    kind = render.add_mutually_exclusive_group()
    lite = "half of the training images, 20 good and about 40 defective test images (default)"
    kind.add_argument("--lite", dest="kind", action="store_const", const="lite", help=lite)
    kind.add_argument("--full", dest="kind", action="store_const", const="full", help="MVTec AD's own counts")
    render.add_argument("--size", type=int, help="side of the images in pixels (256)")
    render.add_argument("--seed", type=int)
    render.add_argument("--workers", type=int, help="processes (one a core)")

    what = "counts, unreadable files, masks: a report; exit 1 when something is broken"
    check = _verb(verbs, "check", _shown("data.check:check"), what)
    check.add_argument("root", nargs="?", help="a data root, your own folder or CSV file (default: the one in use)")
    check.add_argument("--group", metavar="REGEX", help=GROUP)

    what = "unpack the official archive, checked, each category whole or not at all"
    extract = _verb(verbs, "extract", _shown("data.archive:extract"), what)
    extract.add_argument("archive", type=Path)
    extract.add_argument("--into", type=Path, help="data root (data/mvtec_anomaly_detection)")
    extract.add_argument("--sha256", help="refuse the archive unless its hash is this")

    what = "remove what killed extractions left; list, or remove, cached files that nothing needs"
    clean = _verb(verbs, "clean", _shown("data.cleaning:clean"), what)
    clean.add_argument(
        "kinds", nargs="*", metavar="KIND", help="twins (of earlier versions), banks or images (decoded)"
    )
    clean.add_argument("--into", type=Path, help="data root that was extracted into (default: the usual ones)")

    what = "contact sheets of the twin's categories, as the book shows them"
    _verb(verbs, "sheets", _shown("plots.sheets:write_sheets"), what).add_argument("folder", type=Path)


def _add_run(verbs: Verbs) -> None:
    what = "fit and evaluate one category: executed notebook, HTML, maps, record.json"
    run = _verb(verbs, "run", _run, what)
    run.add_argument("category")
    run.add_argument("--recipe", help="a name from `padim-nb recipes`")
    run.add_argument("--seed", type=int, help="seed of everything random (default: the recipe's own)")
    run.add_argument("--out", help="folder for the results (runs/CATEGORY/RECIPE)")

    _verb(verbs, "recipes", _shown("experiments.recipes:table"), "the named recipes and what each reproduces")

    what = "many runs: recipes x categories x seeds, resumable, on one machine or Dask"
    sweep = _verb(verbs, "sweep", _sweep, what)
    sweep.add_argument("--recipes", nargs="+", required=True, metavar="RECIPE")
    sweep.add_argument("--categories", nargs="+", metavar="CATEGORY", help="names, or all (default)")
    sweep.add_argument("--seeds", help="such as 0-4 or 0,3,7; 'own' is each recipe's own (default)")
    sweep.add_argument("--out", type=_path, help="folder for the results (runs)")
    sweep.add_argument("--workers", type=int, help="processes (default: one for each core, as far as memory lasts)")
    sweep.add_argument("--cores", type=int, help="cores of each worker (default: its share of the machine)")
    sweep.add_argument("--scheduler", help="address of a running Dask cluster, such as tcp://10.0.0.1:8786")

    what = "a published table by one command: fetch, sweep, compare, a page and a manifest; resumable"
    table = _verb(verbs, "reproduce", _reproduce, what)
    table.add_argument("source", metavar="SOURCE", help="of a published table, such as padim-efficientnet-pytorch")
    table.add_argument("--data", required=True, metavar="ROOT", help="MVTec AD's folder, or twin")
    table.add_argument("--out", type=Path, help="folder for the results (runs/reproduce/SOURCE)")
    table.add_argument("--seeds", help="such as 0-4; 'own' is each recipe's own (default)")
    table.add_argument("--recipes", nargs="+", metavar="RECIPE", help="only these rows of the table")
    table.add_argument("--categories", nargs="+", metavar="CATEGORY", help="only these")
    table.add_argument("--device", help="auto, cpu or cuda")
    table.add_argument("--workers", type=int, help="processes (default: as for sweep)")
    table.add_argument("--weights", help="other ones, for a trial: the manifest then says so")
    table.add_argument("--steps", type=int, help="fewer steps of EfficientAD, for a trial: the manifest then says so")
    table.add_argument("--yes", action="store_true", help="begin without asking")
    table.add_argument("--against", type=Path, metavar="MANIFEST", help="compare with an earlier one in the end")

    usual = "default: PADIM_NB_DATA, data/mvtec_anomaly_detection, else the twin"
    for verb in (run, sweep):
        verb.add_argument("--data", help=f"data root ({usual})")
        what = "'random', 'imagenet', of EfficientAD 'anomalib', 'nelson1425' or 'shipped', or a file"
        verb.add_argument("--weights", help=f"{what} (default: the recipe's own)")
        verb.add_argument("--device", help="auto, cpu or cuda")
        verb.add_argument("--size", help="of the images in pixels, such as 512, or 512x768 for height x width")
        verb.add_argument("--roi", metavar="FILE", help="a mask, judged where white (default: roi.png beside the data)")
        verb.add_argument("--steps", type=int, help="steps of EfficientAD's training (default: the recipe's own)")
        verb.add_argument(
            "--penalty", help="EfficientAD's penalty images: a folder, 'imagenette', 'procedural', 'none'"
        )
        verb.add_argument("--group", metavar="REGEX", help=GROUP)
        what = "replace a finished run of other settings or images, which is refused otherwise"
        verb.add_argument("--force", action="store_true", help=what)

    compare = _verb(verbs, "compare", _compare, "published tables beside measured records, row by row")
    compare.add_argument("records", nargs="*", type=_path, help="folders with records (default: runs, data/records)")
    compare.add_argument("--metric", help="image_auroc (default), pixel_auroc, aupro, image_f1 or pixel_f1")
    compare.add_argument("--recipes", nargs="*", help="only these")
    compare.add_argument("--format", help="markdown (default) or csv")

    what = "figures of finished runs: ROC, precision, five panels, animated demos"
    figures = _verb(verbs, "figures", _figures, what)
    figures.add_argument("runs", nargs="+", type=_path, help="folders with finished runs below them")
    figures.add_argument("--out", type=_path, help="folder for the figures (runs/figures)")
    what = "one HTML page of all runs below a folder: tables, ROC curves, worst misses (a sweep ends with it)"
    page = _verb(verbs, "page", _shown("experiments.page:write_page"), what)
    page.add_argument("folder", type=_path)
    for verb in (figures, page):
        verb.add_argument("--data", help="data root of the images (default: as for run)")


def _add_model(verbs: Verbs) -> None:
    what = "score new images with a saved detector: one line each, maps and overlays"
    score = _verb(verbs, "score", _shown("deploy.scoring:score_files"), what)
    score.add_argument("model", type=Path)
    score.add_argument("images", nargs="+", type=Path)
    score.add_argument("--out", type=Path, help="folder for maps and overlays (none are written without it)")

    export = _verb(verbs, "export", _export, "a saved detector as one ONNX graph, checked against torch")
    export.add_argument("model", type=Path)
    export.add_argument("target", type=Path)

    what = (
        "judge known parts with a saved detector: a page and a JSON to sign; exit 1 where they do not show the limits"
    )
    accept = _verb(verbs, "accept", _shown("experiments.acceptance:accept"), what)
    accept.add_argument("model", type=Path)
    accept.add_argument("folder", type=Path, help="good/ and a folder for each kind of defect, or a category")
    accept.add_argument("--escapes", type=float, help="largest share of defective parts that may pass, such as 0.01")
    accept.add_argument("--rejects", type=float, help="largest share of good parts that may be stopped, such as 0.05")
    accept.add_argument("--out", type=Path, help="folder for acceptance.html and acceptance.json (acceptance)")
    for verb in (score, export, accept):
        verb.add_argument("--weights", help="file of PaDiM's backbone, if it has moved")
        verb.add_argument("--device", help="auto, cpu or cuda")

    distill = _verb(verbs, "distill", _distill, "distill an EfficientAD teacher from a backbone")
    distill.add_argument("--size", help="small (default) or medium")
    distill.add_argument("--backbone", help="the network it is distilled from (default: as in the paper)")
    distill.add_argument("--weights", help="weights of the backbone: 'imagenet', 'random' or a file")
    source = "training images: folders, 'procedural' (default), 'photographs' (of scikit-image and scikit-learn)"
    distill.add_argument("--source", nargs="+", help=source)
    distill.add_argument("--images", type=int, metavar="N", help="number of procedural images (4096)")
    distill.add_argument("--side", type=int, help="side of the teacher's images; the backbone's have twice (256)")
    length = distill.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="train for so many minutes")
    length.add_argument("--steps", type=int, help="train for exactly so many steps (60000)")
    distill.add_argument("--out", type=Path, help="folder for weights, card and checkpoint (default: the cache)")
    distill.add_argument("--set", nargs="+", metavar="NAME=VALUE", help="settings, such as rate=0.05")
    distill.add_argument("--seed", type=int)
    distill.add_argument("--device", help="auto, cpu or cuda")


def _path(text: str) -> Path:
    """A path as it was typed: no shell replaces the ~ of --out=~/runs."""
    return Path(text).expanduser()


def _shown(target: str) -> Callable[..., int]:
    """A command that prints what a function of the package returns; "module:function" is loaded when it is called."""

    def call(**arguments: Any) -> int:
        module, _, name = target.partition(":")
        result = getattr(import_module(f"padim_nb.{module}"), name)(**arguments)
        for line in result if isinstance(result, list | Iterator) else [result]:
            print(line, flush=True)
        return 0 if getattr(result, "ok", True) else 1

    return call


def _render(
    categories: Sequence[str] = (), kind: str = "lite", size: int = 256, seed: int = 0, workers: int | None = None
) -> None:
    from .twin import ensure, part
    from .util.mvtec_counts import CATEGORIES

    if not 64 <= size <= 4096:
        raise PadimError(f"--size must be between 64 and 4096 pixels, not {size}")
    if workers is not None and workers < 1:
        raise PadimError(f"--workers must be 1 or more, not {workers}")
    chosen = categories or CATEGORIES
    for name in chosen:
        part(name)  # refuse a wrong name before the first image
    for name in chosen:
        print(ensure(name, kind, size, seed, workers), flush=True)


def _run(force: bool = False, **parameters: Any) -> None:
    from .experiments import run as runs
    from .experiments.record import read_record
    from .experiments.settings import RunSettings
    from .util.files import seen_from_here

    settings = RunSettings(**parameters)
    category = settings.load()  # here, so that rendering shows its progress
    if memory := runs.expect_memory(settings, len(category.train)):
        print(f"{settings.recipe} at {settings.size} px: {memory}", flush=True)
    notebook, html = runs.execute(settings, force)
    record = notebook.parent / "record.json"
    print(read_record(record))
    print(f"\ndata      {category.source}: {category.root}")
    for name, path in (("notebook", notebook), ("page", html), ("record", record)):
        print(f"{name:9} {seen_from_here(path)}")


def _sweep(
    recipes: Sequence[str], categories: Any = ("all",), seeds: str = "own", out: Path = Path("runs"), **given: Any
) -> int:
    from .experiments.page import write_page
    from .experiments.sweep import plan, seeds_in, sweep
    from .util.mvtec_counts import CATEGORIES

    options = {name: given.pop(name) for name in ("workers", "cores", "scheduler", "force") if name in given}
    for name in {"data", "weights", "penalty", "roi"} & given.keys():
        if given[name] and _path(given[name]).exists():
            given[name] = str(_path(given[name]).absolute())
    categories = CATEGORIES if list(categories) == ["all"] else categories
    runs = plan(recipes, categories, seeds_in(seeds), out, **given)
    outcomes = sweep(runs, out, log=lambda line: print(line, flush=True), **options)
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    print(f"{len(outcomes) - failed} of {len(runs)} runs are done" + (f", {failed} failed" if failed else ""))
    try:
        print(write_page(out, given.get("data", "")))
    except PadimError as error:
        print(f"no page of results: {error}")
    return 1 if failed else 0


def _reproduce(yes: bool = False, workers: int = 0, against: Path | None = None, **given: Any) -> int:
    from .experiments import reproduce

    wanted = reproduce.request(**given)
    earlier = None if against is None else reproduce.read_manifest(against)
    print(*reproduce.announce(wanted), sep="\n", flush=True)
    reproduce.expect_consent(yes)
    manifest, done = reproduce.reproduce(wanted, lambda line: print(line, flush=True), workers)
    print(f"manifest {manifest}")
    if earlier is None:
        return 0 if done else 1
    differences = reproduce.against(manifest, earlier)
    print(*(differences or [f"the same as {against}: data, weights and every figure"]), sep="\n")
    return 0 if done and not differences else 1


def _compare(records: Any = (), metric: str = "image_auroc", recipes: Any = None, format: str = "markdown") -> None:
    from .experiments.compare import comparison, deviations, render, unmeasured

    folders = records or [path for path in (Path("runs"), Path("data/records")) if path.is_dir()]
    lines = comparison(folders, metric, recipes)
    print(render(lines, format))
    if format == "markdown":
        print("", *unmeasured(lines), "", *deviations(lines), sep="\n")


def _figures(runs: Sequence[Path], data: str = "", out: Path = Path("runs/figures")) -> None:
    from .experiments.showcase import finished, showcase

    showcase(finished(runs, data), out, log=lambda path: print(path, flush=True))


def _export(model: Path, target: Path, **options: Any) -> None:
    from .deploy.export import export
    from .detectors import load

    print(export(load(model, **options), target))


def _distill(
    out: Path | None = None, minutes: float = 0, steps: int = 0, device: str = "auto", set: Any = (), **settings: Any
) -> None:
    from .efficientad.checkpoints import changed
    from .efficientad.distillation import Distillation, distill
    from .util.devices import has_fast_bf16, pick_device

    device = pick_device(device)
    chosen = changed(Distillation(bf16=has_fast_bf16(device), **settings), set)
    print(distill(out, chosen, minutes, steps or (0 if minutes else 60_000), device))


if __name__ == "__main__":
    sys.exit(main())
