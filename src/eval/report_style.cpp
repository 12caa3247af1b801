#include "eval/report_parts.h"

namespace mose::eval::report {

std::string style() {
  return R"css(:root {
  --bg: #f7f6f3; --card: #ffffff; --ink: #1c1e23; --soft: #5d626c; --line: #e3e1db;
  --accent: #2756c5; --good: #17734a; --good-bg: #e3f3ea; --bad: #b3322f; --bad-bg: #fbe9e7;
  --miss: #6b6f78; --heat: #2756c5; --grid: #ebe9e4;
  --arm0: #2756c5; --arm1: #d0571d; --arm2: #0f8370; --arm3: #8440bf; --arm4: #9a7400; --arm5: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #131418; --card: #1b1d23; --ink: #e9e9ec; --soft: #9fa4b0; --line: #30333c;
    --accent: #86a8ff; --good: #6fd3a0; --good-bg: #173528; --bad: #ff9d95; --bad-bg: #43211f;
    --miss: #9fa4b0; --heat: #7ea3ff; --grid: #282b33;
    --arm0: #7ea3ff; --arm1: #ff9a62; --arm2: #4ecbb2; --arm3: #c592f5; --arm4: #dcb64a; --arm5: #a5abb8;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 16px/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 1160px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 56px; }
.eyebrow { font-size: 13px; letter-spacing: .09em; text-transform: uppercase; color: var(--soft); }
h1 { font-size: clamp(28px, 4.6vw, 44px); line-height: 1.12; letter-spacing: -.022em; margin: 8px 0 10px;
  font-weight: 680; text-wrap: balance; }
h2 { font-size: 24px; letter-spacing: -.012em; line-height: 1.25; margin: 0 0 4px; font-weight: 650; }
h3 { font-size: 16px; margin: 28px 0 10px; font-weight: 620; }
h4 { font-size: 14px; margin: 0 0 4px; font-weight: 600; }
.lead { font-size: 18px; color: var(--soft); max-width: 62ch; margin: 0 0 8px; text-wrap: pretty; }
nav { display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 18px 0 0; padding: 10px 0;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); font-size: 15px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
section { margin: 56px 0 0; scroll-margin-top: 16px; }
.sub { color: var(--soft); margin: 0 0 16px; max-width: 72ch; font-size: 15px; text-wrap: pretty; }
footer { color: var(--soft); font-size: 13px; margin-top: 64px; padding-top: 16px; padding-bottom: 40px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin-top: 28px; }
.card, .panel { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; min-width: 0; }
.card .what { font-size: 14px; color: var(--soft); }
.card .value { font-size: 36px; line-height: 1.15; font-weight: 660; letter-spacing: -.025em; margin: 2px 0 6px;
  font-variant-numeric: tabular-nums; }
.card .value small { font-size: 16px; font-weight: 500; color: var(--soft); letter-spacing: 0; }
.card .more { font-size: 13.5px; color: var(--soft); line-height: 1.45; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 14px; margin: 0 0 12px; }
.tag { display: inline-flex; align-items: baseline; gap: 7px; }
.swatch { width: 11px; height: 11px; border-radius: 3px; flex: none; display: inline-block; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 14px; }
.panels + .panels, .panels + .scroll, .scroll + .scroll { margin-top: 14px; }
.panel svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; }
.scroll.bare { background: none; border: 0; border-radius: 0; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 9px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
thead th { font-weight: 550; color: var(--soft); font-size: 13px; }
thead tr:first-child:not(:last-child) th { border-bottom: 0; padding-bottom: 2px; }
thead tr:first-child:not(:last-child) th[colspan] { color: var(--ink); font-weight: 620; text-align: left; }
th.group, td.group { border-left: 1px solid var(--line); }
tbody th { text-align: left; font-weight: 550; }
th:first-child { position: sticky; left: 0; background: var(--card); text-align: left; z-index: 1; }
td.best { font-weight: 700; } td.soft { color: var(--soft); }
td .pm { display: block; font-size: 11.5px; color: var(--soft); font-weight: 400; line-height: 1.2; }
.tint { position: relative; }
.tint::before { content: ""; position: absolute; inset: 3px 4px; border-radius: 5px; background: var(--heat);
  opacity: calc(var(--v) * .38); }
.tint span { position: relative; }
svg text { font-family: inherit; fill: var(--soft); }
svg .axis { stroke: var(--line); } svg .grid { stroke: var(--grid); } svg .ink { fill: var(--ink); }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .hit { fill: transparent; stroke: none; } svg .hit:hover { fill: var(--ink); }
.heat rect.cell { fill: var(--heat); } .heat rect.back { fill: var(--grid); }
.heat rect.assigned { fill: none; stroke: var(--ink); stroke-width: 1.3; }
.heat .stage { letter-spacing: .08em; font-weight: 600; } .heat .none { opacity: .55; }
.layer { margin-bottom: 14px; }
.layer h3 { margin: 0 0 2px; }
.layer .meta { color: var(--soft); font-size: 14px; margin: 0 0 10px; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 16px 24px; }
.scale { display: flex; align-items: center; gap: 8px; font-size: 13px; color: var(--soft); flex-wrap: wrap; margin: 0 0 12px; }
.ramp { width: 120px; height: 11px; border-radius: 3px; background: linear-gradient(90deg, var(--grid), var(--heat)); }
.scale span.home { display: inline-flex; align-items: center; gap: 8px; margin-left: 10px; }
.outline { width: 16px; height: 11px; border: 1.5px solid var(--ink); }
.sample { margin-top: 14px; padding: 0; overflow: hidden; }
.sample .top { display: grid; grid-template-columns: minmax(0, 1.25fr) minmax(0, 1fr); }
.sample figure { margin: 0; min-width: 0; }
.sample .picture { position: relative; background: var(--grid); }
.sample figcaption { display: flex; flex-wrap: wrap; gap: 2px 16px; padding: 10px 20px; font-size: 13px; color: var(--soft); }
.sample figcaption b { color: var(--bad); font-weight: 700; }
.sample img { display: block; width: 100%; height: auto; }
.sample figure svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.sample figure rect { fill: none; stroke: #ff3b30; stroke-width: 2; vector-effect: non-scaling-stroke; }
.sample figure rect.badge { fill: #d3261c; stroke: none; } .sample figure text { fill: #fff; font-weight: 700; }
.answer { padding: 16px 20px 18px; min-width: 0; overflow-wrap: anywhere; }
.answer h4 { font-size: 15px; margin-bottom: 8px; }
.answer h5 { margin: 12px 0 2px; font-size: 12px; letter-spacing: .07em; text-transform: uppercase; color: var(--soft); font-weight: 600; }
.answer p { margin: 0; font-size: 14.5px; line-height: 1.5; white-space: pre-line; }
.arms { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); border-top: 1px solid var(--line); }
.arms .answer { box-shadow: -1px -1px 0 var(--line); }
.chips { display: flex; flex-wrap: wrap; gap: 5px; margin-top: 7px; }
.chips + .chips { margin-top: 5px; padding-top: 6px; border-top: 1px dotted var(--line); }
.chip { font-size: 12.5px; line-height: 1.35; padding: 2px 8px; border-radius: 6px; border: 1px solid var(--line); }
.chip.right { background: var(--good-bg); color: var(--good); border-color: transparent; }
.chip.wrong { background: var(--bad-bg); color: var(--bad); border-color: transparent; }
.chip.missed { color: var(--miss); border-style: dashed; border-color: var(--miss); }
.quiet { color: var(--soft); font-style: italic; }
.prose { max-width: 72ch; } .prose p { margin: 0 0 12px; font-size: 15px; }
details > summary { cursor: pointer; color: var(--accent); font-size: 15px; margin: 12px 0; }
[hidden] { display: none !important; }
thead th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: inherit; }
thead th button:hover { color: var(--accent); }
thead th button::after { content: "\2195"; margin-left: 4px; opacity: .35; font-size: 11px; }
thead th[aria-sort="ascending"] button::after { content: "\2191"; opacity: 1; color: var(--accent); }
thead th[aria-sort="descending"] button::after { content: "\2193"; opacity: 1; color: var(--accent); }
td.text, th.text { text-align: left; }
tr.published th, tr.published td { color: var(--soft); font-weight: 400; }
tr.published th .pm { white-space: normal; max-width: 34ch; }
tbody th .pm { display: block; font-size: 11.5px; color: var(--soft); font-weight: 400; line-height: 1.3; }
.scroll + .sub { margin-top: 14px; }
ul.sub { padding-left: 20px; margin: 0 0 16px; overflow-wrap: anywhere; }
.filter { display: flex; flex-wrap: wrap; gap: 10px 18px; align-items: center; margin: 12px 0; font-size: 14px; color: var(--soft); }
.filter label { display: inline-flex; gap: 7px; align-items: center; }
.filter select, .filter input { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: 7px; padding: 5px 8px; min-width: 0; max-width: 100%; }
.filter output { font-variant-numeric: tabular-nums; }
.scroll.tall { max-height: 70vh; overflow: auto; }
.scroll.tall thead th { position: sticky; top: 0; background: var(--card); z-index: 2; }
.definitions { position: absolute; width: 0; height: 0; }
.sample figure svg.whole { position: static; display: block; height: auto; }
.score { display: inline-block; font-size: 13px; font-weight: 650; font-variant-numeric: tabular-nums; padding: 0 8px; border-radius: 6px;
  margin-left: 8px; color: var(--ink); background: color-mix(in srgb, var(--good) calc(var(--v) * 45%), color-mix(in srgb, var(--bad) calc((1 - var(--v)) * 45%), var(--card))); }
.verdict { margin-top: 10px; padding-top: 9px; border-top: 1px dotted var(--line); font-size: 13px; color: var(--soft); }
.verdict .score { margin: 0 8px 0 0; font-size: 12px; } .verdict b { font-weight: 600; }
.verdict p { font-size: 13px; margin-top: 4px; color: var(--soft); max-height: 16em; overflow: auto; }
@media (max-width: 720px) {
  header, main, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 32px; }
  section { margin-top: 44px; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; }
  .card { padding: 12px 13px; } .card .value { font-size: 28px; } .card .more { font-size: 13px; }
  .sample .top { grid-template-columns: minmax(0, 1fr); }
  .answer { padding: 14px 16px 16px; }
  .cards .card:last-child:nth-child(odd) { grid-column: 1 / -1; }
  th, td { padding: 8px 10px; }
  th:first-child { white-space: normal; min-width: 124px; max-width: 150px; }
  tr.published th .pm { display: none; }
}
@media print { nav { display: none; } .panel, .card, .sample { break-inside: avoid; } }
)css";
}

}  // namespace mose::eval::report
