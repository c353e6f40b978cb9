"""Edges: nothing but the edge changes, and what changes comes nearer to the truth."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion  # type: ignore[import-untyped,unused-ignore]
from scipy.special import ndtr  # type: ignore[import-untyped,unused-ignore]

from photoproc.errors import ModelError
from photoproc.imaging import closed_form, edges
from photoproc.parts import Edges
from tests.benchmarks.matting_scene import Scene, scene

U8 = NDArray[np.uint8]

MATTING = Edges(method="matting")
sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
alphas_of = st.sampled_from([0, 0, 0, 9, 10, 128, 240, 241, 254, 255, 255, 255])
lengths = st.sampled_from([0.0, 0.3, 1.0, 2.5, 50.0])


@st.composite
def layers(draw: st.DrawFn) -> tuple[U8, U8]:
    """A small photo (height × width × 3) with its alpha: noise, or a subject with an even edge."""
    height, width = draw(sizes)
    rgb = draw(hnp.arrays(np.uint8, (height, width, 3)))
    if draw(st.booleans()):
        return rgb, draw(hnp.arrays(np.uint8, (height, width), elements=alphas_of))
    alpha = np.zeros((height, width), np.uint8)
    alpha[: draw(st.integers(0, height)), : draw(st.integers(0, width))] = 255
    return rgb, alpha


@pytest.fixture(scope="module")
def hairy() -> Scene:
    """Loose hair before a photo, with its true alpha and colours, and what a model would make of it."""
    return scene(450, 600, seed=1, strands=150)


def off(alpha: U8, true: U8) -> float:
    """The mean difference of two alphas, in steps of 1/255."""
    return float(np.abs(alpha.astype(float) - true).mean())


def off_colour(rgb: U8, true: Scene) -> float:
    """The mean difference of colours where the true alpha is soft, as far as it shows them."""
    soft = (true.alpha > 0) & (true.alpha < 255)
    shown = true.alpha[soft][:, None] / 255
    return float((np.abs(rgb[soft].astype(float) - true.fore[soft]) * shown).mean())


# The alpha


@settings(max_examples=150, deadline=None)
@given(
    layer=layers(), method=st.sampled_from(["model", "matting", "vitmatte"]), shrink=lengths, feather=lengths
)
def test_every_method_gives_an_alpha_of_the_same_size_and_changes_nothing_in_place(
    layer: tuple[U8, U8], method: str, shrink: float, feather: float
) -> None:
    rgb, alpha = layer
    before = rgb.copy(), alpha.copy()
    asked = Edges.model_validate({"method": method, "shrink_px": shrink, "feather_px": feather})
    out = edges.refined(rgb, alpha, asked, refiner=lambda _, trimap: trimap)
    assert out.shape == alpha.shape
    assert out.dtype == np.uint8
    assert np.array_equal(rgb, before[0])
    assert np.array_equal(alpha, before[1])


@given(layer=layers())
def test_as_the_model_gives_them_nothing_changes(layer: tuple[U8, U8]) -> None:
    rgb, alpha = layer
    assert edges.refined(rgb, alpha, Edges()) is alpha


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 40), (40, 2), (50, 60)])
@pytest.mark.parametrize("value", [0, 100, 255])
@pytest.mark.parametrize(
    "asked", [MATTING, Edges(shrink_px=3.5), Edges(feather_px=30.0), Edges(method="matting", shrink_px=2)]
)
def test_an_even_mask_stays_even(shape: tuple[int, int], value: int, asked: Edges) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    alpha = np.full(shape, value, np.uint8)
    assert np.array_equal(edges.refined(rgb, alpha, asked), alpha)


def test_matting_finds_the_hair_that_the_mask_blurs(hairy: Scene) -> None:
    found = edges.refined(hairy.rgb, hairy.mask, MATTING)
    assert off(found, hairy.alpha) < 0.6 * off(hairy.mask, hairy.alpha)


def test_matting_on_a_bounded_size_and_enlarged_by_the_photo_is_as_good(
    hairy: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_sizes: list[tuple[int, ...]] = []

    def counted(rgb: U8, trimap: U8, prior: U8) -> U8:
        small_sizes.append(trimap.shape)
        return closed_form.estimate(rgb, trimap, prior, trust=3e-5)

    monkeypatch.setattr(edges, "_MATTING", edges._Estimate(counted, max_unknown=4_000))
    found = edges.refined(hairy.rgb, hairy.mask, MATTING)
    assert small_sizes[0][0] < 300
    assert off(found, hairy.alpha) < 0.6 * off(hairy.mask, hairy.alpha)


def test_a_look_with_less_effort_shows_nearly_the_same(hairy: Scene) -> None:
    found = edges.refined(hairy.rgb, hairy.mask, MATTING)
    look = edges.refined(hairy.rgb, hairy.mask, MATTING, effort=0.25)
    assert off(look, hairy.alpha) < 0.6 * off(hairy.mask, hairy.alpha)
    assert off(look, found) < 0.35 * off(hairy.mask, found)
    cleaned = edges.decontaminated(hairy.rgb, hairy.alpha, effort=0.25)
    assert off_colour(cleaned, hairy) < 0.4 * off_colour(hairy.rgb, hairy)


def test_far_from_the_edge_the_subject_stays_opaque_and_the_rest_empty(hairy: Scene) -> None:
    reach = 40
    inside = binary_erosion(hairy.mask == 255, np.ones((reach, reach)))
    outside = binary_erosion(hairy.mask == 0, np.ones((reach, reach)))
    found = edges.refined(hairy.rgb, hairy.mask, Edges(method="matting", shrink_px=2, feather_px=2))
    assert inside.any()
    assert outside.any()
    assert (found[inside] == 255).all()
    assert (found[outside] == 0).all()


def test_a_subject_that_leaves_the_picture_is_not_thinned_at_its_border(hairy: Scene) -> None:
    cut = np.s_[:225]
    found = edges.refined(hairy.rgb[cut], hairy.mask[cut], Edges(method="matting", shrink_px=3, feather_px=3))
    middle = np.s_[-1, 280:320]
    assert (hairy.mask[cut][middle] == 255).all()
    assert (found[middle] == 255).all()


def test_a_hole_too_narrow_for_the_band_stays_a_hole() -> None:
    rgb = np.random.default_rng(0).integers(90, 110, (300, 300, 3), dtype=np.uint8)
    alpha = np.zeros((300, 300), np.uint8)
    alpha[50:250, 50:250] = 255
    alpha[145:150, 100:200] = 0
    trimap = edges._trimap_of(alpha)
    assert (trimap[147, 110:190] == 0).all()
    assert (edges.refined(rgb, alpha, MATTING)[147, 110:190] == 0).all()


@pytest.mark.parametrize("value", [0, 255])
def test_without_certain_subject_or_background_the_mask_is_kept(value: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    alpha = np.full((60, 60), 128, np.uint8)
    alpha[:20] = value
    assert edges.refined(rgb, alpha, MATTING) is alpha


# Closed-form matting


def test_matting_is_the_minimum_of_levins_energy() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    trimap = np.full((6, 7), 128, np.uint8)
    trimap[:, 0], trimap[2:4, -1] = 255, 0
    prior = rng.integers(0, 256, (6, 7), dtype=np.uint8)
    unknown, trust = trimap.ravel() == 128, 1e-3
    energy = laplacian(rgb / 255)
    system = energy[np.ix_(unknown, unknown)] + trust * np.eye(unknown.sum())
    right = trust * prior.ravel()[unknown] / 255 - energy[np.ix_(unknown, ~unknown)] @ (
        trimap.ravel()[~unknown] / 255
    )
    expected = np.linalg.solve(system, right).clip(0, 1) * 255
    found = closed_form.estimate(rgb, trimap, prior, trust=trust)
    assert np.abs(found.ravel()[unknown] - expected).max() <= 0.51
    assert np.array_equal(found.ravel()[~unknown], trimap.ravel()[~unknown])


def laplacian(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matting Laplacian, entry by entry, as Levin 2008 writes it (equation 12)."""
    height, width, _ = rgb.shape
    place = np.arange(height * width).reshape(height, width)
    out = np.zeros((height * width, height * width))
    for y, x in np.ndindex(height - 2, width - 2):
        window = place[y : y + 3, x : x + 3].ravel()
        colours = rgb.reshape(-1, 3)[window]
        centred = colours - colours.mean(axis=0)
        inverse = np.linalg.inv(centred.T @ centred / 9 + 1e-7 / 9 * np.eye(3))
        out[np.ix_(window, window)] += np.eye(9) - (1 + centred @ inverse @ centred.T) / 9
    return out


