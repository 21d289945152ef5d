"""The page's style; figures keep their meaning without colour: every series has a marker of its own, too."""

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --card: #f5f6f8; --line: #d5d9e0; --ink: #1b1f27;
  --quiet: #565e6c; --good: #1a7a43; --bad: #b3261e; --s0: #1f5fbf; --s1: #b4500b; --s2: #14775f; --s3: #8a3aa8; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171c; --card: #1d2128; --line: #39404b; --ink: #e7eaf0;
  --quiet: #a4adbb; --good: #6fcf97; --bad: #ff8a80; --s0: #7fb0ff; --s1: #ffab6b; --s2: #5fd0b0; --s3: #d79bf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 58rem; padding: 2rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.75rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.75rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 1.25rem; }
p { margin: .5rem 0; max-width: 44rem; }
.quiet, caption, figcaption { color: var(--quiet); }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0 0; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.cards dt { color: var(--quiet); font-size: .85rem; }
.cards dd { margin: .1rem 0 0; font-size: 1.1rem; font-weight: 600; overflow-wrap: anywhere; }
.cards dd small { display: block; color: var(--quiet); font-size: .85rem; font-weight: 400; }
figure { margin: 1.25rem 0; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
svg { display: block; width: 100%; max-width: 46rem; height: auto; }
svg text { fill: var(--ink); font: 13px system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
svg .quiet { fill: var(--quiet); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 5 4; }
svg .s0 { fill: var(--s0); stroke: var(--s0); } svg .s1 { fill: var(--s1); stroke: var(--s1); }
svg .s2 { fill: var(--s2); stroke: var(--s2); } svg .s3 { fill: var(--s3); stroke: var(--s3); }
svg circle, svg polygon { fill-opacity: .75; }
svg .faint { opacity: .45; }
svg .whisker { stroke: var(--ink); stroke-width: 2; }
pre { margin: 0; overflow-x: auto; }
.wide { overflow-x: auto; margin: 1rem 0; }
.wide:focus-visible { outline: 2px solid var(--s0); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; padding: .25rem 0; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
th[scope=col] { font-weight: 600; white-space: nowrap; }
th[scope=row] { font-weight: 400; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .85em/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media print {
  :root { color-scheme: light; --ground: #fff; --card: #fff; --line: #bbb; --ink: #000; --quiet: #444; --good: #0b5c2e;
    --bad: #8f1d16; --s0: #1f5fbf; --s1: #b4500b; --s2: #14775f; --s3: #8a3aa8; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  h2 { break-after: avoid; } figure, tr, .cards div { break-inside: avoid; }
  .wide { overflow: visible; }
}
"""
"""Style sheet, as it stands in the page."""
