"""How the report looks. Colours are variables: light and dark differ in nothing else."""

__all__ = ["CSS"]

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1c232d; --faint: #647082; --grid: #dde2e9;
  --reference: #1f6fd0; --ours: #d9601a; --good: #1a7f4b; --bad: #c62f3b; --wash: #eef1f5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2029; --ink: #e4e8ee; --faint: #97a3b4; --grid: #323b48;
    --reference: #62a5f5; --ours: #f58f4a; --good: #4cc38a; --bad: #ff7a80; --wash: #222a35;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 24px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 36px 0 6px; }
h3 { font-size: 15px; margin: 0; }
p { margin: 4px 0 10px; max-width: 76ch; }
p.files { overflow-wrap: anywhere; }
p.files, p.wide { max-width: none; }
.faint, figcaption, .note { color: var(--faint); font-size: 13px; }
.reference { color: var(--reference); font-weight: 600; }
.ours { color: var(--ours); font-weight: 600; }
.verdict { border-left: 4px solid; border-radius: 4px; padding: 10px 14px; margin: 16px 0; background: var(--card); }
.card ul { margin: 0; padding-left: 18px; font-size: 14px; }
.verdict ul { margin: 4px 0 0; padding-left: 18px; font-size: 14px; }
.verdict.good { border-color: var(--good); }
.verdict.bad { border-color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 10px; margin: 18px 0; }
.tile, .card { background: var(--card); border: 1px solid var(--grid); border-radius: 8px; padding: 12px 14px; }
.tile b { display: block; font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; }
.card { margin: 10px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--faint); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--wash); }
tr.short td { color: var(--bad); }
svg { max-width: 100%; height: auto; display: block; }
svg text { font-family: inherit !important; }
.pair { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 1fr); gap: 10px; align-items: center; }
.au { display: flex; flex-wrap: wrap; gap: 4px 18px; align-items: baseline; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 14px; }
figure { margin: 0; }
svg.face { width: 100%; border-radius: 6px; background: var(--wash); }
.ring { fill: none; stroke: #4ea1ff; stroke-width: calc(var(--unit) * .38); }
.dot { fill: #ff8a3d; }
.apart { stroke: #ffffff; stroke-width: calc(var(--unit) * .3); }
details > summary { cursor: pointer; font-weight: 600; margin: 8px 0; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } }
@media print { .card, .tile, figure { break-inside: avoid; } }
"""
