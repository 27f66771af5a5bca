"""`web_page`: what pages of ours share: how they look, in light and in dark, and how sounds are played by keys."""

from __future__ import annotations

from html import escape

from ssft.report.pictures import COLOURS


def web_page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a whole HTML page that needs no network.

    Args:
        title: plain text.
        body: HTML. Each `article` in it is a pair, whose two sounds the keys A and B play.
        style: CSS beside that of all pages.
        script: JavaScript, run after that of all pages.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
{body}
<script>{_SCRIPT}{script}</script>
</body>
</html>
"""


_STYLE = f"""
:root {{ --ink: #1c1e21; --quiet: #5c6168; --page: #f6f6f4; --card: #fff; --line: #dcdcd8;
  --original: {COLOURS["original"]}; --augmented: {COLOURS["augmented"]}; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8e8e6; --quiet: #a5a9ae; --page: #16181a; --card: #212427; --line: #3b3f44;
    --original: #56b4e9; --augmented: #f0893e; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; }}
h2 {{ font-size: 1.1rem; margin: 0; }}
p, blockquote {{ margin: .4rem 0; }}
blockquote {{ padding-left: .7rem; border-left: 3px solid var(--line); }}
.quiet {{ color: var(--quiet); font-size: .875rem; }}
dl {{ display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: 0; }}
dt {{ color: var(--quiet); font-size: .875rem; }}
dd {{ margin: 0; }}
details {{ margin: .6rem 0; }}
summary {{ cursor: pointer; }}
pre {{ margin: .4rem 0; padding: .7rem; overflow-x: auto; font-size: .8125rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; overflow-wrap: normal; }}
kbd {{ padding: 0 .35em; border: 1px solid var(--line); border-radius: 4px; background: var(--card); }}
article {{ margin: 1rem 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }}
article.marked {{ outline: 2px solid var(--quiet); }}
.players, .tables {{ display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }}
.players {{ margin: .7rem 0; }}
.player {{ padding-left: .6rem; border-left: 5px solid; }}
.player.original {{ border-color: var(--original); }}
.player.augmented {{ border-color: var(--augmented); }}
.player span {{ display: block; font-weight: 600; font-size: .875rem; }}
audio {{ width: 100%; height: 2.5rem; }}
.picture {{ overflow-x: auto; background: #fff; border-radius: 6px; }}
.picture img {{ display: block; width: 100%; min-width: 40rem; }}
.tables {{ margin-top: .8rem; align-items: start; }}
table {{ border-collapse: collapse; width: 100%; font-size: .875rem; }}
th, td {{ padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: normal; }}
.drawn td:last-child {{ width: 99%; overflow-wrap: anywhere; }}
.drawn td:first-child {{ min-width: 8rem; }}
.measured td {{ width: 35%; }}
th {{ font-weight: 600; white-space: nowrap; }}
th.original {{ color: var(--original); }}
th.augmented {{ color: var(--augmented); }}
"""

_SCRIPT = """
const pairs = [...document.querySelectorAll("article")];
let marked, last;
function mark(pair) {
  pairs.forEach(other => other.classList.toggle("marked", other === pair));
  marked = pair;
}
function press(player) {
  if (!player.paused) return player.pause();
  if (last && last !== player && marked.contains(last)) {
    player.currentTime = last.ended ? 0 : player.duration * last.currentTime / last.duration || 0;
  }
  player.play();
}
pairs.forEach(pair => ["pointerdown", "focusin"].forEach(event => pair.addEventListener(event, () => mark(pair))));
document.addEventListener("play", event => {
  document.querySelectorAll("audio").forEach(player => player === event.target || player.pause());
  last = event.target;
  const pair = last.closest("article");
  if (pair) mark(pair);
}, true);
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const place = ["a", "b"].indexOf(event.key.toLowerCase());
  if (marked && place >= 0) press(marked.querySelectorAll("audio")[place]);
});
if (pairs.length) mark(pairs[0]);
"""
