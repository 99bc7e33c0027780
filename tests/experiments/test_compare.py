"""Published tables: what does not add up is found; measured records stand beside them, the twin's never do."""

import json
import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from padim_nb.cli import main
from padim_nb.errors import DataError, OptionError
from padim_nb.experiments.compare import METRICS, Line, _verdict, comparison, render, unmeasured
from padim_nb.experiments.costs import costs, price
from padim_nb.experiments.published import Row, row, rows
from padim_nb.experiments.recipes import RECIPES, settings_of
from padim_nb.experiments.record import plain, records
from padim_nb.util.mvtec_counts import CATEGORIES, published


def write_record(folder, recipe="padim-r18-rd100", category="screw", seed=0, value=0.75, data="folder", **changes):
    images = published()[category].images
    record = {
        "recipe": recipe,
        "category": category,
        "seed": seed,
        "data": {"name": data},
        "metrics": {"image_auroc": value, "pixel_auroc": None, "aupro": 0.5, "image_f1max": 0.8, "pixel_f1max": 0.4},
        "n_train": images.train,
        "n_test": images.test,
        "settings": plain(settings_of(recipe, seed=seed)),
        "weights": {"name": "resnet18-f37072fd.pth", "sha256": "f37072fd", "source": "imagenet"},
    } | changes
    path = folder / f"{recipe}-{category}-{seed}-{data.replace(':', '')}" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    return path


def test_every_published_row_knows_its_categories():
    assert len(rows()) > 50
    for each in rows():
        assert set(each.values) <= {*CATEGORIES, "mean_textures", "mean_objects", "mean_all"}
    assert row("padim-efficientnet-pytorch", "image_auroc", "R18-Rd100").values["screw"] == 0.745
    assert Row("a", "b", "c", {"carpet": 1.0}).mean() is None


def test_every_recipe_that_names_a_row_names_one_that_exists():
    known = {(each.source, each.name) for each in rows()}
    named = {(each.source, each.row) for each in RECIPES.values() if each.source}
    assert named - known == {("padim-efficientnet-pytorch", f"Effi-B4, {at} blocks") for at in ("middle", "last")}


def test_a_measured_figure_stands_beside_the_published_one_with_its_spread(tmp_path):
    for seed, value in enumerate((0.74, 0.75, 0.76)):
        write_record(tmp_path, seed=seed, value=value)
    lines = comparison([tmp_path], "image_auroc", ["padim-r18-rd100"])
    screw = next(line for line in lines if line.category == "screw")
    assert (screw.published, screw.mean, screw.verdict) == (0.745, 0.75, "reproduced")
    assert screw.spread == pytest.approx(0.01)
    assert screw.difference == pytest.approx(0.005)
    others = [line for line in lines if line.category != "screw"]
    assert {line.verdict for line in others} == {"not measured"}
    assert others[-1].category == "mean of 15"
    assert others[-1].published == pytest.approx(0.9055, abs=1e-3)


def test_what_is_not_measured_has_a_command_and_a_price(tmp_path, capsys):
    write_record(tmp_path, "padim-r18-anomalib")
    lines = comparison([tmp_path])
    told = unmeasured(lines)
    assert len(told) == len({line.recipe for line in lines if line.verdict == "not measured"}) > 10
    assert any("padim-nb sweep --recipes padim-wr50-rd550 --data" in line for line in told)
    for line in told:
        assert re.search(r"about \d+ (seconds|minutes|hours|days) and \d+\.\d GB a category on \d+ cores of ", line)
    assert main(["compare", str(tmp_path)]) == 0
    assert told[0] in capsys.readouterr().out


def test_every_recipe_has_a_price_and_one_that_is_not_known_says_so():
    assert set(costs()) == set(RECIPES)
    assert price("padim-r34-rd100") == "time and memory not measured"


@pytest.mark.parametrize(
    ("values", "verdict"),  # published is .745
    [
        ([0.70], "one seed, 0.045 lower"),
        ([0.745], "one seed, 0.000 lower"),  # near or not: one seed has no interval
        ([0.74, 0.75, 0.76], "reproduced"),
        ([0.744, 0.746, 0.745], "reproduced"),
        ([0.65, 0.84], "reproduced"),
        ([0.60, 0.79], "undecided, 0.695 ± 0.134 over 2 seeds"),  # noise makes no reproduction
        ([0.7, 0.8, 0.79], "undecided, 0.763 ± 0.055 over 3 seeds"),
        ([0.70, 0.701, 0.702], "lower, 0.701 ± 0.001 over 3 seeds"),
        ([0.79, 0.791, 0.789], "higher, 0.790 ± 0.001 over 3 seeds"),
        ([0.749, 0.7491, 0.7489], "higher, 0.749 ± 0.000 over 3 seeds"),  # within .01, and not by chance
        ([0.7454, 0.7454, 0.7454], "reproduced"),  # no seed in it, and .745 to three digits
    ],
)
def test_reproduced_is_what_lies_in_the_interval_of_the_mean_and_near_it(tmp_path, values, verdict):
    for seed, value in enumerate(values):
        write_record(tmp_path, seed=seed, value=value)
    screw = next(line for line in comparison([tmp_path]) if line.category == "screw" and line.measured)
    assert screw.verdict == verdict


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_reproduced_agrees_with_the_t_test(values):
    line = Line("mvtec", "padim-gabor", "screw", 0.745, tuple(values), "")
    mean = statistics.mean(values)
    p = ttest_1samp(values, 0.745).pvalue if max(values) - min(values) > 1e-9 else float(abs(mean - 0.745) < 1e-6)
    if abs(mean - 0.745) <= 0.01 and p >= 0.05:
        assert _verdict(line, recorded=True) == "reproduced"
        assert _verdict(line, recorded=False).startswith("near, ")
    elif abs(mean - 0.745) > 0.0105:
        assert _verdict(line, recorded=True) != "reproduced"


