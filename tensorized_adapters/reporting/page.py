"""One HTML file with everything in it: tables, figures, and every run's command to copy."""

import base64
import html

from .. import __version__
from ..errors import printable
from .about import told_of
from .records import Results
from .tables import METRICS, Table, html_table

_STYLE = """
:root { color-scheme: light; --line: #d8d8d8; --soft: #f5f6f8; --text: #1c1c1c; --quiet: #5c5c5c; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 1.5rem 1rem 4rem; color: var(--text); background: #fff;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h1, p, li, .run { overflow-wrap: anywhere; }  /* names and paths are the user's, of any length */
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { border-bottom: 2px solid var(--text); vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff;
  white-space: normal; min-width: 9rem; max-width: 22rem; overflow-wrap: anywhere; }
tbody tr:hover td { background: var(--soft); }
/* On a telephone a line of a table is a block, and each of its cells a line with its column's name. */
@media (max-width: 640px) {
  thead { display: none; }
  table, tbody, tr, td { display: block; width: 100%; }
  tr { margin: 0 0 .8rem; border-top: 2px solid var(--text); }
  td { display: flex; justify-content: space-between; gap: 1rem; padding: .2rem 0; white-space: normal; }
  td::before { content: attr(data-column); color: var(--quiet); text-align: left; }
  td:first-child { position: static; max-width: none; font-weight: 600; }
  td:first-child::before { content: none; }
}
.caption, .quiet { color: var(--quiet); font-size: .88rem; }
figure { margin: 0 0 1rem; } figure img { max-width: 100%; height: auto; cursor: zoom-in; }
figure img.large { position: fixed; inset: 0; width: 100vw; height: 100vh; max-width: none; padding: 1rem; z-index: 2;
  object-fit: contain; background: #fff; cursor: zoom-out; }
.run { border: 1px solid var(--line); border-radius: 6px; margin: .6rem 0; padding: .5rem .8rem; }
.run div { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .5rem; align-items: center; }
pre { background: var(--soft); padding: .6rem; border-radius: 4px; margin: .4rem 0 0; font-size: .8rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
button { font: inherit; font-size: .82rem; padding: .2rem .7rem; border: 1px solid var(--line); border-radius: 4px;
  background: #fff; cursor: pointer; } button:hover { background: var(--soft); }
"""
# A page that is opened as a file has no clipboard in some browsers: the text is selected and copied the old way then.
_SCRIPT = """
for (const button of document.querySelectorAll("button")) button.onclick = async () => {
  const text = button.closest(".run").querySelector("pre");
  try { await navigator.clipboard.writeText(text.textContent); }
  catch { getSelection().selectAllChildren(text); document.execCommand("copy"); }
  button.textContent = "copied";
  setTimeout(() => button.textContent = "copy", 1500);
};
for (const picture of document.querySelectorAll("figure img"))
  picture.onclick = () => picture.classList.toggle("large");
addEventListener("keydown", event => {
  if (event.key === "Escape") document.querySelector("img.large")?.classList.remove("large");
});
"""


def page(results: Results, tables: list[Table], figures: list[tuple[str, bytes]]) -> str:
    """The report.

    Args:
        figures: title and SVG file of each.
    """
    told = "; ".join(told_of(results))
    parts = [
        "<h1>Tensorized adapters: results</h1>",
        f'<p class="quiet">{html.escape(told)}. Written by tensorized_adapters {html.escape(__version__)}.</p>',
        *(html_table(table) for table in tables),
        "<h2>Missing</h2>",
        _list(results.missing, "Nothing: every method has every seed on every task."),
    ]
    if results.notes:
        parts += ["<h2>Notes</h2>", _list(results.notes, "")]
    for title, svg in figures:
        source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
        parts.append(
            f'<h2>{html.escape(title)}</h2>\n<figure><img alt="{html.escape(title)}" src="{source}"></figure>'
        )
    parts += ["<h2>Commands</h2>", *_commands(results)]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>Tensorized adapters: results</title><style>{_STYLE}</style>"
    body = "\n".join(parts)
    body += f"\n<script>{_SCRIPT}</script>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _commands(results: Results) -> list[str]:
    blocks = []
    for run in results.runs.itertuples():
        score = f"{METRICS.get(run.metric, run.metric)} {run.last:.4f}"
        title = html.escape(f"{run.method} on {run.task}, seed {run.seed}: {score}")
        blocks.append(
            f'<div class="run"><div><span>{title}</span><button type="button">copy</button></div>'
            f"<pre>{html.escape(run.record['command'])}</pre>"
            f'<span class="quiet">{html.escape(printable(str(run.record["path"])))}</span></div>'
        )
    return blocks


def _list(lines: list[str], otherwise: str) -> str:
    if not lines:
        return f"<p>{html.escape(otherwise)}</p>"
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