def test_a_system_without_a_solution_leaves_the_first_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(*_: object, **__: object) -> None:
        raise RuntimeError("Factor is exactly singular")

    monkeypatch.setattr("scipy.sparse.linalg.splu", singular)
    trimap = np.full((9, 9), 128, np.uint8)
    trimap[0], trimap[-1] = 0, 255
    prior = np.full((9, 9), 77, np.uint8)
    found = closed_form.estimate(np.zeros((9, 9, 3), np.uint8), trimap, prior, trust=1e-4)
    assert (found[1:-1] == 77).all()


# ViTMatte


def test_vitmatte_sees_a_bounded_picture_and_a_trimap_of_three_values(hairy: Scene) -> None:
    seen: list[tuple[U8, U8]] = []

    def refiner(rgb: U8, trimap: U8) -> U8:
        seen.append((rgb, trimap))
        return trimap

    large = np.kron(hairy.rgb, np.ones((4, 4, 1), np.uint8)), np.kron(hairy.mask, np.ones((4, 4), np.uint8))
    found = edges.refined(*large, Edges(method="vitmatte"), refiner=refiner)
    (rgb, trimap), *others = seen
    assert not others
    assert rgb.shape == (*trimap.shape, 3)
    assert trimap.size <= 1_010_000
    assert set(np.unique(trimap)) == {0, 128, 255}
    assert found.shape == large[1].shape


