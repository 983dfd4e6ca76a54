"""Sphinx settings: `make docs` builds pages from the Markdown files and the docstrings in docs/_build."""

import json
from importlib.util import find_spec
from pathlib import Path

from mmcv.transforms.utils import cache_randomness
from sphinx.application import Sphinx

import mmtl

project = "mmtl"
copyright = "The mmtl authors"
version = release = mmtl.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
if find_spec("sphinx_copybutton"):  # buttons that copy a block; environments made before it was required lack it
    extensions.append("sphinx_copybutton")
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "mmtl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_default_options = dict(members=True)
napoleon_use_ivar = True  # an attribute in a docstring does not duplicate the entry of the field
napoleon_custom_sections = [("Convention", "params_style")]

# mmcv's marker of random draws can be read only from an instance, but autodoc reads it from the class.
read_from_instance = cache_randomness.__get__
cache_randomness.__get__ = lambda draw, obj, cls: read_from_instance(draw, obj, cls) if obj is not None else draw.func


def notebook_as_markdown(app: Sphinx, docname: str, content: list[str]) -> None:
    """Make a page of a notebook's text and code; it has no outputs."""
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    hint = f"{{download}}`Download this notebook <{path.name}>` for Jupyter, or read it here without figures."
    parts = [hint]
    for cell in json.loads(content[0])["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            language = "bash" if text.startswith("!") else "python"
            text = f"```{language}\n{text.removeprefix('!')}\n```"
        parts.append(text)
    # The title first.
    content[0] = "\n\n".join([parts[1], parts[0], *parts[2:]])


def setup(app: Sphinx) -> None:
    """Let Sphinx read notebooks."""
    app.add_source_suffix(".ipynb", "markdown")
    app.connect("source-read", notebook_as_markdown)
