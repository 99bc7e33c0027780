"""The readers in C++ and C# that the book prints: compiled and run beside Python, on photographs of any size."""

import base64
import csv
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from built import ROOT
from PIL import Image

from padim_nb import load_category
from padim_nb.data.images import Frame
from padim_nb.deploy.export import export
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection

# ONNX Runtime's C++ headers and C# sources: both lie in its plugin for Unity, which is an npm package.
PACKAGE = "com.github.asus4.onnxruntime@0.4.9"
INTEGRITY = "BkzxduSZ9IkeDP6Q8lz2TFU2ie7hSSvS7ZIfzMooExoq0CNzJnuuGaUJ7IsojBgqO4ouD1jXah8OYyJbCN29Fg=="
HEADERS = "package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers"
BINDING = "package/Runtime"
FOLDER = ROOT / "_build" / "onnxruntime"
LINE = ROOT / "book" / "line"
SIZES = ((96, 96), (300, 411), (240, 1000), (64, 50))  # smaller than the frame too; no tall one, see `frame.hpp`

# What mono's compiler lacks of C# 8 and later, in words that it knows.
OLDER = (
    (r"\busing var ", "var "),
    (r"\(static (\w+) =>", r"(\1 =>"),
    (r"\b([\w.]+) is not (null|\w+)\)", r"!(\1 is \2))"),
    (r"\bunmanaged\b", "struct"),
    (r"(\w+)(<\w+>)? (\w+) = new\((\w*)\);", r"\1\2 \3 = new \1\2(\4);"),
    (r"(\S+\.Span)\[(\w+)\] = (.*);", r"{ var span = \1; span[\2] = \3; }"),
    (r"stackalloc int\[", "new int["),
    (r"(\w+\[\w+\]) = (\w+\[\w+\]) = ([^;=]+);", r"{ \2 = \3; \1 = \2; }"),
)


@pytest.fixture(scope="module")
def sources():
    """The folder of the package's headers and C# sources, fetched once and checked by its hash."""
    done = FOLDER / PACKAGE
    if not done.is_dir():
        if not (npm := shutil.which("npm")):
            pytest.skip("no npm here: nothing to compile the readers with")
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", "--silent", PACKAGE]
        if subprocess.run(command, cwd=FOLDER, capture_output=True, check=False, timeout=300).returncode:
            pytest.skip(f"npm did not give {PACKAGE}")
        packed = next(FOLDER.glob("*.tgz"))
        content = packed.read_bytes()
        assert base64.b64encode(hashlib.sha512(content).digest()).decode() == INTEGRITY
        scratch = FOLDER / "scratch"
        with tarfile.open(packed) as archive:
            wanted = [m for m in archive if re.match(rf"({HEADERS}|{BINDING})/.*\.(h|cs)$", m.name)]
            archive.extractall(scratch, wanted, filter="data")
        packed.unlink()
        scratch.rename(done)
    return done


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder with the shared library of Python's own onnxruntime under the names that linkers look for."""
    folder = tmp_path_factory.mktemp("library")
    capi = Path(onnxruntime.__file__).parent / "capi"
    found = next(iter(sorted(capi.glob("libonnxruntime.so.*"))), None)
    if found is None:
        pytest.skip("this onnxruntime has no shared library of its own")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture(scope="module")
def cpp(sources, library, tmp_path_factory):
    """The command that runs the reader in C++."""
    if not shutil.which("g++"):
        pytest.skip("no g++ here")
    program = tmp_path_factory.mktemp("cpp") / "verdict"
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-isystem", str(sources / HEADERS)]
    link = ["-L", str(library), "-lonnxruntime", f"-Wl,-rpath,{library}", "-o", str(program)]
    subprocess.run(["g++", *flags, str(LINE / "verdict.cpp"), *link], check=True)
    return [str(program)]