def test_vitmatte_without_its_weights_says_what_to_do() -> None:
    photo = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    with pytest.raises(ModelError, match="vitmatte_missing") as refused:
        edges.refined(*photo, Edges(method="vitmatte"))
    assert refused.value.problem.advice


# Shrink and feather


@settings(deadline=None)
@given(layer=layers(), lengths_px=st.tuples(st.floats(0, 50), st.floats(0, 50)).map(sorted))
def test_more_shrinking_never_leaves_more(layer: tuple[U8, U8], lengths_px: list[float]) -> None:
    _, alpha = layer
    less, more = (edges.shrunk(alpha, by_px) for by_px in lengths_px)
    assert (less <= alpha).all()
    assert (more <= less).all()


@pytest.mark.parametrize("by_px", [1.0, 2.5, 7.0, 20.25])
@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90])
def test_shrinking_moves_an_edge_by_so_many_pixels(by_px: float, angle_deg: float) -> None:
    down, across = np.mgrid[-60:61, -60:61]
    far = across * np.cos(np.radians(angle_deg)) + down * np.sin(np.radians(angle_deg))
    alpha = ((far + 0.5).clip(0, 1) * 255).astype(np.uint8)
    shrunk = edges.shrunk(alpha, by_px)
    disc = (across**2 + down**2) < 35**2
    moved = (alpha[disc].sum(dtype=float) - shrunk[disc].sum(dtype=float)) / 255 / 70
    assert moved == pytest.approx(by_px, rel=0.1, abs=0.3)


@settings(deadline=None)
@given(layer=layers(), by_px=st.floats(0.1, 50), more=st.integers(0, 60))
def test_feathering_keeps_the_order_of_two_alphas_and_stays_between_their_extremes(
    layer: tuple[U8, U8], by_px: float, more: int
) -> None:
    _, alpha = layer
    fuller = (alpha.astype(int) + more).clip(0, 255).astype(np.uint8)
    soft, fuller_soft = edges.feathered(alpha, by_px), edges.feathered(fuller, by_px)
    assert (soft.astype(int) <= fuller_soft.astype(int) + 1).all()
    assert soft.min() >= alpha.min()
    assert soft.max() <= alpha.max()


@pytest.mark.parametrize("by_px", [1.5, 3.0, 8.0, 9.0, 50.0])
def test_a_feathered_step_is_the_gaussians_integral(by_px: float) -> None:
    alpha = np.zeros((20, 600), np.uint8)
    alpha[:, 300:] = 255
    soft = edges.feathered(alpha, by_px)
    expected = ndtr((np.arange(600) - 299.5) / by_px) * 255
    assert np.abs(soft - expected).max() <= 4
    assert soft[0, 0] == 0
    assert soft[0, -1] == 255


