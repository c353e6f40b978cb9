"""Print sheets: as many as fit, at their size in print, to be cut apart."""

import io
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import TaskError
from photoproc.imaging import profiles, sheet
from tests.imaging.test_profiles import adobe_rgb
from tests.pictures import corners

U8 = NDArray[np.uint8]
PAPERS: tuple[sheet.Paper, ...] = ("4x6in", "a4")
PASSPORT = (413, 531)  # 35 × 45 mm at 300 dpi
US_PASSPORT = (600, 600)  # 2 × 2 inches
POINTS = {"4x6in": (288.0, 432.0), "a4": (595.28, 841.89)}


def portrait(size_wh: tuple[int, int] = PASSPORT) -> U8:
    return np.asarray(corners(*size_wh))


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def pdf_parts(pdf: bytes) -> tuple[tuple[float, float], Image.Image]:
    """The only page's size in points, and the picture on it."""
    assert pdf.count(b"/MediaBox") == 1
    found = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert found
    start = pdf.index(b"\xff\xd8\xff")
    return (float(found[1]), float(found[2])), opened(pdf[start : pdf.index(b"endstream", start)])


@pytest.mark.parametrize(
    ("picture_wh", "paper", "holds", "page_wh"),
    [
        (PASSPORT, "4x6in", 8, (1800, 1200)),
        (PASSPORT, "a4", 30, (2480, 3508)),
        (US_PASSPORT, "4x6in", 2, (1200, 1800)),
        (US_PASSPORT, "a4", 15, (2480, 3508)),
        ((1180, 1780), "4x6in", 1, (1200, 1800)),
        ((1800, 1200), "4x6in", 1, (1800, 1200)),
    ],
)
def test_the_page_lies_as_it_holds_more(
    picture_wh: tuple[int, int], paper: sheet.Paper, holds: int, page_wh: tuple[int, int]
) -> None:
    plan = sheet.layout(picture_wh, paper=paper, dpi=300)
    assert (plan.holds, len(plan.boxes_xyxy), plan.page_wh) == (holds, holds, page_wh)


@settings(deadline=None)
@given(
    picture_wh=st.tuples(st.integers(20, 2500), st.integers(20, 2500)),
    paper=st.sampled_from(PAPERS),
    dpi=st.integers(72, 1200),
    copies=st.integers(1, 40),
)
def test_pictures_lie_apart_within_the_page_and_in_its_middle(
    picture_wh: tuple[int, int], paper: sheet.Paper, dpi: int, copies: int
) -> None:
    try:
        plan = sheet.layout(picture_wh, paper=paper, dpi=dpi, copies=copies)
    except TaskError:
        short, long = (side / 72 * dpi for side in POINTS[paper])
        assert min(picture_wh) > short - 2 or max(picture_wh) > long - 2
        return
    boxes = plan.boxes_xyxy
    assert len(boxes) == min(copies, plan.holds) > 0
    for left, top, right, bottom in boxes:
        assert (right - left, bottom - top) == plan.picture_wh
        assert min(left, top) >= 0
        assert right <= plan.page_wh[0]
        assert bottom <= plan.page_wh[1]
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for axis in (0, 1):
        before = min(box[axis] for box in boxes)
        after = plan.page_wh[axis] - max(box[axis + 2] for box in boxes)
        assert abs(before - after) <= 1
    margin = round(3 * plan.dpi / 25.4)
    room = [sorted(plan.page_wh)[place] - 2 * margin for place in (0, 1)]
    if all(side <= most for side, most in zip(sorted(plan.picture_wh), room, strict=True)):
        assert min(min(box[:2]) for box in boxes) >= margin - 1, "printers lose the edge"


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("dpi", [300, 600])
def test_jpeg_and_pdf_have_the_size_of_the_paper(paper: sheet.Paper, dpi: int) -> None:
    jpeg, pdf = sheet.sheet(portrait((350, 450)), paper=paper, dpi=dpi)
    page = opened(jpeg)
    assert page.format == "JPEG"
    assert page.info["dpi"] == (dpi, dpi)
    points, printed = pdf_parts(pdf)
    assert printed.size == page.size
    half_a_pixel = 72 / dpi / 2 + 0.001
    assert sorted(points) == pytest.approx(POINTS[paper], abs=half_a_pixel)
    assert [side / dpi * 72 for side in page.size] == pytest.approx(points, abs=0.001)
    assert b"CreationDate" not in pdf


