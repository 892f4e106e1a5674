"""Links from estimators' HTML representation to their documentation."""

from __future__ import annotations

from importlib.metadata import metadata
from typing import Any

# Parts of the package whose public names are not at the top.
SUBPACKAGES = ("attacks", "baselines")


def documentation_address() -> str:
    """Address of the documentation, as the installed package states it.

    Examples
    --------
    >>> from epic_sklearn._doc_links import documentation_address
    >>> documentation_address().endswith("/")
    True
    """
    stated = metadata("epic-sklearn").get_all("Project-URL") or []
    links = dict(entry.split(", ", 1) for entry in stated)
    return links.get("Documentation", "").rstrip("/") + "/"


class DocLinks:
    """Mixin, before scikit-learn's BaseEstimator, for what that looks for."""

    _doc_link_module = "epic_sklearn"

    @property
    def _doc_link_template(self) -> str:
        return documentation_address() + "generated/{public_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, Any]:
        package, part, *_ = type(self).__module__.split(".")
        where = f"{package}.{part}" if part in SUBPACKAGES else package
        return {"public_name": f"{where}.{type(self).__name__}"}
