"""What a person may type wrong, and the one line that answers it: exit code 2, the words, no traceback, no output."""

import pytest

from padim_nb.cli import main

MODEL = "is not a whole model file of padim-nb"
# {w} is the world of broken files, {t} an empty folder.
FAULTS = [
    # run
    ("run cabel --data twin", "did you mean 'cable'"),
    ("run widgte --data {w}/root", "did you mean 'widget'"),
    ("run ../../x", "plain name"),
    ("run /etc --data {w}/root", "plain name"),
    ("run wid\nget --data {w}/root", "plain name"),
    ("run wid:get --data {w}/root", "plain name"),
    ("run .. --data {w}/root", "plain name"),
    ("run widget --recipe padim-gabro --data {w}/root", "did you mean 'padim-gabor'"),
    ("run widget --data /no/such/folder", "/no/such/folder is not a folder"),
    ("run widget --data {w}/ok.png", "ok.png is not a folder"),
    ("run widget --data {w}/nothing", "holds no category: expected"),
    ("run widget --data {w}/hollow", "no images in"),
    ("run widget --data {w}/maskless", "001.png has no mask: put it at"),
    ("run cable --data twin:huge", "no twin of kind 'huge'"),
    ("run widget --data {w}/root --seed -7", "seed: "),
    ("run widget --data {w}/root --steps -1", "steps: "),
    ("run widget --data {w}/root --out {w}/ok.png", "a file is in the way"),
    ("run widget --data {w}/root --out {w}/ok.png/x", "a file is in the way"),
    # score
    ("score {w}/none.safetensors {w}/ok.png", "no model file"),
    ("score {w}/nothing {w}/ok.png", "no model file"),
    *((f"score {{w}}/{name}.safetensors {{w}}/ok.png", MODEL) for name in ("cut", "text", "empty", "long", "foreign")),
    *((f"score {{w}}/{name}.safetensors {{w}}/ok.png", MODEL) for name in ("nojson", "nosettings", "nogrids")),
    *((f"score {{w}}/{name}.safetensors {{w}}/ok.png", MODEL) for name in ("size", "threshold", "grids", "dimensions")),
    *((f"score {{w}}/{name}.safetensors {{w}}/ok.png", MODEL) for name in ("shape", "lost", "whole-numbers")),
    ("score {w}/extra.safetensors {w}/ok.png", "extra.safetensors is a model file of another version: "),
    ("score {w}/list.safetensors {w}/ok.png", "is of format []"),
    ("score {w}/word.safetensors {w}/ok.png", "is of format 'padim'"),
    ("score {w}/format.safetensors {w}/ok.png", "is of format 'padim-nb/padim/9'"),
    ("score {w}/backbone.safetensors {w}/ok.png", "did you mean 'gabor'"),
    ("score {w}/frame.safetensors {w}/ok.png", "frame.resize.0: input should be greater"),
    ("score {w}/weights.safetensors {w}/ok.png", "was fitted with the weights other"),
    ("score {w}/nan.safetensors {w}/ok.png", "the maps are not finite"),
    ("score {w}/model.safetensors {w}/none.png", "none.png does not exist"),
    ("score {w}/model.safetensors {w}/nothing", "no images in"),
    ("score {w}/model.safetensors {w}/broken.png", "broken.png is not a readable image"),
    ("score {w}/model.safetensors {w}/empty.png", "empty.png is not a readable image"),
    ("score {w}/model.safetensors {w}/text.png", "text.png is not a readable image"),
    ("score {w}/model.safetensors {w}/vast.png", "vast.png is not a readable image"),
    ("score {w}/model.safetensors {w}/ok.png {w}/ok.png --out {t}", "two images would both be written as"),
    ("score {w}/model.safetensors {w}/one/same.png {w}/two/one/same.png --out {t}", "two images would both be"),
    ("score {w}/model.safetensors {w}/ok.png --out {w}/text.png", "a file is in the way"),
    ("score {w}/model.safetensors {w}/ok.png --device gpu", "'gpu'"),
    # export
    ("export {w}/none.safetensors {t}/x.onnx", "no model file"),
    ("export {w}/cut.safetensors {t}/x.onnx", MODEL),
    ("export {w}/model.safetensors {w}/nothing", "a folder is in the way"),
    ("export {w}/model.safetensors {w}/ok.png/x.onnx", "a file is in the way"),
    # data
    ("data render cabel", "did you mean 'cable'"),
    ("data render cable --size 3", "--size must be between"),
    ("data render cable --workers 0", "--workers must be 1 or more"),
    ("data render cable --workers -1", "--workers must be 1 or more"),
    ("data check /no/such/folder", "is not a folder"),
    ("data check {w}/nothing", "holds no category"),
    ("data extract /no/such/archive", "no archive"),
    ("data extract {w}/ok.png --into {t}", "is not a whole tar archive"),
    ("data extract {w}/empty.png --into {t}", "is not a whole tar archive"),
    ("data extract {w}/nothing --into {t}", "no archive"),
    ("data sheets {w}/ok.png", "a file is in the way"),
    # sweep, compare, figures
    ("sweep --recipes padim-gabro --out {t}", "did you mean 'padim-gabor'"),
    ("sweep --recipes padim-gabor --seeds x --out {t}", "--seeds takes numbers"),
    ("sweep --recipes padim-gabor --seeds 4-1 --out {t}", "--seeds takes numbers"),
    ("sweep --recipes padim-gabor --workers -1 --out {t}", "--workers must be"),
    ("sweep --recipes padim-gabor --cores -1 --out {t}", "--cores must be 1 to"),
    ("sweep --recipes padim-gabor --cores 100000 --out {t}", "--cores must be 1 to"),
    ("sweep --recipes padim-gabor --categories widget --data {w}/root --out {w}/ok.png", "a file is in the way"),
    ("compare {w}/none", "no folder of records"),
    ("compare {w}/records --metric accuracy", "no metric 'accuracy'"),
    ("compare {w}/records --recipes padim", "no recipe 'padim'"),
    ("compare {w}/records --format html", "no format 'html'"),
    *((f"compare {{w}}/records-{name}", "is not a readable record") for name in ("cut", "deep", "bytes")),
    ("compare {w}/records-word", "(Record: metrics.image_auroc: "),
    ("compare {w}/records-infinite", "(Record: metrics.image_auroc: "),
    ("compare {w}/records-seedless", "(Record: seed: "),
    ("compare {w}/records-vast", "(Record: seed: "),
    ("compare {w}/records-lines", "(Record: category: holds characters"),
    ("figures {w}/none --out {t}", "none"),
    ("figures {w}/nothing --out {t}", "no finished run"),
    # weights and trainings
    ("weights get resnet81", "did you mean 'resnet18'"),
    ("distill --steps 1 --backbone efficientnet-lite0 --out {w}/ok.png", "a file is in the way"),
    ("distill --minutes -1 --backbone efficientnet-lite0 --out {t}", "minutes"),
    ("distill --steps 1 --set rat=1 --out {t}", "did you mean 'rate'"),
    ("distill --steps 1 --set rate --out {t}", "given as NAME=VALUE"),
    ("distill --steps 1 --set rate=fast --out {t}", "rate: input should be a valid number"),
    ("distill --steps 1 --backbone efficientnet-lite0 --set bf16=maybe --out {t}", "bf16: input should be"),
    ("distill --steps 1 --device gpu --out {t}", "'gpu'"),
    ("distill --steps 1 --size huge --out {t}", "no size 'huge'"),
    ("distill --steps 1 --backbone resnet81 --out {t}", "did you mean 'resnet18'"),
    ("distill --steps 1 --backbone efficientnet-lite0 --source /no/such --out {t}", "no source folder /no/such"),
    ("distill --steps 1 --backbone efficientnet-lite0 --source none --out {t}", "no source folder none"),
    ("distill --steps 1 --backbone efficientnet-lite0 --images 0 --out {t}", "images: input should be"),
    ("distill --steps 1 --backbone efficientnet-lite0 --side 0 --out {t}", "side: input should be"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "words"), FAULTS, ids=[typed.replace("\n", " ")[:70] for typed, _ in FAULTS])
def test_one_line_and_exit_code_2(typed, words, world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(world.rglob("*"))
    into = tmp_path / "out"
    into.mkdir()
    code = main([part.format(w=world, t=into) for part in typed.split(" ")])
    error = capsys.readouterr().err
    lines = [line for line in error.split("\r")[-1].splitlines() if line.strip()]
    assert code == 2, error
    assert words in error
    assert len(lines) == 1 and lines[0].startswith("padim-nb: "), error
    assert "Traceback" not in error
    assert sorted(world.rglob("*")) == before, "something was written beside the inputs"
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".onnx", ".npy", ".png", ".json")]


@pytest.mark.parametrize(
    "typed",
    ["", "nonsense", "run", "score", "score x", "data", "data render --lite --full", "data render --size x", "sweep",
     "distill --steps 1 --minutes 1", "run cable --seed x", "compare --nonsense", "weights"],
)  # fmt: skip
def test_what_cannot_be_parsed_shows_the_usage(typed, capsys):
    with pytest.raises(SystemExit) as left:
        main(typed.split())
    assert left.value.code == 2
    assert "usage: padim-nb" in capsys.readouterr().err
