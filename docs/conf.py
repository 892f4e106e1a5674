"""Sphinx configuration."""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

import epic_sklearn
from epic_sklearn.datasets import make_poisoned_digits

# Made before the build: sphinx looks for the folder when it reads this file.
AUDIT_PAGE = Path(__file__).parent / "_build" / "extra" / "audit.html"
AUDIT_PAGE.parent.mkdir(parents=True, exist_ok=True)

project = "epic_sklearn"
copyright = "2026, The epic_sklearn developers"
version = release = epic_sklearn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# "results": figures of benchmarks.md, and the lines they come from.
exclude_patterns = ["_build", "auto_examples/**/*.ipynb", "results/*.md"]
# "ref.ref": labels of scikit-learn's own pages in docstrings inherited from it.
suppress_warnings = ["config.cache", "ref.ref"]
autosummary_generate = True
templates_path = ["_templates"]
numpydoc_show_class_members = False
autodoc_typehints = "none"  # the docstrings say it in words
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# A blank line ends a doctest in a Markdown block; it need not be shown.
highlight_options = {name: {"stripnl": True} for name in ("python", "pycon")}

html_theme = "pydata_sphinx_theme"
html_title = "epic_sklearn"
html_static_path = ["_static"]
html_css_files = ["epic.css"]
html_extra_path = ["_build/extra"]
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
}
# Pages without subpages need no navigation beside the text.
html_sidebars = {
    page: [] for page in ("index", "install", "comparison", "whats_new", "glossary")
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
}


def write_audit_page(app):
    """Write the audit page that the guide shows, of the quickstart's poisons."""
    if AUDIT_PAGE.exists() and not app.config.plot_gallery:  # a quick build
        return
    problem = make_poisoned_digits(n_targets=1, random_state=1)
    X, y = problem.poisoned(0)
    images = np.clip(problem.poisons[0].insert_into(problem.images), 0, 1)
    model = LogisticRegression(C=0.1, max_iter=1000)
    detector = epic_sklearn.EPICFilter(
        epic_sklearn.LastLayerGradients(model), n_rounds=5
    ).fit(X, y)
    title = "700 digits, ten tampered"
    detector.report(X, y, AUDIT_PAGE, images=images, title=title, overwrite=True)


def setup(app):
    app.connect("builder-inited", write_audit_page)