# Colours


@settings(max_examples=150, deadline=None)
@given(layer=layers(), depth=st.sampled_from([np.uint8, np.uint16]))
def test_pixels_that_are_opaque_or_empty_leave_exactly_as_they_came(
    layer: tuple[U8, U8], depth: type[Any]
) -> None:
    rgb, alpha = layer
    photo: NDArray[Any] = rgb.astype(depth) * (np.iinfo(depth).max // 255)
    before = photo.copy()
    out = edges.decontaminated(photo, alpha)
    hard = (alpha == 0) | (alpha == 255)
    assert out.dtype == photo.dtype
    assert out.shape == photo.shape
    assert out[hard].tobytes() == before[hard].tobytes()
    assert np.array_equal(photo, before)


def test_a_photo_without_soft_pixels_is_not_even_copied() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    assert edges.decontaminated(rgb, np.full((8, 8), 255, np.uint8)) is rgb


def test_the_old_backgrounds_colour_leaves_the_edge(hairy: Scene) -> None:
    cleaned = edges.decontaminated(hairy.rgb, hairy.alpha)
    assert off_colour(cleaned, hairy) < 0.35 * off_colour(hairy.rgb, hairy)


def test_a_green_screen_leaves_no_green() -> None:
    alpha = np.zeros((200, 200), np.uint8)
    alpha[50:150, 50:150] = 255
    alpha = edges.feathered(alpha, 4)
    share = alpha[..., None] / 255
    rgb = np.rint((200, 60, 90) * share + (0, 255, 0) * (1 - share)).astype(np.uint8)
    cleaned = edges.decontaminated(rgb, alpha)
    seen = (alpha > 25) & (alpha < 255)
    assert np.abs(cleaned[seen].astype(int) - (200, 60, 90)).max() <= 12


def test_sixteen_bits_are_cleaned_as_eight_are(hairy: Scene) -> None:
    deep = edges.decontaminated(hairy.rgb.astype(np.uint16) * 257, hairy.alpha)
    plain = edges.decontaminated(hairy.rgb, hairy.alpha)
    assert np.abs(deep / 257 - plain).max() <= 0.51


# rembg's parameters


@given(
    mask=hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=alphas_of),
    thresholds=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    erode_px=st.integers(0, 6),
)
def test_the_trimap_is_the_one_rembg_makes(mask: U8, thresholds: tuple[int, int], erode_px: int) -> None:
    sure, gone = mask > thresholds[0], mask < thresholds[1]
    structure = np.ones((erode_px, erode_px)) if erode_px else None
    expected = np.full(mask.shape, 128)
    expected[binary_erosion(sure, structure)] = 255
    expected[binary_erosion(gone, structure, border_value=1)] = 0
    assert np.array_equal(edges._rembg_trimap(mask, *thresholds, erode_px), expected)


def test_rembgs_matting_finds_hair_and_keeps_opaque_pixels(hairy: Scene) -> None:
    rgb, alpha = edges.rembg_matting(
        hairy.rgb, hairy.mask, foreground_threshold=240, background_threshold=10, erode_px=10
    )
    assert off(alpha, hairy.alpha) < 0.6 * off(hairy.mask, hairy.alpha)
    hard = (alpha == 255) | (alpha == 0)
    assert rgb[hard].tobytes() == hairy.rgb[hard].tobytes()
    assert not np.array_equal(rgb, hairy.rgb)


# What it costs


def test_twelve_megapixels_take_less_than_one_and_a_half_gigabytes_and_no_numba() -> None:
    """Whatever the mask: here all of it is unknown."""
    code = """
import re, sys
from pathlib import Path
import cv2
import numpy as np
from photoproc.imaging import edges
from photoproc.parts import Edges

rgb = cv2.resize(np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8), (4000, 3000))
mask = cv2.resize(np.array([[0, 0, 60, 200, 255, 255]], np.uint8), (4000, 3000))
edges.decontaminated(rgb, edges.refined(rgb, mask, Edges(method="matting")))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print([name for name in ("numba", "pymatting", "rembg") if name in sys.modules])
"""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak_kb, loaded = done.stdout.split("\n")[:2]
    assert int(peak_kb) < 1_500_000
    assert loaded == "[]"
