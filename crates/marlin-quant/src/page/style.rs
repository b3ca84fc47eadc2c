//! The page's styles: two colour schemes, one column, wide content scrolls by itself.

/// The style sheet.
pub(super) const CSS: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fdfdfb; --soft: #8a939c; --accent: #0b6e99; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #15181c; --soft: #7d8790; --accent: #58b7e0; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p { max-width: 42rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; border-bottom: 1px solid var(--soft); }
figure { display: inline-block; margin: 0 1.5rem 1rem 0; } figcaption { font-weight: 600; }
svg { display: block; font: 11px system-ui, sans-serif; } svg text { fill: var(--ink); }
.cell, .bar { fill: var(--accent); } .cell { stroke: var(--soft); stroke-width: .3; }
.point { fill: var(--accent); fill-opacity: .45; stroke: var(--accent); }
.grid { stroke: var(--soft); stroke-width: .5; }
";
