"""Penalty images: procedural, of a folder, or none, and named in the record."""

from making import write_image

from padim_nb.efficientad.penalty import penalties


def test_penalty_images_are_named_whatever_they_are(tmp_path):
    found, named = penalties("procedural", 40, 30, 3, 0)
    assert found.shape == (3, 40, 30, 3)
    assert named.startswith("procedural images ")
    assert penalties("none", 40, 30, 3, 0) == (None, "none")
    for number in range(5):
        write_image(tmp_path / "deep" / "er" / f"{number}.png", (64, 50), seed=number)
    found, named = penalties(str(tmp_path), 32, 24, 2, 0)
    assert found.shape == (2, 32, 24, 3)
    assert named.startswith("2 of 5 images in ")
