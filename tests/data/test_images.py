"""Pixels exactly as the published recipes had them, from any kind of file; batches, masks and the cache."""

import hashlib
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import write_image, write_mask
from PIL import Image, ImageOps
from torchvision.transforms import v2

from padim_nb import load_category
from padim_nb.data import images
from padim_nb.data.images import Frame, as_images, image_batches, load_image, load_mask, masks, share_cut_off
from padim_nb.data.mvtec import Sample, expect_same_size, header
from padim_nb.errors import DataError, OptionError
from padim_nb.experiments.record import fingerprint
from padim_nb.util.files import cache_root, whole_file
from padim_nb.util.validation import from_plain


@pytest.mark.parametrize("size", [(64, 64), (300, 300), (300, 420), (421, 300), (700, 700)])
def test_lanczos_256_crop_224_is_torchvisions(size):
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    wanted = v2.Compose([v2.Resize(256, v2.InterpolationMode.LANCZOS), v2.CenterCrop(224)])(Image.fromarray(picture))
    assert np.array_equal(Frame(256, 224, "lanczos").apply(picture), np.asarray(wanted))


@pytest.mark.parametrize("size", [(300, 300), (300, 420)])
def test_antialiased_bilinear_is_torchvisions_on_pil(size):
    picture = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    wanted = v2.Resize((256, 256), v2.InterpolationMode.BILINEAR)(Image.fromarray(picture))
    assert np.array_equal(Frame((256, 256)).apply(picture), np.asarray(wanted))


# SHA-256 of what cv2.resize(..., INTER_LINEAR) of opencv-python-headless returned for the same noise, MVTec AD's sizes.
OPENCV = {1024: "18d9fe0d11b9560e", 900: "e1586371663f9f4a", 700: "852b68607f318a71", 840: "3de8a1ea65d803ff"}


def test_aliased_bilinear_is_opencvs_bit_for_bit():
    rng = np.random.default_rng(0)
    frame = Frame((256, 256), resample="bilinear-aliased")
    for side, digest in OPENCV.items():
        noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        assert hashlib.sha256(frame.apply(noise).tobytes()).hexdigest().startswith(digest), side


def test_masks_go_nearest_or_keep_only_what_stays_full():
    mask = np.zeros((300, 300), dtype=bool)
    mask[100:160, 90:200] = True
    wanted = v2.Compose([v2.Resize(256, v2.InterpolationMode.NEAREST), v2.CenterCrop(224)])
    levels = np.asarray(wanted(Image.fromarray(mask.astype(np.uint8) * 255)))
    assert np.array_equal(Frame(256, 224, "lanczos").apply_mask(mask), levels > 127)
    floored = Frame((256, 256), 224, "bilinear-aliased", "bilinear-floor").apply_mask(mask)
    nearest = Frame((256, 256), 224, "bilinear-aliased").apply_mask(mask)
    assert floored.sum() < nearest.sum()
    assert not (floored & ~nearest).any()


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_endings_and_modes(tmp_path, ending, mode):
    path = write_image(tmp_path / f"a.{ending}", (30, 40), mode)
    picture = load_image(path)
    assert picture.shape == (30, 40, 3)
    assert picture.dtype == np.uint8
    if mode == "L":
        assert (picture[..., 0] == picture[..., 2]).all()


def test_alpha_is_dropped_sixteen_bits_are_scaled_palettes_and_turns_are_obeyed(tmp_path):
    rgba = np.dstack([np.full((4, 6, 3), 200, np.uint8), np.zeros((4, 6), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert (load_image(tmp_path / "a.png") == 200).all()
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert load_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 128, 255]
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    assert load_image(tmp_path / "deep.tif")[0, :, 1].tolist() == [0, 1, 128, 255]
    assert load_image(write_image(tmp_path / "p.png", mode="P")).shape == (40, 48, 3)
    turned = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").shape == (6, 4, 3)


def turned(path: Path, pixels: np.ndarray, tag: int) -> Path:
    """An image file with a camera's orientation tag."""
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = tag
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_a_turned_photograph_its_size_and_its_mask_are_read_alike(tmp_path, ending, tag):
    pixels = np.zeros((40, 56, 3), dtype=np.uint8)
    pixels[4:16, 8:40] = 255
    image = turned(tmp_path / f"a.{ending}", pixels, tag)
    shown = load_image(image)
    assert header(image) == shown.shape[1::-1]
    expected = np.asarray(ImageOps.exif_transpose(Image.open(image)).convert("RGB"))
    assert np.array_equal(shown, expected)
    Image.fromarray((shown[..., 0] > 127).astype(np.uint8) * 255).save(tmp_path / "drawn.png")  # as it is shown
    turned(tmp_path / "copied.png", pixels[..., 0], tag)  # as it lies in the file, with the photograph's tag
    for name in ("drawn.png", "copied.png"):
        mask = load_mask(expect_same_size(tmp_path / name, image))
        assert np.array_equal(mask, shown[..., 0] > 127)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "raw.png")
    if tag > 4:
        with pytest.raises(DataError, match="orientation tag turns it" if ending != "tif" else "differ in size"):
            expect_same_size(tmp_path / "raw.png", image)


def truncated(path):
    write_image(path, (200, 200))
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    "spoil", [truncated, lambda p: p.write_text("hello"), lambda p: p.write_bytes(b""), lambda p: None]
)
def test_what_is_no_image_is_named(tmp_path, spoil):
    path = tmp_path / "broken.png"
    spoil(path)
    with pytest.raises(DataError, match=r"broken\.png") as error:
        load_image(path)
    assert "\n" not in str(error.value)


