"""The command line: parses, calls, prints. Exit codes: 0 done, 1 something was found broken, 2 bad input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import PadimError

LICENCE = """\
MVTec AD (P. Bergmann et al.) is licensed by its authors under CC BY-NC-SA 4.0: no commercial use. It is not part of
this project. Get it from the MVTec AD page of MVTec's web site (www.mvtec.com, company, research, datasets), then:
padim-nb data extract ARCHIVE. More in data/README.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `padim-nb`."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.call(arguments) or 0
    except PadimError as error:
        print(f"padim-nb: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("padim-nb: interrupted; nothing half-done was kept", file=sys.stderr)
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


def _add_data(verbs: argparse._SubParsersAction) -> None:
    data = verbs.add_parser("data", help="the data set and its twin: status, render, check, extract, sheets")
    verbs = data.add_subparsers(required=True, metavar="VERB")

    status = verbs.add_parser("status", help="what is where, and what is missing")
    status.set_defaults(call=_data_status)

    render = verbs.add_parser("render", help="render the twin's categories (all fifteen by default)")
    render.add_argument("categories", nargs="*", metavar="CATEGORY")
    size = render.add_mutually_exclusive_group()
    size.add_argument(
        "--lite",
        dest="kind",
        action="store_const",
        const="lite",
        default="lite",
        help="60 train, 10 good, 5 a defect (default)",
    )
    size.add_argument("--full", dest="kind", action="store_const", const="full", help="MVTec AD's own counts")
    render.add_argument("--size", type=int, default=256, help="side of the pictures in pixels (256)")
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--workers", type=int, default=None, help="processes (one a core)")
    render.set_defaults(call=_data_render)

    check = verbs.add_parser("check", help="counts, unreadable files, masks: a report; exit 1 when something is broken")
    check.add_argument(
        "root", nargs="?", help="an MVTec AD root or your own folder (default: what `status` says is in use)"
    )
    check.set_defaults(call=_data_check)

    extract = verbs.add_parser(
        "extract", help="unpack the official archive, checked, each category whole or not at all"
    )
    extract.add_argument("archive", type=Path)
    extract.add_argument("--into", type=Path, default=None, help="data root (data/mvtec_anomaly_detection)")
    extract.add_argument("--sha256", default=None, help="refuse the archive unless its hash is this")
    extract.set_defaults(call=_data_extract)

    sheets = verbs.add_parser("sheets", help="contact sheets of the twin's categories, as the book shows them")
    sheets.add_argument("folder", type=Path)
    sheets.set_defaults(call=_data_sheets)


def _add_run(verbs: argparse._SubParsersAction) -> None:
    run = verbs.add_parser("run", help="fit and judge one category: executed notebook, HTML, maps, record.json")
    run.add_argument("category")
    run.add_argument("--recipe", default=None, help="a name from `padim-nb recipes`")
    run.add_argument("--seed", type=int, default=-1, help="for what is drawn at random (default: the recipe's own)")
    run.add_argument(
        "--data", default="", help="data root (default: PADIM_NB_DATA, data/mvtec_anomaly_detection, else the twin)"
    )
    run.add_argument("--weights", default="", help="'random', 'imagenet' or a file (default: the recipe's own)")
    run.add_argument("--out", default="", help="folder for the results (runs/CATEGORY/RECIPE)")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--steps", type=int, default=0, help="of EfficientAD's training (default: the recipe's own)")
    run.add_argument("--penalty", default="", help="EfficientAD's penalty pictures: a folder, 'bank' or 'none'")
    run.set_defaults(call=_run)

    recipes = verbs.add_parser("recipes", help="the named recipes and what each reproduces")
    recipes.set_defaults(call=_recipes)

    compare = verbs.add_parser("compare", help="published tables beside measured records, row by row")
    compare.add_argument("records", nargs="*", type=Path, help="folders with records (default: runs, data/records)")
    compare.add_argument("--metric", default="image_auroc", help="image_auroc, pixel_auroc, aupro or image_f1")
    compare.add_argument("--recipes", nargs="*", default=None, help="only these")
    compare.add_argument("--format", default="markdown", help="markdown or csv")
    compare.set_defaults(call=_compare)


def _add_model(verbs: argparse._SubParsersAction) -> None:
    score = verbs.add_parser("score", help="score new images with a saved detector: maps, overlays, one line a picture")
    score.add_argument("model", type=Path)
    score.add_argument("images", nargs="+", type=Path)
    score.add_argument(
        "--out", type=Path, default=None, help="folder for maps and overlays (none are written without it)"
    )
    score.add_argument("--device", default="auto")
    score.set_defaults(call=_score)

    export = verbs.add_parser("export", help="a saved detector as one ONNX graph, checked against torch")
    export.add_argument("model", type=Path)
    export.add_argument("target", type=Path)
    export.set_defaults(call=_export)

    pretrain = verbs.add_parser("pretrain", help="train noisenet18, the backbone that never saw a photograph")
    _add_training(pretrain, Path("runs/noisenet18"))
    pretrain.set_defaults(call=_pretrain)

    distill = verbs.add_parser("distill", help="distil an EfficientAD teacher from a backbone")
    distill.add_argument("--size", default="small", help="small or medium")
    distill.add_argument("--backbone", default="wide_resnet101_2", help="who teaches (default: as in the paper)")
    distill.add_argument("--weights", default="", help="of the backbone: 'imagenet', 'shipped' or a file")
    distill.add_argument("--source", default="bank", help="pictures: the procedural 'bank', or a folder of images")
    distill.add_argument("--pictures", type=int, default=4096, help="how many of them (4096)")
    distill.add_argument("--side", type=int, default=256, help="pixels the teacher sees; the backbone sees twice (256)")
    _add_training(distill, None)
    distill.set_defaults(call=_distill)

    weights = verbs.add_parser("weights", help="network weights: list them, or get one (needs a network)")
    verbs = weights.add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="what is known and what is here")
    listing.set_defaults(call=_weights_list)
    get = verbs.add_parser("get", help="download one file, checked by its hash")
    get.add_argument("name")
    get.set_defaults(call=_weights_get)