@pytest.mark.parametrize(
    ("recipe", "overrides", "weights", "differs"),
    [
        ("efficientad-s", {"steps": 2}, {"source": "file"}, "steps=2"),
        ("efficientad-s", {"weights": "shipped"}, {"name": "pdn-small", "source": "shipped"}, "weights=pdn-small"),
        ("efficientad-s", {"penalty": "none"}, {"source": "file"}, "penalty=none"),
        ("padim-r18-rd100", {"weights": "random"}, {"name": "random-3", "source": "random"}, "weights=random-3"),
        ("padim-r18-rd100", {"weights": "x.pth"}, {"name": "x.pth", "source": "file"}, "weights=x.pth"),
        ("padim-r18-rd100", {"weights": "x.pth"}, {"name": "x.pth", "source": "imagenet"}, ""),  # a published hash
        ("efficientad-s-nelson1425", {"penalty": "/imagenet"}, {"name": "own.pth", "source": "nelson1425"}, ""),
        ("efficientad-s-nelson1425", {"penalty": "imagenette"}, {"source": "nelson1425"}, ""),
        ("efficientad-s-nelson1425", {"penalty": "/x"}, {"name": "own.pth", "source": "file"}, "weights=own.pth"),
        ("efficientad-s-nelson1425", {"weights": "anomalib"}, {"name": "a.pth", "source": "anomalib"}, "weights=a.pth"),
        ("efficientad-s-nelson1425", {"penalty": "none"}, {"source": "nelson1425"}, "penalty=none"),
        ("padim-gabor", {}, {"name": "formula", "source": "formula"}, ""),
        ("padim-random", {}, {"name": "random-3", "source": "random"}, ""),
    ],
)
def test_a_run_with_other_settings_than_its_recipe_is_not_judged_beside_the_published_row(
    tmp_path, recipe, overrides, weights, differs
):
    settings = plain(settings_of(recipe, seed=3, **overrides))
    write_record(tmp_path, recipe, seed=3, settings=settings, weights=weights)
    (line,) = [line for line in comparison([tmp_path], recipes=[recipe]) if line.measured]
    if differs:
        assert (line.published, line.difference) == (None, None)
        assert line.verdict == f"other settings: {differs}"
        assert differs in render([line])
    else:
        assert "other settings" not in line.verdict


def test_every_setting_but_the_seed_counts(tmp_path):
    settings = plain(settings_of("padim-r18-rd100", seed=5))
    settings["frame"]["crop"] = None
    write_record(tmp_path, seed=5, settings=settings)
    write_record(tmp_path, seed=6, value=0.745)
    lines = {line.verdict: line for line in comparison([tmp_path], recipes=["padim-r18-rd100"]) if line.measured}
    assert set(lines) == {"other settings: crop=None", "one seed, 0.000 lower"}
    assert lines["one seed, 0.000 lower"].measured == (0.745,)


def test_an_older_record_is_read_and_its_verdict_says_that_settings_are_not_recorded(tmp_path):
    path = write_record(tmp_path, value=0.745)
    values = json.loads(path.read_text())
    del values["settings"], values["weights"]["source"]
    path.write_text(json.dumps(values))
    (line,) = [line for line in comparison([tmp_path], recipes=["padim-r18-rd100"]) if line.measured]
    assert (line.published, line.verdict) == (0.745, "one seed, 0.000 lower (settings not recorded)")
    write_record(tmp_path / "newer", value=0.6)  # of the same seed, with settings: this one counts
    (line,) = [line for line in comparison([tmp_path], recipes=["padim-r18-rd100"]) if line.measured]
    assert (line.measured, line.verdict) == ((0.6,), "one seed, 0.145 lower")


