"""What each command of `padim-nb` does: it calls the package and prints the result. Modules load when first needed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .errors import PadimError

LICENSE = """\
MVTec AD (P. Bergmann et al.) is licensed by its authors under CC BY-NC-SA 4.0: no commercial use. It is not part of
this project. Get it from the MVTec AD page of MVTec's web site (www.mvtec.com, company, research, datasets), then:
padim-nb data extract ARCHIVE. More in data/README.md."""


def data_status(_: argparse.Namespace) -> None:
    from .data.check import status

    print(status())
    print(f"\n{LICENSE}")


def data_render(arguments: argparse.Namespace) -> None:
    from .twin import ensure, part
    from .util.mvtec_counts import CATEGORIES

    if not 64 <= arguments.size <= 4096:
        raise PadimError(f"--size must be between 64 and 4096 pixels, not {arguments.size}")
    if arguments.workers is not None and arguments.workers < 1:
        raise PadimError(f"--workers must be 1 or more, not {arguments.workers}")
    chosen = arguments.categories or CATEGORIES
    for name in chosen:
        part(name)  # refuse a wrong name before the first image
    for name in chosen:
        print(ensure(name, arguments.kind, arguments.size, arguments.seed, arguments.workers), flush=True)


def data_check(arguments: argparse.Namespace) -> int:
    from .data.check import check

    report = check(arguments.root)
    print(report)
    return 0 if report.ok else 1


def data_extract(arguments: argparse.Namespace) -> None:
    from .data.archive import extract

    print(LICENSE)
    print(extract(arguments.archive, arguments.into, arguments.sha256))


def data_sheets(arguments: argparse.Namespace) -> None:
    from .plots.sheets import write_sheets

    for path in write_sheets(arguments.folder):
        print(path)


_RUN = ("category", "seed", "data", "weights", "out", "device", "steps", "penalty")


def run(arguments: argparse.Namespace) -> None:
    from .data.mvtec import load_category
    from .experiments import run as runs
    from .experiments.record import read_record

    given = {name: getattr(arguments, name) for name in _RUN}
    settings = runs.RunSettings(**given, **({"recipe": arguments.recipe} if arguments.recipe else {}))
    category = load_category(settings.category, settings.data or None)  # here, so that rendering shows its progress
    notebook, html = runs.execute(settings)
    print(read_record(notebook.parent / "record.json"))
    print(f"\ndata      {category.source}: {category.root}")
    for name, path in (("notebook", notebook), ("page", html), ("record", notebook.parent / "record.json")):
        print(f"{name:9} {os.path.relpath(path)}")


def recipes(_: argparse.Namespace) -> None:
    from .experiments.recipes import table

    print(table())


def sweep(arguments: argparse.Namespace) -> int:
    from .experiments.sweep import plan, seeds_in, sweep
    from .util.mvtec_counts import CATEGORIES

    a = arguments
    categories = CATEGORIES if a.categories == ["all"] else a.categories
    common = {name: getattr(a, name) for name in ("data", "weights", "penalty", "device", "steps")}
    for name in ("data", "weights", "penalty"):
        if common[name] and Path(common[name]).exists():
            common[name] = str(Path(common[name]).absolute())
    runs = plan(a.recipes, categories, seeds_in(a.seeds), a.out, **common)
    outcomes = sweep(runs, a.out, a.workers, a.scheduler, log=lambda line: print(line, flush=True), cores=a.cores)
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    print(f"{len(outcomes) - failed} of {len(runs)} runs are done" + (f", {failed} failed" if failed else ""))
    return 1 if failed else 0


def figures(arguments: argparse.Namespace) -> None:
    from .experiments.showcase import finished, showcase

    showcase(finished(arguments.runs, arguments.data), arguments.out, log=lambda path: print(path, flush=True))


def compare(arguments: argparse.Namespace) -> None:
    from .experiments.compare import comparison, render, unmeasured

    folders = arguments.records or [path for path in (Path("runs"), Path("data/records")) if path.is_dir()]
    lines = comparison(folders, arguments.metric, arguments.recipes)
    print(render(lines, arguments.format))
    if arguments.format == "markdown":
        print("", *unmeasured(lines), sep="\n")


def score(arguments: argparse.Namespace) -> None:
    from .deploy.scoring import score_files

    for line in score_files(arguments.model, arguments.images, arguments.out, arguments.device, arguments.weights):
        print(line, flush=True)


def export(arguments: argparse.Namespace) -> None:
    from .deploy.export import export
    from .detectors import load

    print(export(load(arguments.model, arguments.weights, arguments.device), arguments.target))


def distill(arguments: argparse.Namespace) -> None:
    from .efficientad.checkpoints import changed
    from .efficientad.distillation import Distillation, distill
    from .util.devices import has_fast_bf16, pick_device

    device = pick_device(arguments.device)
    given = {name: getattr(arguments, name) for name in ("size", "backbone", "weights", "images", "side", "seed")}
    settings = Distillation(source=tuple(arguments.source), bf16=has_fast_bf16(device), **given)
    steps = arguments.steps or (0 if arguments.minutes else 60_000)
    print(distill(arguments.out, changed(settings, arguments.set), arguments.minutes, steps, device))


def weights_list(_: argparse.Namespace) -> None:
    from .features.weights import table

    print(table())


def weights_get(arguments: argparse.Namespace) -> None:
    from .features.weights import get

    print(get(arguments.name))
