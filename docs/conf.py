"""Sphinx configuration."""

import epic_sklearn

project = "epic_sklearn"
copyright = "2026, The epic_sklearn developers"
version = release = epic_sklearn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_title = "epic_sklearn"
exclude_patterns = ["_build", "auto_examples/**/*.ipynb"]
myst_enable_extensions = ["colon_fence"]
numpydoc_show_class_members = False
autosummary_generate = True
# "ref.ref": labels of scikit-learn's own pages in docstrings inherited from it.
suppress_warnings = ["config.cache", "ref.ref"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
}
