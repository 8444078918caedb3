"""How a report looks: on a screen and a telephone, in light and in the dark, on paper."""

from __future__ import annotations

from collections.abc import Mapping

from banana_delivery.reports.style.pictures import THEME

DARK = {
    "ink": "#e6edf3",
    "faint": "#9198a1",
    "grid": "#30363d",
    "paper": "#0d1117",
    "bad": "#ff7b72",
    "good": "#56d364",
    "doubt": "#e3b341",
    "blue": "#79a9f5",
    "green": "#5cc47f",
    "sole": "#b0a3e0",
    "link": "#79a9f5",
}
TEXT = {"bad": "#b42318", "good": "#116329", "doubt": "#7d4e00", "faint": "#59636e"}
LINK = "#0550ae"
"""On paper and in light, where words need more contrast than lines do."""


def _variables(colours: Mapping[str, str]) -> str:
    return "; ".join(f"--{name}: {colour}" for name, colour in colours.items())


LIGHT = {name: colour for colour, name in THEME.items()}
_LIGHT = _variables({**LIGHT, "link": LINK, **{f"{name}-text": colour for name, colour in TEXT.items()}})
_DARK = _variables({**DARK, **{f"{name}-text": DARK[name] for name in TEXT}})

STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
body {{ font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 1.5rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin-bottom: 0 }}
h2 {{ font-size: 1.2rem; margin-top: 2.2rem }} h3 {{ font-size: 1rem }}
h1.good {{ color: var(--good-text) }} h1.bad {{ color: var(--bad-text) }} h1.doubt {{ color: var(--doubt-text) }}
.reason {{ font-size: 1.1rem; margin-top: .3rem; overflow-wrap: break-word }}
.wide {{ overflow-x: auto; margin: .8rem 0 }} .wide:focus-visible {{ outline: 2px solid var(--blue) }}
table {{ border-collapse: collapse; font-size: .9rem }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--grid) }}
th {{ color: var(--faint-text); font-weight: 600 }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
.facts td + td {{ overflow-wrap: anywhere }}
figure {{ margin: 1rem 0; overflow-x: auto }}
figure svg {{ display: block; width: 100%; min-width: 34rem; height: auto }}
.worst {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: 1.2rem }}
.worst figure {{ margin: 0 }} .worst svg, .legend svg {{ min-width: 0 }}
.worst path, .legend path {{ fill: none; stroke-width: 2 }}
.worst .wrong {{ stroke-width: 3.6 }}
.worst .edge, .legend .edge {{ stroke: #000; stroke-opacity: .6; stroke-width: 3.2 }}
.worst .edge.wrong {{ stroke-width: 6 }}
path.label {{ stroke: #fff }} path.production {{ stroke: #56b4e9; stroke-dasharray: 3 3 }}
path.candidate {{ stroke: #f5a623; stroke-dasharray: 9 4 }}
.worst figcaption {{ font-size: .85rem; overflow-wrap: anywhere }}
.legend span {{ white-space: nowrap; margin-right: .8rem }}
.legend svg {{ width: 2.75rem; height: .875rem; vertical-align: middle; margin-right: .3rem }}
pre {{ white-space: pre-wrap; overflow-wrap: break-word }} a {{ color: var(--link) }}
footer {{ color: var(--faint-text); margin-top: 2rem; font-size: .85rem }}
@media print {{
  :root {{ color-scheme: light; {_LIGHT} }}
  @page {{ margin: 14mm }}
  body {{ font-size: 9.5pt; max-width: none; margin: 0; padding: 0 }}
  .wide, figure {{ overflow: visible }} figure svg {{ min-width: 0 }}
  table {{ font-size: 7.5pt; width: 100% }} th, td {{ padding-right: .4rem }}
  td.number, th.number {{ white-space: normal }}
  h1, h2, h3 {{ break-after: avoid }} tr, figure {{ break-inside: avoid }}
  .worst {{ grid-template-columns: 1fr 1fr 1fr; gap: .6rem }} .worst figcaption {{ font-size: 7.5pt }}
  .wide:not(.facts) td {{ overflow-wrap: normal }}
}}
""".strip()
