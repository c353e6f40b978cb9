"""How a component of ours is registered: a folder with its HTML, CSS and JavaScript."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


@cache
def component(name: str, *, alone: bool = False) -> Any:
    """The component in the folder of that name, with what `shared.css` and `shared.js` give to all but those
    that stand `alone`: Streamlit sends all of it whenever the component's data are other ones.

    Its JavaScript may be in several files: they are one script.
    """
    folder = _HERE / name
    css, js = ([], []) if alone else ([_HERE / "shared.css"], [_HERE / "shared.js"])
    return st.components.v2.component(
        f"photoproc_{name}",
        html=(folder / f"{name}.html").read_text(),
        css="".join(path.read_text() for path in (*css, folder / f"{name}.css")),
        js="".join(path.read_text() for path in (*js, *sorted(folder.glob("*.js")))),
    )
