"""`padim-nb score`: a saved detector over new image files, one line for each, maps and overlays on request."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import Frame, ahead, load_image
from ..data.maps import AnomalyMaps
from ..data.mvtec import ENDINGS, images_in
from ..errors import DataError, ModelError, OptionError, PadimError
from ..evaluation.thresholds import Threshold
from ..util.files import whole_file
from ..util.validation import from_plain

PIXELS = 1 << 20  # of images in a network at once: 16 of 256 x 256
STRENGTH = 0.55  # of the map's color in an overlay


def score_files(
    model: Path, images: Sequence[Path], out: Path | None = None, device: str = "auto", weights: str = ""
) -> Iterator[str]:
    """Score image files with a saved detector.

    Args:
        model: a file that a detector's `save` wrote, or an .onnx file of `export`: that needs no torch.
        images: files, or folders for the images in them.
        out: a folder for <name>_map.npy and <name>_overlay.png; nothing is written without it.
        device: "auto", "cpu", "cuda" or "cuda:1".
        weights: the file of PaDiM's backbone, if it has moved.

    Yields:
        A line for each image: its score, the threshold it is above (>) or not (<=), the verdict, its path. Without a
        calibrated threshold these are "-". The exact p-value stands before the path where the model has it (PaDiM's,
        of up to 100 training images).

    Raises:
        DataError: after all others were scored, where files could not be read; it names them.
    """
    scorer = open_scorer(Path(model), weights, device)
    problems: list[str] = []
    paths = list(_files(images, problems))
    names = dict(zip(paths, _names(paths), strict=True)) if out else {}
    batch = max(1, PIXELS // (scorer.size[0] * scorer.size[1]))
    for readable, framed in _batches(paths, scorer, batch, problems):
        maps = scorer.score_images(framed)
        p_values = (f" p {p:.3f}" for p in (scorer.p_values(framed) if scorer.p_values else ()))
        for image, map_, score, path in zip(framed, maps.maps, maps.scores, readable, strict=True):
            if out:
                _write(out.expanduser(), names[path], image, map_, scorer.threshold)
            line = f"{score:#10.4g} {_verdict(float(score), scorer.threshold)}"
            yield f"{line}{next(p_values, '')}  {path}"
    if problems:
        raise DataError(f"not scored: {'; '.join(problems)}")


@dataclass(frozen=True)
class Scorer:
    """What scoring needs of a detector: frame, (height, width) and scores of framed images, threshold if it has one.

    `p_values` are exact ones of framed images, where the detector has them. `calibration` is where the threshold comes
    from; older ONNX files do not say.
    """

    frame: Frame
    size: tuple[int, int]
    score_images: Callable[[np.ndarray], AnomalyMaps]
    threshold: float | None
    calibration: Threshold | None
    device: str
    p_values: Callable[[np.ndarray], np.ndarray] | None = None


def open_scorer(path: Path, weights: str = "", device: str = "auto", threads: int | None = None) -> Scorer:
    """A detector's file, saved or exported, as something that scores.

    Args:
        path: a file that a detector's `save` wrote, or an .onnx file of `export`: that needs no torch.
        weights: the file of PaDiM's backbone, if it has moved.
        device: "auto", "cpu", "cuda" or "cuda:1".
        threads: of an exported detector, OMP_NUM_THREADS or one for each core where it is None; others have torch's.
    """
    if path.suffix == ".onnx":
        return _exported(path, weights, device, threads)
    return _saved(path, weights, device)


def _saved(path: Path, weights: str, device: str) -> Scorer:
    from ..detectors import load  # an exported detector does without torch
    from ..padim.detector import PaDiM

    detector = load(path, weights, device)
    if detector.size_ is None:
        raise ModelError(f"{path} holds a detector that has not been fitted")
    calibration = detector.threshold_
    threshold = calibration.value if calibration else None
    frame, score_images = detector.settings.frame, detector.score_images
    p_values = detector.p_values_of if isinstance(detector, PaDiM) and detector.has_p_values else None
    return Scorer(frame, detector.size_, score_images, threshold, calibration, detector.device, p_values)


def _exported(path: Path, weights: str, device: str, threads: int | None) -> Scorer:
    import onnxruntime  # of the extra "onnx"

    if weights:
        raise OptionError(f"{path} holds all its weights: leave out {weights!r}")
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    place, _, number = device.partition(":")
    cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if place not in ("auto", "cpu", "cuda") or (place == "cuda" and not cuda):
        raise OptionError(f"onnxruntime has no device {device!r} here: use --device cpu or auto")
    providers: list[object] = ["CPUExecutionProvider"]
    if cuda and place != "cpu":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number or "0"}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0: one for each core
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        facts = json.loads(session.get_modelmeta().custom_metadata_map["padim_nb"])
        frame, threshold = from_plain(Frame, facts["settings"]["frame"]), facts["threshold"]
        calibration = Threshold.of(facts.get("calibration"))
        _, height, width, _ = session.get_inputs()[0].shape
    except Exception as error:  # onnxruntime's have no base class of their own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ModelError(f"{path} is not an ONNX file of `padim-nb export` ({reason}): export it again") from error

    def score_images(framed: np.ndarray) -> AnomalyMaps:
        if framed.shape[1:3] != (height, width):
            own, other = f"{height}x{width}", "x".join(map(str, framed.shape[1:3]))
            raise ModelError(f"this detector was fitted on images of {own}, not {other}: resize them")
        maps, scores = session.run(None, {"images": framed})
        return AnomalyMaps.of(maps, frame, scores).expect_finite()

    used = "cuda" if session.get_providers()[0].startswith("CUDA") else "cpu"
    return Scorer(frame, (height, width), score_images, threshold, calibration, used)


def _verdict(score: float, threshold: float | None) -> str:
    if threshold is None:
        return "-"
    sign, verdict = (">", "defective") if score > threshold else ("<=", "good")
    return f"{sign:>2} {threshold:#.4g}  {verdict:<9}"


def _batches(
    paths: Sequence[Path], scorer: Scorer, batch: int, problems: list[str]
) -> Iterator[tuple[list[Path], np.ndarray]]:
    """Batches of images that can be read, with their paths, decoded ahead; what is wrong with the others is noted."""

    def framed(path: Path) -> np.ndarray | str:
        try:
            image = scorer.frame.apply(load_image(path))
        except PadimError as error:
            return str(error)
        if image.shape[:2] != tuple(scorer.size):
            (height, width), (own_height, own_width) = image.shape[:2], scorer.size
            return f"{path} is {height}x{width} in this frame, the detector was fitted on {own_height}x{own_width}"
        return image

    images: list[np.ndarray] = []
    readable: list[Path] = []
    for path, result in zip(paths, ahead(framed, paths), strict=True):
        if isinstance(result, str):
            problems.append(result)
            continue
        images.append(result)
        readable.append(path)
        if len(images) == batch:
            yield readable, np.stack(images)
            images, readable = [], []
    if images:
        yield readable, np.stack(images)


def _files(images: Sequence[Path], problems: list[str]) -> Iterator[Path]:
    for path in images:
        if path.is_dir():
            files = images_in(path)
            if not files:
                problems.append(f"no images in {path} ({', '.join(ENDINGS)})")
            yield from files
        elif path.is_file():
            yield path
        else:
            problems.append(f"{path} does not exist")


def _names(paths: Sequence[Path]) -> list[str]:
    """Names for the results: the file's own, with its folder before it where that would be ambiguous."""
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else f"{path.parent.name}_{path.stem}" for path in paths]
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise OptionError(f"two images would both be written as {name}: score them in two calls")
    return names


def _write(out: Path, name: str, image: np.ndarray, map_: np.ndarray, threshold: float | None) -> None:
    from matplotlib import colormaps  # of the extra "run": overlays need it, scores do not

    with whole_file(out / f"{name}_map.npy") as scratch:
        np.save(scratch, map_, allow_pickle=False)
    top = threshold * 1.5 if threshold else float(map_.max())
    if image.shape[:2] != map_.shape:  # of a detector whose maps have the size of the images' files
        image = np.asarray(Image.fromarray(image).resize(map_.shape[::-1]))
    share = np.clip(map_ / max(top, 1e-9), 0, 1)[..., None]
    heat = colormaps["inferno"](share[..., 0])[..., :3] * 255
    overlay = image * (1 - STRENGTH * share) + heat * STRENGTH * share
    with whole_file(out / f"{name}_overlay.png") as scratch:
        Image.fromarray(np.clip(overlay, 0, 255).astype(np.uint8)).save(scratch)
