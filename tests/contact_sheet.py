"""Every option of a recipe on photos, as one picture to look at.

    python -m tests.contact_sheet out.png [--model u2net] [--photo FILE ...] [--only WORDS]

Each row is an option, each column a photo; what an option says about a photo (warnings, refusals) stands
below it. Without --photo the built-in samples are taken, and the astronaut twice side by side.
"""

import argparse
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from photoproc import presets
from photoproc.errors import PhotoprocError
from photoproc.models.catalogue import CATALOGUE
from photoproc.models.weights import Weights
from photoproc.parts import FACE_PRESETS
from photoproc.pipeline import Pipeline, Result
from photoproc.recipe import Recipe
from photoproc.work import Model
from tests.pictures import encoded, opened_sample, sample

_CELL = 250
_LABEL_W = 170
_TEXT_H = 34
_PICTURE = "picture"
Fields = Mapping[str, object]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_GRADIENT = {"kind": "gradient", "start": "#fdf6e3", "end": "#7aa2c8"}
_GREEN = {"kind": "colour", "colour": "#3ddc84"}


def _options() -> dict[str, Fields]:
    """Every option by what it is called on the sheet."""
    whole: dict[str, Fields] = {
        "as it is": {},
        "colour": {"background": _GREEN},
        "translucent colour": {"background": {"kind": "colour", "colour": "rgb(255 0 0 / 40%)"}},
        "gradient": {"background": _GRADIENT},
        "gradient 45°": {"background": {**_GRADIENT, "angle_deg": 45}},
        "gradient, radial": {"background": {**_GRADIENT, "shape": "radial"}},
        "picture, cover": {"background": {"kind": "picture", "picture": _PICTURE}},
        "picture, contain": {
            "background": {"kind": "picture", "picture": _PICTURE, "fit": "contain", "colour": "#222222"}
        },
        "blur": {"background": {"kind": "blur"}},
        "blur, wide": {"background": {"kind": "blur", "radius": 0.08}},
        "keep": {"background": {"kind": "keep"}},
        "shadow": {"shadow": {}, "background": {"kind": "colour"}},
        "shadow, far": {"shadow": {"right": 0.08, "down": 0.06, "blur": 0.05, "opacity": 0.6}},
    }
    edges: dict[str, Fields] = {
        f"edges: {name}": {"edges": fields, "background": _GREEN}
        for name, fields in {
            "model": {},
            "decontaminate": {"decontaminate": True},
            "matting": {"method": "matting"},
            "matting + decont.": {"method": "matting", "decontaminate": True},
            "shrink 4 px": {"shrink_px": 4},
            "feather 6 px": {"feather_px": 6},
            "vitmatte": {"method": "vitmatte"},
        }.items()
    }
    sizes: dict[str, Fields] = {
        f"size: {name}": {"size": fields, "background": _GRADIENT}
        for name, fields in {
            "1:1 pad": {"aspect": "1:1"},
            "1:1 cut": {"aspect": "1:1", "fit": "cut"},
            "4:5": {"aspect": "4:5"},
            "16:9": {"aspect": "16:9"},
            "300 x 200": {"width": 300, "height": 200},
            "2000 wide": {"width": 2000},
            "2000 wide, enlarged": {"width": 2000, "enlarge": True},
        }.items()
    }
    framings: dict[str, Fields] = {
        "subject": {"framing": {"kind": "subject"}},
        "subject, margin 30 %, 1:1": {
            "framing": {"kind": "subject", "margin": 0.3},
            "size": {"aspect": "1:1"},
        },
        **{
            f"face: {name}": {"framing": {"kind": "face", "preset": name}, "background": _GRADIENT}
            for name in FACE_PRESETS
        },
        "face: not aligned": {"framing": {"kind": "face", "align": False}},
        "face: each": {"framing": {"kind": "face", "which": "each"}, "background": _GRADIENT},
        "face: together": {"framing": {"kind": "face", "which": "together", "head": 0.4}},
        "face: else skip": {"framing": {"kind": "face", "no_face": "skip"}},
    }
    outputs: dict[str, Fields] = {
        "mask": {"output": {"show": "mask"}},
        "pair": {"output": {"show": "pair"}},
        **{
            f"{form} {quality}": {
                "output": {"format": form, "quality": quality},
                "background": {"kind": "colour"},
            }
            for form in ("jpeg", "webp", "avif")
            for quality in (5, 90)
        },
        "longest 120": {"output": {"longest": 120}},
        "sheet 4x6 in": _sheet("4x6in"),
        "sheet A4": _sheet("a4"),
    }
    built_in: dict[str, Fields] = {f"recipe: {name}": fields for name, fields in presets.BUILT_IN.items()}
    return {**whole, **edges, **sizes, **framings, **outputs, **built_in}


def _sheet(paper: str) -> Fields:
    return {
        "framing": {"kind": "face", "preset": "passport"},
        "background": {"kind": "colour"},
        "output": {"format": "jpeg", "sheet": {"paper": paper}},
    }