def test_batches_keep_order_and_come_from_the_cache_the_second_time(parts, monkeypatch):
    widget = load_category("widget", parts)
    frame = Frame((32, 48))
    first = np.concatenate(list(image_batches(widget.train, frame, batch=5)))
    assert first.shape == (12, 32, 48, 3)
    assert np.array_equal(first[7], frame.apply(load_image(widget.train[7].image)))
    monkeypatch.setattr(images, "load_image", lambda path: pytest.fail("decoded again"))
    again = np.concatenate(list(image_batches(widget.train, frame, batch=5)))
    assert np.array_equal(first, again)


def test_a_changed_file_and_a_damaged_cache_are_decoded_again(parts):
    widget = load_category("widget", parts)
    frame = Frame((32, 32))
    first = np.concatenate(list(image_batches(widget.train, frame)))
    write_image(widget.train[0].image, (64, 64), seed=9)
    second = np.concatenate(list(image_batches(widget.train, frame)))
    assert not np.array_equal(first[0], second[0])
    for kept in (cache_root() / "images").glob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:500])
    assert np.array_equal(second, np.concatenate(list(image_batches(widget.train, frame))))


@pytest.mark.parametrize("what", ["PIL.__version__", "padim_nb.data.cache.DECODER"])
def test_images_of_another_decoder_are_decoded_again(parts, monkeypatch, what):
    widget = load_category("widget", parts)
    first = np.concatenate(list(image_batches(widget.train, Frame((32, 32)))))
    monkeypatch.setattr(images, "load_image", lambda path: np.zeros((64, 64, 3), np.uint8))
    assert np.array_equal(first, np.concatenate(list(image_batches(widget.train, Frame((32, 32))))))
    monkeypatch.setattr(what, "another")
    assert not np.concatenate(list(image_batches(widget.train, Frame((32, 32))))).any()


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_file_names_that_are_no_utf_8_are_cached_and_hashed(parts):
    place = parts / "widget" / "train" / "good"
    os.rename(place / "000.png", os.fsencode(place) + b"/\xe9.png")
    widget = load_category("widget", parts)
    assert len(np.concatenate(list(image_batches(widget.train, Frame((32, 32)))))) == 12
    assert fingerprint(widget)


def test_a_generator_that_is_left_early_leaves_no_file(parts):
    widget = load_category("widget", parts)
    batches = image_batches(widget.train, Frame((32, 32)), batch=2)
    next(batches)
    batches.close()
    assert not list((cache_root() / "images").iterdir())


def test_mixed_sizes_need_a_fixed_frame(tmp_path):
    samples = [
        Sample(write_image(tmp_path / f"{n}.png", size), 0, "good") for n, size in enumerate([(40, 60), (60, 40)])
    ]
    assert next(image_batches(samples, Frame((32, 32)))).shape == (2, 32, 32, 3)
    with pytest.raises(DataError, match=r"1\.png is 48x32 in this frame where others are 32x48"):
        list(image_batches(samples, Frame(32)))
    with pytest.raises(OptionError, match="cannot cut"):
        list(image_batches(samples, Frame(32, 40)))
    with pytest.raises(OptionError, match="no resample 'cubic'"):
        Frame(32, resample="cubic")