def _add_training(verb: argparse.ArgumentParser, out: Path | None) -> None:
    length = verb.add_mutually_exclusive_group(required=out is not None)
    length.add_argument("--minutes", type=float, default=0, help="train for so long on whatever is there")
    length.add_argument("--steps", type=int, default=0, help="train for exactly so many steps")
    verb.add_argument("--out", type=Path, default=out, help="folder for weights, card and checkpoint")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--device", default="auto")


def _data_status(_: argparse.Namespace) -> None:
    from .check import status

    print(status())
    print(f"\n{LICENCE}")


def _data_render(arguments: argparse.Namespace) -> None:
    from .counts import CATEGORIES
    from .twin import ensure, part

    if not 64 <= arguments.size <= 4096:
        raise PadimError(f"--size must be between 64 and 4096 pixels, not {arguments.size}")
    chosen = arguments.categories or CATEGORIES
    for name in chosen:
        part(name)  # refuse a wrong name before the first picture
    for name in chosen:
        print(ensure(name, arguments.kind, arguments.size, arguments.seed, arguments.workers), flush=True)


def _data_check(arguments: argparse.Namespace) -> int:
    from .check import check

    report = check(arguments.root)
    print(report)
    return 0 if report.ok else 1


def _data_extract(arguments: argparse.Namespace) -> None:
    from .archive import extract

    print(LICENCE)
    print(extract(arguments.archive, arguments.into, arguments.sha256))


def _data_sheets(arguments: argparse.Namespace) -> None:
    from .sheets import write_sheets

    for path in write_sheets(arguments.folder):
        print(path)


_RUN = ("category", "seed", "data", "weights", "out", "device", "steps", "penalty")


def _run(arguments: argparse.Namespace) -> None:
    from . import runs
    from .mvtec import load_category

    given = {name: getattr(arguments, name) for name in _RUN}
    settings = runs.Settings(**given, **({"recipe": arguments.recipe} if arguments.recipe else {}))
    category = load_category(settings.category, settings.data or None)  # here, so that rendering shows its progress
    notebook, html = runs.execute(settings)
    print(runs.summary(notebook.parent / "record.json"))
    print(f"\ndata      {category.source}: {category.root}")
    for name, path in (("notebook", notebook), ("page", html), ("record", notebook.parent / "record.json")):
        print(f"{name:9} {os.path.relpath(path)}")


def _recipes(_: argparse.Namespace) -> None:
    from .recipes import table

    print(table())


def _compare(arguments: argparse.Namespace) -> None:
    from .compare import comparison, render

    folders = arguments.records or [path for path in (Path("runs"), Path("data/records")) if path.is_dir()]
    print(render(comparison(folders, arguments.metric, arguments.recipes), arguments.format))


def _score(arguments: argparse.Namespace) -> None:
    from .scoring import score_files

    for line in score_files(arguments.model, arguments.images, arguments.out, arguments.device):
        print(line, flush=True)


def _export(arguments: argparse.Namespace) -> None:
    from .detectors import load
    from .export import export

    print(export(load(arguments.model), arguments.target))


def _pretrain(arguments: argparse.Namespace) -> None:
    from .devices import has_fast_bf16, pick_device
    from .pretrain import Pretraining, pretrain

    device = pick_device(arguments.device)
    on_gpu = {"batch": 512, "renders": 4, "side": 256, "small": 128, "large": 128} if device != "cpu" else {}
    settings = Pretraining(seed=arguments.seed, bf16=has_fast_bf16(device), **on_gpu)
    print(pretrain(arguments.out, settings, arguments.minutes, arguments.steps, device))


def _distill(arguments: argparse.Namespace) -> None:
    from .devices import has_fast_bf16, pick_device
    from .distill import Distillation, distill
    from .teachers import distilled

    device = pick_device(arguments.device)
    settings = Distillation(
        size=arguments.size,
        backbone=arguments.backbone,
        weights=arguments.weights,
        source=arguments.source,
        pictures=arguments.pictures,
        side=arguments.side,
        seed=arguments.seed,
        bf16=has_fast_bf16(device),
    )
    steps = arguments.steps or (0 if arguments.minutes else 60_000)
    print(distill(arguments.out or distilled(arguments.size).parent, settings, arguments.minutes, steps, device))


def _weights_list(_: argparse.Namespace) -> None:
    from .weights import table

    print(table())


def _weights_get(arguments: argparse.Namespace) -> None:
    from .weights import get

    print(get(arguments.name))


if __name__ == "__main__":
    sys.exit(main())