class Bench:
    """The pipeline with a model, and the masks it has made."""

    def __init__(self, model: str, background: Path) -> None:
        own = os.environ.get("PHOTOPROC_MODEL_DIR")
        folders = Weights(Path(own) if own else None).folders()
        found = [folder / f"{model}.onnx" for folder in folders]
        found += [folder / "models" / model / f"{model}.onnx" for folder in folders]
        there = next((path for path in found if path.is_file()), None)
        if there is None:
            raise SystemExit(f"There are no weights of {model} in {', '.join(map(str, folders))}.")
        self._name, self._background = model, background
        self._model = Model(spec=CATALOGUE[model], weights=there)
        self._pipeline = Pipeline(threads=2)
        self._masks: dict[bytes, bytes] = {}

    def run(self, photo: bytes, fields: Fields) -> Result:
        """A photo by a recipe."""
        filled = {**fields, "models": [self._name]}
        background = filled.get("background")
        if isinstance(background, Mapping) and background.get("picture") == _PICTURE:
            filled["background"] = {**background, "picture": "0" * 64}
        recipe = Recipe.of_fields(filled)
        result = self._pipeline.run(
            photo,
            recipe,
            self._model if recipe.models == recipe.task_models else None,
            max_pixels=50_000_000,
            mask_png=self._masks.get(photo),
            background=self._background,
        )
        if result.mask_png is not None:
            self._masks[photo] = result.mask_png
        return result


def _thumbs(result: Result) -> list[Image.Image]:
    """What it made: the files themselves, not previews of them."""
    files = [
        data for made in result.pictures for data in (made.data, *made.extras.values()) if data[:4] != b"%PDF"
    ]
    pictures = []
    for data in files[:4]:
        image: Image.Image = Image.open(io.BytesIO(data)).convert("RGBA")
        image.thumbnail((_CELL // (2 if len(files) > 1 else 1) - 6,) * 2)
        pictures.append(image)
    return pictures


def _cell(bench: Bench, photo: bytes, fields: Fields, font: Font) -> Image.Image:
    cell = Image.new("RGB", (_CELL, _CELL + _TEXT_H), "#ffffff")
    draw = ImageDraw.Draw(cell)
    for x in range(0, _CELL, 10):
        for y in range(0, _CELL, 10):
            draw.rectangle((x, y, x + 9, y + 9), "#ffffff" if (x + y) // 10 % 2 else "#e4e4e4")
    try:
        result = bench.run(photo, fields)
    except PhotoprocError as error:
        said, pictures = f"{error.problem.code}: {error.problem.message}", []
    else:
        pictures = _thumbs(result)
        said = " ".join(warning.code for warning in result.warnings)
    half = _CELL // 2
    for place, picture in enumerate(pictures):
        at = (3, 3) if len(pictures) == 1 else (place % 2 * half + 3, place // 2 * half + 3)
        cell.paste(picture, at, picture)
    lines = [said[start : start + 42] for start in range(0, min(len(said), 84), 42)]
    draw.rectangle((0, _CELL, _CELL, _CELL + _TEXT_H), "#ffffff")
    draw.multiline_text((4, _CELL + 2), "\n".join(lines), "#b00020", font=font)
    return cell


def sheet(bench: Bench, photos: Sequence[bytes], options: Mapping[str, Fields]) -> Image.Image:
    """The contact sheet."""
    font = ImageFont.load_default(11)
    bold = ImageFont.load_default(14)
    page = Image.new("RGB", (_LABEL_W + len(photos) * _CELL, len(options) * (_CELL + _TEXT_H)), "#ffffff")
    draw = ImageDraw.Draw(page)
    for row, (name, fields) in enumerate(options.items()):
        top = row * (_CELL + _TEXT_H)
        draw.text((8, top + 8), name, "#111111", font=bold)
        for column, photo in enumerate(photos):
            page.paste(_cell(bench, photo, fields, font), (_LABEL_W + column * _CELL, top))
    return page


def two_astronauts() -> bytes:
    """A picture of two faces."""
    one = opened_sample("astronaut.png")
    pair = Image.new("RGB", (one.width * 2, one.height))
    pair.paste(one, (0, 0))
    pair.paste(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (one.width, 0))
    return encoded(pair, "PNG")


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="u2net", choices=list(CATALOGUE))
    parser.add_argument("--photo", type=Path, nargs="+", default=[])
    parser.add_argument("--only", default="", help="options whose name has these words")
    asked = parser.parse_args()
    photos = [path.read_bytes() for path in asked.photo]
    photos = photos or [sample("astronaut.png"), two_astronauts(), sample("cat.png"), sample("coffee.png")]
    options = {name: fields for name, fields in _options().items() if asked.only in name}
    with tempfile.TemporaryDirectory() as folder:
        background = Path(folder) / "background"
        background.write_bytes(sample("rocket.jpg"))
        sheet(Bench(asked.model, background), photos, options).save(asked.out)


if __name__ == "__main__":
    main()