def test_the_picture_stands_at_its_size_in_print_in_every_place() -> None:
    jpeg, pdf = sheet.sheet(portrait(), paper="4x6in", dpi=300)
    plan = sheet.layout(PASSPORT, paper="4x6in", dpi=300)
    assert plan.picture_wh == PASSPORT
    for page in (opened(jpeg), pdf_parts(pdf)[1]):
        for box in plan.boxes_xyxy:
            assert np.abs(np.asarray(page.crop(box), int) - portrait()).mean() < 3


def test_between_pictures_the_paper_is_white_but_for_thin_light_marks() -> None:
    page = np.asarray(opened(sheet.sheet(portrait(), paper="4x6in", dpi=300)[0]).convert("L")).copy()
    plan = sheet.layout(PASSPORT, paper="4x6in", dpi=300)
    for left, top, right, bottom in plan.boxes_xyxy:
        # JPEG's blocks of 8 spread a picture's edge.
        page[max(0, top - 8) : bottom + 8, max(0, left - 8) : right + 8] = 255
    marked = page < 235
    assert 0 < marked.mean() < 0.005
    assert page.min() > 120
    left, top, right, bottom = plan.boxes_xyxy[0]
    assert marked[top - 12, left], "in line with the edge"
    assert marked[top - 12, right - 1]
    assert marked[top, left - 12]
    assert marked[bottom - 1, left - 12]


def test_copies_are_as_many_as_asked_for_or_as_fit() -> None:
    for copies, there in ((1, 1), (3, 3), (8, 8), (9, 8), (None, 8)):
        plan = sheet.layout(PASSPORT, paper="4x6in", dpi=300, copies=copies)
        assert (len(plan.boxes_xyxy), plan.holds) == (there, 8)


@pytest.mark.parametrize("paper", PAPERS)
def test_a_picture_larger_than_the_paper_is_refused_with_both_sizes(paper: sheet.Paper) -> None:
    with pytest.raises(TaskError) as refused:
        sheet.sheet(portrait((2490, 3500)), paper=paper, dpi=300)
    problem = refused.value.problem
    assert problem.code == "too_large_for_sheet"
    assert "210.8×296.3 mm" in problem.message
    assert ("101.6×152.4 mm" if paper == "4x6in" else "210×297 mm") in problem.message
    assert problem.advice


def test_a_picture_of_just_the_paper_fills_it() -> None:
    jpeg, _ = sheet.sheet(portrait((1200, 1800)), paper="4x6in", dpi=300)
    assert np.abs(np.asarray(opened(jpeg), int) - portrait((1200, 1800))).mean() < 1


def test_beyond_what_printers_show_the_page_keeps_its_size_and_not_its_pixels() -> None:
    jpeg, pdf = sheet.sheet(portrait((3307, 4252)), paper="a4", dpi=2400)
    page = opened(jpeg)
    assert (page.size, page.info["dpi"]) == ((4961, 7016), (600, 600))
    assert pdf_parts(pdf)[0] == pytest.approx(POINTS["a4"], abs=0.1)
    plan = sheet.layout((3307, 4252), paper="a4", dpi=2400)
    assert plan.picture_wh == (827, 1063)
    assert plan.holds == 30


def test_the_page_is_srgb_whatever_the_picture_was() -> None:
    wide = np.full((450, 350, 3), (120, 180, 90), np.uint8)
    plain, _ = sheet.sheet(wide, paper="4x6in", dpi=300)
    jpeg, pdf = sheet.sheet(wide, paper="4x6in", dpi=300, icc=adobe_rgb()[0])
    box = sheet.layout((350, 450), paper="4x6in", dpi=300).boxes_xyxy[0]
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    assert "icc_profile" not in opened(jpeg).info
    assert opened(plain).getpixel(middle) == pytest.approx((120, 180, 90), abs=2)
    assert tuple(profiles.to_srgb(wide, adobe_rgb()[0])[0, 0]) == pytest.approx((81, 181, 83), abs=3)
    for page in (opened(jpeg), pdf_parts(pdf)[1]):
        assert page.getpixel(middle) == pytest.approx(
            tuple(profiles.to_srgb(wide, adobe_rgb()[0])[0, 0]), abs=2
        )