def test_without_a_cache_that_can_be_written_all_goes_on_after_one_warning(parts, tmp_path, monkeypatch):
    samples, frame = load_category("widget", parts).train, Frame((32, 32))
    wanted = np.concatenate(list(image_batches(samples, frame, cache=False)))
    (tmp_path / "file").touch()
    monkeypatch.setenv("PADIM_NB_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="going on without it") as warned:
        assert np.array_equal(np.concatenate(list(image_batches(samples, frame))), wanted)
    assert len(warned) == 1


def test_a_cache_that_fills_the_disk_loses_no_image(parts, tiny_disk, monkeypatch):
    samples, frame = load_category("widget", parts).train, Frame((64, 64))
    monkeypatch.setenv("PADIM_NB_CACHE", str(tiny_disk))
    with pytest.warns(UserWarning, match="No space left"):
        images = np.concatenate(list(image_batches(samples, frame, 5)))
    assert np.array_equal(images, np.concatenate(list(image_batches(samples, frame, cache=False))))
    assert not [path for path in tiny_disk.rglob("*") if path.is_file()]


def test_a_cache_that_can_only_be_read_is_read(parts, monkeypatch):
    samples, frame = load_category("widget", parts).train, Frame((32, 32))
    first = np.concatenate(list(image_batches(samples, frame)))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    assert np.array_equal(np.concatenate(list(image_batches(samples, frame))), first)


@pytest.mark.parametrize("ending", ["tif", "tiff"])
def test_floats_of_0_to_1_are_scaled_and_other_scales_are_refused(tmp_path, ending):
    path = tmp_path / f"float.{ending}"
    Image.fromarray(np.array([[0, 0.25, 0.5, 1]], dtype=np.float32)).save(path)
    assert load_image(path)[0, :, 0].tolist() == [0, 64, 128, 255]
    for values in ([0, 200], [-1, 0], [0, np.nan]):
        Image.fromarray(np.array([values], dtype=np.float32)).save(path)
        with pytest.raises(DataError, match=rf"float\.{ending} holds values .* not 0 to 1: rescale it"):
            load_image(path)
    Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(path)
    with pytest.raises(DataError, match="holds values 0 to 70000, not 0 to 65535"):
        load_image(path)


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "f4", "RGB", "P", "1"])
def test_the_faintest_mark_counts_in_a_mask_of_any_depth(tmp_path, kind):
    marked = np.zeros((5, 6), dtype=bool)
    marked[2, 3:] = True
    if kind == "RGB":
        image = Image.fromarray(np.dstack([marked, marked * 0, marked * 0]).astype(np.uint8))
    elif kind == "P":
        image = Image.fromarray(marked.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 0, 0, 1])
    elif kind == "1":
        image = Image.fromarray(marked)
    else:
        image = Image.fromarray((marked * (1e-3 if kind == "f4" else 1)).astype(kind))
    path = tmp_path / "mask.tif"
    image.save(path)
    assert np.array_equal(load_mask(path), marked)