def test_an_older_record_of_another_number_of_steps_is_known_by_its_facts(tmp_path):
    write_record(tmp_path, "efficientad-s", settings=None, facts={"steps": 2})
    (line,) = [line for line in comparison([tmp_path], recipes=["efficientad-s"]) if line.measured]
    assert line.verdict == "other settings: steps=2"


def test_every_record_of_this_repository_is_read():
    folder = Path(__file__).parents[2] / "data" / "records"
    assert len(records([folder])) >= 60
    assert all(str(record) for record in records([folder]))


def test_the_mean_needs_all_fifteen_with_the_same_seed(tmp_path):
    for number, category in enumerate(CATEGORIES):
        write_record(tmp_path, category=category, value=0.8 + 0.01 * number)
    write_record(tmp_path, category="zipper", seed=1, value=0.1)
    mean = comparison([tmp_path], recipes=["padim-r18-rd100"])[-1]
    assert mean.measured == (pytest.approx(statistics.mean(0.8 + 0.01 * n for n in range(15))),)


def test_records_of_a_twin_of_another_seed_are_not_averaged_with_the_twins(tmp_path):
    write_record(tmp_path, value=0.9, data="twin")
    write_record(tmp_path, value=0.5, data="twin:seed=7")
    lines = comparison([tmp_path], "image_auroc", ["padim-r18-rd100"])
    assert {line.data: line.measured for line in lines if line.measured} == {"twin": (0.9,), "twin:seed=7": (0.5,)}
    assert all(line.published is None for line in lines if line.measured)


def test_records_of_the_twin_and_of_other_folders_stand_beside_no_published_figure(tmp_path):
    write_record(tmp_path, data="twin:lite")
    write_record(tmp_path, n_train=3)
    lines = comparison([tmp_path], recipes=["padim-r18-rd100"])
    measured = {line.data: line for line in lines if line.measured}
    assert set(measured) == {"twin", "own"}
    assert all(line.published is None and line.verdict == "nothing published" for line in measured.values())


def test_the_table_is_written_as_markdown_and_csv(tmp_path, capsys):
    write_record(tmp_path)
    lines = comparison([tmp_path], recipes=["padim-r18-rd100"])
    assert "| mvtec | padim-r18-rd100 | screw | 0.745 | 0.750 |  | 1 | +0.005 | one seed, 0.005 higher |" in render(
        lines
    )
    assert 'mvtec,padim-r18-rd100,screw,0.745,0.750,,1,+0.005,"one seed, 0.005 higher"' in render(lines, "csv")
    assert main(["compare", str(tmp_path), "--recipes", "padim-r18-rd100", "--format", "csv"]) == 0
    assert "screw,0.745,0.750" in capsys.readouterr().out
    for metric in METRICS:
        assert comparison([tmp_path], metric)


def test_bad_input_is_refused_with_one_line(tmp_path):
    with pytest.raises(DataError, match="no folder of records"):
        comparison([tmp_path / "none"])
    for bad, error in (("metric", "no metric"), ("recipe", "no recipe"), ("format", "no format")):
        with pytest.raises(OptionError, match=error):
            if bad == "format":
                render([], "html")
            else:
                comparison([tmp_path], *(["accuracy"] if bad == "metric" else ["image_auroc", ["padim"]]))
    path = write_record(tmp_path)
    whole = path.read_text()
    for text in ("{", whole.replace("0.75", '"x"'), whole.replace('"seed": 0', '"seed": null'), "[" * 5000):
        path.write_text(text)
        with pytest.raises(DataError, match="remove it, or run again"):
            records([tmp_path])
    path.write_text('{"rows": []}')
    assert records([tmp_path]) == []


def test_recipes_say_where_they_differ_in_the_list_and_beside_the_table(tmp_path, capsys):
    write_record(tmp_path, "efficientad-s-anomalib")
    told = RECIPES["efficientad-s-anomalib"].deviations
    assert any("good test images" in deviation for deviation in told)
    assert any(
        "ImageNet" in deviation for name in ("efficientad-s", "efficientad-m") for deviation in RECIPES[name].deviations
    )
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(f"differs: {d}\n" in listed for recipe in RECIPES.values() for d in recipe.deviations)
    assert main(["compare", str(tmp_path), "--recipes", "efficientad-s-anomalib", "padim-r18-rd100"]) == 0
    shown = capsys.readouterr().out
    assert f"efficientad-s-anomalib differs: {'; '.join(told)}" in shown
    assert "padim-r18-rd100 differs" not in shown
    assert main(["compare", str(tmp_path), "--metric", "pixel_f1", "--format", "csv"]) == 0
    assert "differs" not in capsys.readouterr().out


def test_the_pixel_f1_is_compared(tmp_path):
    write_record(tmp_path, "padim-gabor", metrics={"image_auroc": 0.5, "pixel_f1max": 0.4})
    (line,) = [line for line in comparison([tmp_path], "pixel_f1", ["padim-gabor"]) if line.measured]
    assert line.measured == (0.4,)
