/**
 * The report as one self-contained page: no script from elsewhere, no font, no picture. Everything that came from the
 * target is escaped, since a target may answer with markup.
 */
import type { Report, ReportEntry } from './document.ts';

const STYLE = `
:root{color-scheme:light dark;--line:#8884;--pass:#1a7f37;--warn:#9a6700;--fail:#cf222e;--skipped:#6e7781}
@media (prefers-color-scheme:dark){:root{--pass:#3fb950;--warn:#d29922;--fail:#f85149;--skipped:#8b949e}}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line)}
.sub{color:var(--skipped);margin-top:0}.tiles{display:flex;gap:.8rem;flex-wrap:wrap;margin:1.2rem 0}
.tile{border:1px solid var(--line);border-radius:.5rem;padding:.5rem 1rem;min-width:6rem}.tile b{display:block;font-size:1.6rem}
.pass{color:var(--pass)}.warn{color:var(--warn)}.fail{color:var(--fail)}.skipped{color:var(--skipped)}
details{border-bottom:1px solid var(--line);padding:.35rem 0}summary{cursor:pointer;display:flex;gap:.6rem;align-items:baseline}
summary .v{min-width:4.5rem;font-weight:600}summary .t{flex:1}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--line);border-radius:.4rem;padding:.6rem;margin:.4rem 0;max-height:24rem;overflow:auto}
.lvl{font-size:.75rem;border:1px solid var(--line);border-radius:.3rem;padding:0 .35rem;white-space:nowrap}
.two{display:grid;grid-template-columns:1fr 1fr;gap:.6rem}@media(max-width:48rem){.two{grid-template-columns:1fr}}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line)}td.n,th.n{text-align:right}
#only-wrong:checked~main details:not(.is-fail):not(.is-warn){display:none}
`;

export function htmlReport(report: Report): string {
  const { counts, target } = report;
  const title = `Token exchange conformance: ${target.name}`;
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>`,
    `<h1>${escapeHtml(title)}</h1>`,
    `<p class="sub">${escapeHtml(target.issuer)} · ${escapeHtml(report.started_at)} · ${report.requests.sent} requests in ${(report.duration_ms / 1000).toFixed(1)} s</p>`,
    '<div class="tiles">',
    tile('pass', counts.pass, `passed, ${counts.byPolicy} by policy`),
    tile('fail', counts.fail, 'failed'),
    tile('warn', counts.warn, 'warnings (SHOULD)'),
    tile('skipped', counts.skipped, 'skipped'),
    '</div>',
    baselineNotes(report),
    summaryTable(report),
    '<input type="checkbox" id="only-wrong"> <label for="only-wrong">show only what is wrong</label>',
    '<main>',
    ...report.documents.map(({ id, title: name, standing }) =>
      [
        `<h2>${escapeHtml(name)}${standing === 'standard' ? '' : ` <span class="lvl">${standing}</span>`}</h2>`,
        ...report.requirements.filter((one) => one.document === id).map(entryHtml),
      ].join('\n'),
    ),
    '</main>',
    '<p class="sub">“By policy”: the standard leaves the choice to the server. A refusal counts only because the same request without the fault was accepted in the same scenario. Secrets and signatures are masked.</p>',
    '</body></html>',
    '',
  ].join('\n');
}

function tile(kind: string, count: number, text: string): string {
  return `<div class="tile ${kind}"><b>${count}</b>${escapeHtml(text)}</div>`;
}

function baselineNotes(report: Report): string {
  const { unexpected, stale, new_skips: newSkips, gone_skips: goneSkips } = report.baseline;
  const notes = [
    ['Expected to fail and does not', stale],
    ['Skipped and not pinned', newSkips],
    ['Pinned as skipped and judged', goneSkips],
  ] as const;
  const expected = report.counts.fail - unexpected.length;
  const lines = notes
    .filter(([, ids]) => ids.length > 0)
    .map(([text, ids]) => `<p class="fail">${text}: <code>${ids.map(escapeHtml).join('</code>, <code>')}</code></p>`);
  if (expected > 0) lines.push(`<p>${expected} of the failures are in the list of expected ones.</p>`);
  return lines.join('\n');
}

function summaryTable(report: Report): string {
  const verdicts = ['pass', 'fail', 'warn', 'skipped'] as const;
  const rows = report.documents.map(({ id, title }) => {
    const own = report.requirements.filter((one) => one.document === id);
    const cells = verdicts.map((verdict) => {
      const count = own.filter((one) => one.verdict === verdict).length;
      return `<td class="n ${count === 0 ? 'skipped' : verdict}">${count}</td>`;
    });
    return `<tr><td>${escapeHtml(title)}</td>${cells.join('')}</tr>`;
  });
  const head = verdicts.map((verdict) => `<th class="n">${verdict}</th>`).join('');
  return `<table><thead><tr><th>Document</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table>`;
}

function entryHtml(entry: ReportEntry): string {
  const verdict = entry.by_policy ? 'policy' : entry.verdict;
  const evidence = entry.evidence
    .map(
      ({ request, response, durationMs }) =>
        `<div class="two"><pre>${escapeHtml(request)}</pre><pre>${escapeHtml(response)}\n\n${durationMs} ms</pre></div>`,
    )
    .join('\n');
  const section = entry.section === '' ? 'source' : `section ${entry.section}`;
  return [
    `<details class="is-${entry.verdict}" id="${escapeHtml(entry.id)}"><summary><span class="v ${entry.verdict}">${verdict}</span>`,
    `<span class="t">${escapeHtml(entry.sentence)}</span><span class="lvl">${entry.level}</span></summary>`,
    `<p><code>${escapeHtml(entry.id)}</code> · <a href="${escapeHtml(entry.link)}">${section}</a> · scenario <code>${escapeHtml(entry.scenario)}</code></p>`,
    `<p>Seen: ${escapeHtml(entry.seen)}</p>${evidence}</details>`,
  ].join('');
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