@pytest.fixture(scope="module")
def csharp(sources, library, tmp_path_factory):
    """The command that runs the reader in C#, by mono."""
    if not (shutil.which("mcs") and shutil.which("mono")):
        pytest.skip("no C# compiler here (Debian: mono-mcs, mono-runtime, libmono-cil-dev)")
    folder = tmp_path_factory.mktemp("csharp")
    for path in sorted((sources / BINDING).glob("*.cs")) + sorted((sources / BINDING / "Tensors").glob("*.cs")):
        text = path.read_text(encoding="utf-8-sig")
        for pattern, older in OLDER:
            text = re.sub(pattern, older, text)
        (folder / path.name).write_text(text, encoding="utf-8")
    flags = ["-d:NETSTANDARD2_0", "-langversion:experimental", "-unsafe", "-target:library", "-out:ort.dll"]
    binding = subprocess.run(
        ["mcs", *flags, *(path.name for path in folder.glob("*.cs"))], cwd=folder, capture_output=True, text=True
    )
    assert binding.returncode == 0, binding.stdout + binding.stderr
    ours = [str(LINE / name) for name in ("Verdict.cs", "Frame.cs")]
    subprocess.run(["mcs", "-r:ort.dll", "-out:Verdict.exe", *ours], cwd=folder, check=True)
    return ["env", f"LD_LIBRARY_PATH={library}", "mono", str(folder / "Verdict.exe")]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Noisy images to learn."""
    folder = tmp_path_factory.mktemp("noise") / "train" / "good"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(12):
        image = np.clip(rng.normal(120, 25, (96, 96, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{number}.png")
    return load_category(folder.parents[1].name, folder.parents[1]).train


def detector_of(samples, resample="bilinear"):
    settings = PaDiMSettings("gabor", Frame((64, 96), resample=resample), Selection("random", 20, 0))
    return PaDiM.from_settings(settings, "cpu").fit(samples)


@pytest.fixture(scope="module")
def fitted(good):
    """A detector with a threshold that some new photographs are above."""
    detector = detector_of(good)
    detector.calibrate(good, 0.2)
    return detector


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Photographs of several sizes, the last with a white spot, as PPM."""
    folder, rng, paths = tmp_path_factory.mktemp("photographs"), np.random.default_rng(1), []
    for number, (height, width) in enumerate(SIZES):
        image = np.clip(rng.normal(120, 25, (height, width, 3)), 0, 255).astype(np.uint8)
        image[: number * height // 8, : width // 3] = 255
        paths.append(folder / f"{number}.ppm")
        Image.fromarray(image).save(paths[-1])
    return paths


@pytest.mark.parametrize("language", ["cpp", "csharp"])
def test_the_readers_scores_are_pythons(language, fitted, photographs, tmp_path, request):
    command = request.getfixturevalue(language)
    model = export(fitted, tmp_path / "model.onnx")
    done = subprocess.run([*command, str(model), *map(str, photographs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [Path(path).name for _, _, path in rows] == [path.name for path in photographs]
    images = np.stack([fitted.settings.frame.apply(np.asarray(Image.open(path))) for path in photographs])
    scores = fitted.score_images(images).scores
    assert [float(score) for score, _, _ in rows] == pytest.approx(list(scores), rel=1e-4)
    limit = fitted.threshold_.value
    assert [verdict for _, verdict, _ in rows] == ["defective" if score > limit else "good" for score in scores]
    assert len({verdict for _, verdict, _ in rows}) == 2


@pytest.mark.parametrize("language", ["cpp", "csharp"])
def test_a_half_written_photograph_gets_no_verdict(language, fitted, photographs, tmp_path, request):
    command = request.getfixturevalue(language)
    model = export(fitted, tmp_path / "model.onnx")
    half = tmp_path / "half.ppm"
    half.write_bytes(photographs[0].read_bytes()[:-1])
    done = subprocess.run([*command, str(model), str(half)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "half.ppm is not whole" in done.stderr
    os.truncate(half, 0)
    assert subprocess.run([*command, str(model), str(half)], capture_output=True).returncode == 2


@pytest.mark.parametrize("language", ["cpp", "csharp"])
def test_a_model_of_another_frame_or_without_a_threshold_is_refused(language, good, photographs, tmp_path, request):
    command = request.getfixturevalue(language)
    other = detector_of(good, "lanczos")
    other.calibrate(good, 0.2)
    for detector in (detector_of(good), other):
        model = export(detector, tmp_path / "model.onnx")
        done = subprocess.run([*command, str(model), str(photographs[0])], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")


def watched(monkeypatch, model, folder, verdicts, act):
    """The rows that the book's loop writes while a camera does `act`."""
    spec = importlib.util.spec_from_file_location("watch", LINE / "watch.py")
    watch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(watch)
    monkeypatch.setattr(watch, "SILENCE", 1.5)
    monkeypatch.setattr(watch, "PATIENCE", 0.5)
    camera = threading.Thread(target=act)
    camera.start()
    watch.watch(model, folder, verdicts, until=time.monotonic() + 4)
    camera.join()
    return list(csv.reader(verdicts.read_text(encoding="utf-8").splitlines()))


def test_the_loop_judges_each_whole_photograph_once_and_says_when_none_come(fitted, photographs, tmp_path, monkeypatch):
    model, folder = export(fitted, tmp_path / "model.onnx"), tmp_path / "camera"
    folder.mkdir()
    Image.open(photographs[0]).save(folder / "of-yesterday.png")
    (tmp_path / "verdicts.csv").write_text("2026-11-30T23:59:59,of-yesterday.png,good,1.0,2.0,000000000000\n")
    Image.open(photographs[1]).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()

    def act():
        with (folder / "slow.png").open("wb") as file:  # a camera that writes in two parts
            file.write(content[: len(content) // 2])
            file.flush()
            time.sleep(0.3)
            file.write(content[len(content) // 2 :])
        (folder / "never.png").write_bytes(content[: len(content) // 2])

    rows = watched(monkeypatch, model, folder, tmp_path / "verdicts.csv", act)[1:]
    judged = {row[1]: row[2] for row in rows if row[1]}
    assert judged.keys() == {"slow.png", "never.png"}
    assert judged["slow.png"] in ("good", "defective") and judged["never.png"] == "unreadable"
    assert [row[1] for row in rows].count("slow.png") == [row[1] for row in rows].count("never.png") == 1
    assert "no photograph" in [row[2] for row in rows]
    assert {row[-1] for row in rows} == {hashlib.sha256(model.read_bytes()).hexdigest()[:12]}
