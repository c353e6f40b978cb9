"""How a component of ours is registered: a folder with its HTML, CSS and JavaScript."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


@cache
def component(name: str) -> Any:
    """The component in the folder of that name, with what `shared.css` and `shared.js` give to all.

    Its JavaScript may be in several files: they are one script.
    """
    folder = _HERE / name
    return st.components.v2.component(
        f"photoproc_{name}",
        html=(folder / f"{name}.html").read_text(),
        css=(_HERE / "shared.css").read_text() + (folder / f"{name}.css").read_text(),
        js="".join(path.read_text() for path in (_HERE / "shared.js", *sorted(folder.glob("*.js")))),
    )
