/** The look of report.html: one column, light and dark, printable. Text and lines keep a contrast of 4.5 and 3 to 1. */
export const REPORT_STYLE = `
:root{--ground:#fff;--raised:#f5f6f8;--ink:#1b1f24;--quiet:#57606a;--rule:#d6dae0;--a:#0b62c4;--b:#b3440b;--faint:#9db8d9;--good:#11703a;--bad:#b3261e;--wait:#7a5200}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--raised:#1e2228;--ink:#e7eaee;--quiet:#a3abb5;--rule:#343a42;--a:#6db0ff;--b:#ff9d66;--faint:#3f5f86;--good:#6bd196;--bad:#ff8f86;--wait:#e6b450}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1200px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:28px;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:18px;margin:40px 0 12px}
.id{margin:4px 0 0;color:var(--quiet);font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere}
.reason{margin:12px 0 0;padding:10px 14px;border-left:3px solid var(--bad);background:var(--raised)}
.status{font-size:14px;font-weight:600;vertical-align:middle;margin-left:6px;padding:2px 10px;border:1px solid currentColor;border-radius:99px}
.succeeded{color:var(--good)}.failed{color:var(--bad)}.cancelled,.running{color:var(--wait)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(176px,1fr));gap:12px;margin:24px 0 0}
.cards div{background:var(--raised);border-radius:8px;padding:12px 14px}
.cards dt{color:var(--quiet);font-size:13px}
.cards dd{margin:2px 0 0;font-size:17px;font-weight:600;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:20px}
figure{margin:0;background:var(--raised);border-radius:8px;padding:14px 14px 8px}
figcaption{font-weight:600}
.legend{list-style:none;display:flex;gap:16px;margin:4px 0 0;padding:0;color:var(--quiet);font-size:13px}
.legend span{display:inline-block;width:18px;height:3px;margin-right:6px;vertical-align:middle}
.legend .a{background:var(--a)}.legend .b{background:var(--b)}.legend .faint{background:var(--faint)}
svg{display:block;width:100%;height:auto;margin-top:6px}
svg text{fill:var(--quiet);font:12px system-ui,sans-serif;font-variant-numeric:tabular-nums}
svg path{fill:none;stroke-width:2;stroke-linejoin:round}
path.a{stroke:var(--a)}path.b{stroke:var(--b)}path.faint{stroke:var(--faint);stroke-width:1.5}
circle.a{fill:var(--a)}circle.b{fill:var(--b)}circle.faint{fill:var(--faint)}
.grid{stroke:var(--rule);stroke-width:1}
table{border-collapse:collapse;width:100%;margin:0 0 20px;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:6px 12px 6px 0;border-bottom:1px solid var(--rule);overflow-wrap:anywhere;white-space:pre-wrap}
thead th{color:var(--quiet);font-size:13px;white-space:nowrap}
tbody th{font-weight:400;color:var(--quiet)}
.facts th{width:170px;white-space:nowrap}
.samples th,.samples td{width:33%}
.samples tbody th{color:var(--ink)}
.numbers td,.numbers th{width:25%}
pre{margin:0;padding:14px;background:var(--raised);border-radius:8px;overflow-x:auto;font:13px/1.5 ui-monospace,monospace}
@media print{main{padding:0}figure,.cards div{break-inside:avoid}}
`.trim();
