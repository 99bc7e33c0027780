"""The command line `padim-nb`. Exit codes: 0 done, 1 a check or a run failed, 2 bad input, 130 interrupted."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from . import commands
from .errors import PadimError

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
EXTRAS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "run": ("papermill", "nbconvert", "nbformat", "matplotlib", "seaborn", "distributed", "dask", "filelock"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `padim-nb`.

    Args:
        argv: the words after `padim-nb` (default: those of this process).

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.call(arguments) or 0
    except PadimError as error:
        print(f"padim-nb: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        print(f"padim-nb: {package} is not installed: pip install 'padim-nb[{extra}]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("padim-nb: interrupted; no unfinished file remains", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `padim-nb ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="padim-nb", description="Visual anomaly detection to learn, run and reproduce."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_data(verbs)
    _add_run(verbs)
    _add_model(verbs)
    return parser


def _add_data(verbs: Verbs) -> None:
    data = verbs.add_parser("data", help="the data set and its twin: status, render, check, extract, sheets")
    verbs = data.add_subparsers(required=True, metavar="VERB")

    status = verbs.add_parser("status", help="the data roots, the one in use, and what is missing")
    status.set_defaults(call=commands.data_status)

    render = verbs.add_parser("render", help="render the twin's categories (all fifteen by default)")
    render.add_argument("categories", nargs="*", metavar="CATEGORY")
    size = render.add_mutually_exclusive_group()
    size.add_argument(
        "--lite",
        dest="kind",
        action="store_const",
        const="lite",
        default="lite",
        help="half of the training images, 20 good and about 40 defective test images (default)",
    )
    size.add_argument("--full", dest="kind", action="store_const", const="full", help="MVTec AD's own counts")
    render.add_argument("--size", type=int, default=256, help="side of the images in pixels (256)")
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--workers", type=int, default=None, help="processes (one a core)")
    render.set_defaults(call=commands.data_render)

    check = verbs.add_parser("check", help="counts, unreadable files, masks: a report; exit 1 when something is broken")
    check.add_argument(
        "root", nargs="?", help="an MVTec AD root or your own folder (default: what `status` says is in use)"
    )
    check.set_defaults(call=commands.data_check)

    extract = verbs.add_parser(
        "extract", help="unpack the official archive, checked, each category whole or not at all"
    )
    extract.add_argument("archive", type=Path)
    extract.add_argument("--into", type=Path, default=None, help="data root (data/mvtec_anomaly_detection)")
    extract.add_argument("--sha256", default=None, help="refuse the archive unless its hash is this")
    extract.set_defaults(call=commands.data_extract)

    sheets = verbs.add_parser("sheets", help="contact sheets of the twin's categories, as the book shows them")
    sheets.add_argument("folder", type=Path)
    sheets.set_defaults(call=commands.data_sheets)


def _add_run(verbs: Verbs) -> None:
    run = verbs.add_parser("run", help="fit and evaluate one category: executed notebook, HTML, maps, record.json")
    run.add_argument("category")
    run.add_argument("--recipe", default=None, help="a name from `padim-nb recipes`")
    run.add_argument("--seed", type=int, default=-1, help="seed of everything random (default: the recipe's own)")
    run.add_argument(
        "--data", default="", help="data root (default: PADIM_NB_DATA, data/mvtec_anomaly_detection, else the twin)"
    )
    run.add_argument("--weights", default="", help="'random', 'imagenet' or a file (default: the recipe's own)")
    run.add_argument("--out", default="", help="folder for the results (runs/CATEGORY/RECIPE)")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--steps", type=int, default=0, help="steps of EfficientAD's training (default: the recipe's own)")
    run.add_argument("--penalty", default="", help="EfficientAD's penalty images: a folder, 'procedural' or 'none'")
    run.set_defaults(call=commands.run)

    recipes = verbs.add_parser("recipes", help="the named recipes and what each reproduces")
    recipes.set_defaults(call=commands.recipes)

    sweep = verbs.add_parser("sweep", help="many runs: recipes x categories x seeds, resumable, on one machine or Dask")
    sweep.add_argument("--recipes", nargs="+", required=True, metavar="RECIPE")
    sweep.add_argument("--categories", nargs="+", default=["all"], metavar="CATEGORY", help="names, or all (default)")
    sweep.add_argument("--seeds", default="own", help="such as 0-4 or 0,3,7; 'own' is each recipe's own (default)")
    sweep.add_argument("--out", type=Path, default=Path("runs"))
    sweep.add_argument(
        "--workers", type=int, default=0, help="processes (default: one for each GPU or core, while memory lasts)"
    )
    sweep.add_argument("--cores", type=int, default=0, help="cores of each worker (default: its share of the machine)")
    sweep.add_argument("--scheduler", default="", help="address of a running Dask cluster, such as tcp://10.0.0.1:8786")
    for name in ("data", "weights", "penalty"):
        sweep.add_argument(f"--{name}", default="", help="as for run")
    sweep.add_argument("--device", default="auto")
    sweep.add_argument("--steps", type=int, default=0)
    sweep.set_defaults(call=commands.sweep)

    compare = verbs.add_parser("compare", help="published tables beside measured records, row by row")
    compare.add_argument("records", nargs="*", type=Path, help="folders with records (default: runs, data/records)")
    compare.add_argument("--metric", default="image_auroc", help="image_auroc, pixel_auroc, aupro or image_f1")
    compare.add_argument("--recipes", nargs="*", default=None, help="only these")
    compare.add_argument("--format", default="markdown", help="markdown or csv")
    compare.set_defaults(call=commands.compare)

    figures = verbs.add_parser("figures", help="figures of finished runs: ROC, precision, five panels, animated demos")
    figures.add_argument("runs", nargs="+", type=Path, help="folders with finished runs below them")
    figures.add_argument("--out", type=Path, default=Path("runs/figures"))
    figures.add_argument("--data", default="", help="data root of the images (default: as for run)")
    figures.set_defaults(call=commands.figures)


def _add_model(verbs: Verbs) -> None:
    score = verbs.add_parser("score", help="score new images with a saved detector: one line each, maps and overlays")
    score.add_argument("model", type=Path)
    score.add_argument("images", nargs="+", type=Path)
    score.add_argument(
        "--out", type=Path, default=None, help="folder for maps and overlays (none are written without it)"
    )
    score.set_defaults(call=commands.score)

    export = verbs.add_parser("export", help="a saved detector as one ONNX graph, checked against torch")
    export.add_argument("model", type=Path)
    export.add_argument("target", type=Path)
    export.set_defaults(call=commands.export)
    for verb in (score, export):
        verb.add_argument("--weights", default="", help="file of PaDiM's backbone, where it is not where it was")
        verb.add_argument("--device", default="auto", help="auto, cpu or cuda")

    distill = verbs.add_parser("distill", help="distill an EfficientAD teacher from a backbone")
    distill.add_argument("--size", default="small", help="small or medium")
    distill.add_argument(
        "--backbone", default="wide_resnet101_2", help="the network it is distilled from (default: as in the paper)"
    )
    distill.add_argument("--weights", default="", help="weights of the backbone: 'imagenet', 'random' or a file")
    distill.add_argument(
        "--source",
        nargs="+",
        default=["procedural"],
        help="training images: folders, 'procedural', 'photographs' (of scikit-image and scikit-learn)",
    )
    distill.add_argument(
        "--images", "--pictures", type=int, default=4096, metavar="N", help="number of procedural images (4096)"
    )
    distill.add_argument(
        "--side", type=int, default=256, help="side of the teacher's images in pixels; the backbone's have twice (256)"
    )
    length = distill.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=0, help="train for so many minutes")
    length.add_argument("--steps", type=int, default=0, help="train for exactly so many steps (60000)")
    distill.add_argument("--out", type=Path, help="folder for weights, card and checkpoint (default: the cache)")
    distill.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings, such as rate=0.05")
    distill.add_argument("--seed", type=int, default=0)
    distill.add_argument("--device", default="auto")
    distill.set_defaults(call=commands.distill)

    weights = verbs.add_parser("weights", help="network weights: list them, or get one (needs a network)")
    verbs = weights.add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="the weights that are known, and which are here")
    listing.set_defaults(call=commands.weights_list)
    get = verbs.add_parser("get", help="download one file, checked by its hash")
    get.add_argument("name")
    get.set_defaults(call=commands.weights_get)


if __name__ == "__main__":
    sys.exit(main())
