/**
 * The report as JUnit XML, one test suite per profile, for the CI systems that read it.
 */
import type { Report, ReportEntry } from './document.ts';

export function junitReport(report: Report): string {
  const profiles = [...new Set(report.requirements.map(({ profile }) => profile))];
  const suites = profiles.map((profile) => {
    const own = report.requirements.filter((one) => one.profile === profile);
    const count = (verdict: string) => own.filter((one) => one.verdict === verdict).length;
    return [
      `  <testsuite name="${escapeXml(profile)}" tests="${own.length}" failures="${count('fail')}" skipped="${count('skipped')}">`,
      ...own.map(testCase),
      '  </testsuite>',
    ].join('\n');
  });
  const { counts } = report;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="${escapeXml(report.target.name)}" tests="${report.requirements.length}" failures="${counts.fail}" skipped="${counts.skipped}" time="${(report.duration_ms / 1000).toFixed(3)}">`,
    ...suites,
    '</testsuites>',
    '',
  ].join('\n');
}

function testCase(entry: ReportEntry): string {
  const head = `    <testcase classname="${escapeXml(entry.scenario)}" name="${escapeXml(`${entry.id} (${entry.level}) ${entry.sentence}`)}"`;
  const seen = escapeXml(entry.seen);
  switch (entry.verdict) {
    case 'pass':
      return `${head}/>`;
    case 'skipped':
      return `${head}>\n      <skipped message="${seen}"/>\n    </testcase>`;
    case 'warn':
      return `${head}>\n      <system-out>warning: ${seen}</system-out>\n    </testcase>`;
    case 'fail':
      return `${head}>\n      <failure message="${seen}"/>\n    </testcase>`;
  }
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd');
}
