"""The documentation site: Sphinx, the book theme and myst-nb, as the documentation of optax and flax is built.

Sphinx rather than MkDocs because the API pages come from docstrings by autodoc, because myst-nb runs the code of a page
when the page is built, and because readers come from projects whose sites look like this one.
"""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]
# for the notebooks' kernels and the commands of pages, too
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))

import api_pages  # noqa: E402
import cause_entries  # noqa: E402
import rule_manifest  # noqa: E402

project = "funcsgd + torch_bridge"
author = "the authors of funcsgd"
project_copyright = author
version = release = version_of("funcsgd")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
    "terminal",
]
exclude_patterns = ["README.md", "_build", "_extensions", "_generated", "**/.ipynb_checkpoints"]
default_role = "py:obj"
nitpicky = False

myst_enable_extensions = ["colon_fence"]  # formulas are plain text, as in docstrings: nothing is loaded from elsewhere
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_merge_streams = True

napoleon_use_ivar = True
autodoc_typehints = "none"  # types are in the sentences about arguments; signatures stay readable
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
toc_object_entries = False

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_generated/published"]
html_show_sourcelink = False
html_theme_options = {
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

GENERATED = HERE / "_generated"
GENERATED.mkdir(exist_ok=True)
(GENERATED / "published").mkdir(exist_ok=True)
(GENERATED / "causes.md").write_text(cause_entries.page())
(GENERATED / "rules.md").write_text(rule_manifest.table())
api_pages.write(HERE / "api")
