"""How the documentation becomes a site: ``make docs``. What leads nowhere is a warning, and a warning is an error."""

project = "banana-delivery"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown"}
# From the root of the repository, since documents point at what lies beside them.
root_doc = "docs/index"
include_patterns = ["docs/**", "*.md", "k8s/README.md", "examples/README.md"]
exclude_patterns = [".*", "build", "dist", "banana_delivery", "serving", "tests", "templates", "*.egg-info"]
html_theme = "furo"
html_title = "banana-delivery"
html_copy_source = False
html_show_copyright = False
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