def png_of_16_bits(path: Path, pixels: np.ndarray) -> Path:
    """A PNG with 16 bits a channel, which Pillow does not write; pixels (height, width, 3 or 4)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("value", [1, 255, 256, 65535])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_color_mask_of_16_bits_marks_whatever_is_not_black(tmp_path, ending, value, channels):
    pixels = np.zeros((5, 6, channels), dtype=np.uint16)
    pixels[2, 3:, 1] = value
    pixels[..., 3:] = 65535
    path = tmp_path / f"mask.{ending}"
    if ending == "png":
        png_of_16_bits(path, pixels)
    else:
        pytest.importorskip("tifffile").imwrite(path, pixels, photometric="rgb", compression="zlib")
    assert np.array_equal(load_mask(path), pixels[..., 1] > 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_in_a_mask_is_not_marked(tmp_path, mode):
    drawn = np.zeros((20, 20), dtype=bool)
    drawn[5:10, 5:10] = True
    path = tmp_path / "mask.png"
    if mode == "P":
        image = Image.fromarray(drawn.astype(np.uint8)).convert("P")
        image.putpalette([255, 255, 255, 255, 255, 255])
        image.save(path, transparency=0)
    else:
        white = np.full((20, 20, 3), 255, np.uint8)
        Image.fromarray(np.dstack([white, drawn.astype(np.uint8) * 255])).convert(mode).save(path)
    assert np.array_equal(load_mask(path), drawn)


@pytest.mark.parametrize("color", [(255, 255, 255), (255, 0, 0)])
def test_a_jpeg_mask_does_not_grow_and_says_what_counts(tmp_path, color):
    drawn = np.zeros((64, 64), dtype=bool)
    drawn[13:30, 18:41] = True
    image = Image.fromarray(drawn[..., None] * np.uint8(color))
    image.save(tmp_path / "mask.jpg", quality=75, subsampling=0)
    with pytest.warns(UserWarning, match=r"mask\.jpg is a JPEG file: what is at least half white"):
        assert np.array_equal(load_mask(tmp_path / "mask.jpg"), drawn)


def test_an_image_of_12_bits_in_16_is_told_once_a_folder_with_its_range(tmp_path, recwarn):
    for number, high in enumerate((4095, 4000, 4096, 65535)):
        values = np.linspace(0, high, 64, dtype=np.uint16).reshape(8, 8)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
        load_image(tmp_path / f"{number}.png")
    (told,) = [str(warning.message) for warning in recwarn]
    assert "0.png holds values 0 to 4095 of 0 to 65535, so that 16 of 256 gray levels are left" in told
    assert "multiply the values of such images by 16" in told


def test_images_in_memory_are_bytes_or_floats_of_0_to_1():
    eight = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    assert as_images(eight) is eight
    eight.flags.writeable = False
    assert as_images(eight).flags.writeable and np.array_equal(as_images(eight), eight)
    for kind in (np.float32, np.float64):
        assert np.array_equal(as_images(eight.astype(kind) / 255), eight)
    for wrong in (eight.astype(np.float32), eight.astype(np.int64), eight[0], np.full((1, 4, 4, 3), np.nan)):
        with pytest.raises(OptionError, match="images in memory must be"):
            as_images(wrong)


def test_a_frame_out_of_a_file_is_checked_too():
    assert from_plain(Frame, {"resize": [256, 300], "crop": None}) == Frame((256, 300))
    for wrong in ({"resize": [0, -4]}, {"resise": 3}, {"resize": 10, "crop": 11}, {"mask_resample": "x"}, []):
        with pytest.raises(OptionError) as error:
            from_plain(Frame, wrong)
        assert "\n" not in str(error.value)


def test_the_share_of_marked_pixels_that_a_crop_cuts_off(parts):
    widget = load_category("widget", parts)
    assert share_cut_off(widget.test, Frame((64, 64))) == 0
    inside = 3 * 8 * 10  # of three spots; the crop to 16 pixels leaves rows and columns 24 to 39
    assert share_cut_off(widget.test, Frame(64, 16)) == pytest.approx(1 - inside / (3 * 12 * 14 + 2 * 3 * 55))
    assert share_cut_off(widget.test[:4], Frame(64, 16)) == 0


def test_truth_is_framed_like_the_pictures(parts):
    widget = load_category("widget", parts)
    truth = masks(widget.test, Frame((32, 32)))
    assert truth.shape == (9, 32, 32)
    assert truth.any(axis=(1, 2)).tolist() == [bool(s.label) for s in widget.test]
    write_mask(widget.test[-1].mask, (64, 64), marked=False)
    with pytest.raises(DataError, match="marks nothing"):
        masks(widget.test, Frame((32, 32)))
    assert not load_mask(widget.test[-1].mask).any()


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    mode=st.sampled_from(["RGB", "L", "RGBA", "P", "1", "I;16", "CMYK", "LA"]),
    resample=st.sampled_from(images.RESAMPLE),
)
def test_any_image_fits_any_frame(height, width, mode, resample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    path = write_image(folder / ("a.tif" if mode in ("CMYK", "LA") else "a.png"), (height, width), mode)
    picture = load_image(path)
    assert picture.shape == (height, width, 3)
    assert Frame((17, 23), resample=resample).apply(picture).shape == (17, 23, 3)
    assert Frame(20, 16, resample).apply(picture).shape == (16, 16, 3)


def test_the_cache_forgets_the_oldest_and_leaves_what_is_being_written(tmp_path, monkeypatch):
    from padim_nb.data import cache as image_cache

    monkeypatch.setattr(image_cache, "LIMIT", 250)
    now = time.time()
    for name, age in (("old.npy", 30), ("middle.npy", 20), ("new.npy", 10)):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (now - age, now - age))
    with whole_file(tmp_path / "fresh.npy") as scratch:
        scratch.write_bytes(b"x" * 1000)
        image_cache._remove_oldest(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"new.npy", "middle.npy", "fresh.npy"}


def test_fitting_and_scoring_in_one_process_warn_of_the_cache_once(parts, tmp_path):
    code = """
import sys
from padim_nb.data.images import Frame, image_batches
from padim_nb.data.mvtec import load_category
widget = load_category("widget", sys.argv[1])
print(sum(len(batch) for samples in (widget.train, widget.test) for batch in image_batches(samples, Frame((32, 32)))))
"""
    environment = os.environ | {"PADIM_NB_CACHE": str(parts / "widget" / "train" / "good" / "000.png")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(parts)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["21"] and done.stderr.count("going on without it") == 1
