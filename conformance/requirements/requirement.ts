/**
 * What a requirement is: one sentence of a standard in our own words, where it stands, how binding it is, and the
 * scenario that proves it. Requirements are data; nothing here runs.
 */
export const LEVELS = ['MUST', 'MUST NOT', 'SHOULD', 'SHOULD NOT', 'MAY'] as const;
export type Level = (typeof LEVELS)[number];

export interface Requirement {
  /** Document, section and a short name, joined by `-`: `rfc8693-2.2.2-invalid-request`. */
  readonly id: string;
  readonly document: DocumentId;
  readonly section: string;
  readonly level: Level;
  readonly sentence: string;
  readonly scenario: string;
}

export interface SourceDocument {
  readonly title: string;
  /** `standard`, `draft` (a standard in the making), or `field` (what advisories taught; no standard). */
  readonly standing: 'standard' | 'draft' | 'field';
  readonly url: string;
  /** What stands before a section number in a link; absent where the document has no such anchors. */
  readonly anchor?: string;
}

const rfc = (number: number, title: string): SourceDocument => ({
  title: `RFC ${String(number)}, ${title}`,
  standing: 'standard',
  url: `https://www.rfc-editor.org/rfc/rfc${String(number)}`,
  anchor: '#section-',
});

export const DOCUMENTS = {
  rfc6749: rfc(6749, 'OAuth 2.0'),
  rfc7009: rfc(7009, 'Token Revocation'),
  rfc7519: rfc(7519, 'JSON Web Token'),
  rfc7523: rfc(7523, 'JWT Profile for Client Authentication'),
  rfc7523bis: {
    title: 'draft-ietf-oauth-rfc7523bis-11, Updates to JWT Client Authentication (in the RFC Editor’s queue)',
    standing: 'draft',
    url: 'https://datatracker.ietf.org/doc/html/draft-ietf-oauth-rfc7523bis-11',
  },
  rfc7662: rfc(7662, 'Token Introspection'),
  rfc8414: rfc(8414, 'Authorization Server Metadata'),
  rfc8693: rfc(8693, 'Token Exchange'),
  rfc8707: rfc(8707, 'Resource Indicators'),
  rfc8725: rfc(8725, 'JWT Best Current Practices'),
  rfc9068: rfc(9068, 'JWT Profile for Access Tokens'),
  rfc9700: rfc(9700, 'OAuth 2.0 Security Best Current Practice'),
  rfc9728: rfc(9728, 'Protected Resource Metadata'),
  mcp: {
    title: 'Model Context Protocol 2026-07-28, Authorization',
    standing: 'standard',
    url: 'https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization',
  },
  field: {
    title: 'Lessons of public advisories (no standard; our own demands)',
    standing: 'field',
    url: 'https://github.com/advisories',
  },
} as const satisfies Record<string, SourceDocument>;
export type DocumentId = keyof typeof DOCUMENTS;

type Row = readonly [section: string, name: string, level: Level, scenario: string, sentence: string];

/** Requirements of one document from rows of section, short name, level, scenario and sentence. */
export function requirementsOf(document: DocumentId, rows: readonly Row[]): readonly Requirement[] {
  return rows.map(([section, name, level, scenario, sentence]) => ({
    id: section === '' ? `${document}-${name}` : `${document}-${section}-${name}`,
    document,
    section,
    level,
    sentence,
    scenario,
  }));
}

/** Link to the section that a requirement comes from. */
export function sectionUrl(requirement: Requirement): string {
  const source: SourceDocument = DOCUMENTS[requirement.document];
  return source.anchor === undefined || requirement.section === ''
    ? source.url
    : `${source.url}${source.anchor}${requirement.section}`;
}
