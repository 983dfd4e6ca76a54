"""Sphinx settings: `make docs` turns the Markdown files and the docstrings into pages under docs/_build."""

from mmcv.transforms.utils import cache_randomness

import mmtl

project = "mmtl"
copyright = "the authors of mmtl"
version = release = mmtl.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_default_options = dict(members=True)
napoleon_use_ivar = True  # an attribute that a class lists is no entry of its own beside the field
napoleon_custom_sections = [("Convention", "params_style")]

# mmcv's marker of random draws can only be read from an instance; autodoc reads it from the class.
read_from_instance = cache_randomness.__get__
cache_randomness.__get__ = lambda draw, obj, cls: read_from_instance(draw, obj, cls) if obj is not None else draw.func
