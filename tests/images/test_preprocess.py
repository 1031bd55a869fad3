"""`prepare` against open_clip's own transform: the pixels must be equal, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.base.records import Interpolation, Preprocess, ResizeMode
from mmsearch.encoders import openclip
from mmsearch.images.preprocess import prepare

MODES: list[ResizeMode] = ["shortest", "longest", "squash"]
FILTERS: list[Interpolation] = ["bicubic", "bilinear"]


def picture(width: int, height: int) -> Image.Image:
    """Noise, the same for the same size: every rounding error shows."""
    noise = np.random.default_rng(width * 10_000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def theirs(image: Image.Image, how: Preprocess) -> np.ndarray:
    """What open_clip's evaluation transform makes of an image, before it is normalised."""
    assert openclip.open_clip is not None
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = PreprocessCfg(
        size=how.size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation=how.interpolation,
        resize_mode=how.resize_mode,
        fill_color=how.fill,
    )
    values = image_transform_v2(settings, is_train=False)(image)
    return np.rint(values.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(20, 400), height=st.integers(20, 400), size=st.integers(20, 65), fill=st.sampled_from([0, 127])
)
def test_equals_open_clips_transform(
    mode: ResizeMode, interpolation: Interpolation, width: int, height: int, size: int, fill: int
) -> None:
    how = Preprocess(size, size, mode, interpolation, fill=fill)
    image = picture(width, height)
    np.testing.assert_array_equal(prepare(image, how), theirs(image, how))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (224, 224), (223, 225), (4032, 3024), (3024, 4031), (1, 200), (200, 1)])
def test_sizes_at_the_edges(mode: ResizeMode, shape: tuple[int, int]) -> None:
    how = Preprocess(224, 224, mode)
    image = picture(*shape)
    if mode == "longest" and min(shape) * 224 / max(shape) < 1.5:
        expected_shape = (224, 224, 3)  # open_clip rounds the short side to 0 or 1 pixel; we always keep one
        assert prepare(image, how).shape == expected_shape
    else:
        np.testing.assert_array_equal(prepare(image, how), theirs(image, how))


def test_resize_larger_than_crop() -> None:
    """As classifiers are evaluated: the short side to 256 pixels, of which the middle 224 stay."""
    image = picture(400, 300)
    resized = np.asarray(image.resize((341, 256), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(prepare(image, Preprocess(224, 256)), resized[16:240, 58:282])


def test_halfway_between_a_crop_and_a_squeeze() -> None:
    """Of 4:1 a crop keeps a quarter of the length, a squeeze all of it; this keeps half, half as wide as it was."""
    image = picture(400, 100)
    squeezed = np.asarray(image.resize((80, 40), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(prepare(image, Preprocess(40, 40, "halfway")), squeezed[:, 20:60])
    np.testing.assert_array_equal(prepare(image, Preprocess(36, 40, "halfway")), squeezed[2:38, 22:58])
    upright = image.transpose(Image.Transpose.TRANSPOSE)
    turned = prepare(upright, Preprocess(40, 40, "halfway")).transpose(1, 0, 2)
    np.testing.assert_allclose(turned, squeezed[:, 20:60], atol=1)  # Pillow resizes across first
    square = picture(100, 100)
    np.testing.assert_array_equal(
        prepare(square, Preprocess(36, 40, "halfway")), prepare(square, Preprocess(36, 40, "shortest"))
    )


def test_halfway_of_a_strip_holds_little_more_than_its_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    """In full, a line of a million pixels would be resized to 32 x 32,000."""
    sizes = []
    resize = Image.Image.resize

    def noted(image: Image.Image, size: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        sizes.append(size)
        return resize(image, size, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", noted)
    assert prepare(Image.new("RGB", (1_000_000, 1), "red"), Preprocess(32, 32, "halfway")).shape == (32, 32, 3)
    assert sizes == [(32, 32)]


def test_image_smaller_than_crop_is_padded_with_black() -> None:
    """As torchvision's CenterCrop does, with the odd pixel right and below."""
    white = Image.new("RGB", (40, 40), (255, 255, 255))
    pixels = prepare(white, Preprocess(size=33, resize=20))
    expected = np.zeros((33, 33, 3), np.uint8)
    expected[6:26, 6:26] = 255
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("shape", [(9_000, 20), (20, 9_000)])
def test_a_very_long_strip_is_cropped_while_it_is_resized(shape: tuple[int, int]) -> None:
    """Close to the full transform on a smooth image; the strip in full would be 450 crops long."""
    across = np.linspace(0, 255, 9_000).astype(np.uint8)
    strip = np.repeat(np.repeat(across[None, :, None], 20, axis=0), 3, axis=2)
    image = Image.fromarray(strip if shape[0] > shape[1] else np.ascontiguousarray(strip.transpose(1, 0, 2)))
    how = Preprocess(32, 32)
    difference = prepare(image, how).astype(int) - theirs(image, how)
    assert np.abs(difference).max() <= 1


def test_result_is_a_fresh_writable_array() -> None:
    pixels = prepare(Image.new("RGB", (32, 32)), Preprocess(32, 32))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
