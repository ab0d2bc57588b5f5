/**
 * The grammar of secret paths and request paths of upstreams. A secret path is plain segments in which placeholders stand
 * for values that are encoded so that none can leave its segment; what could escape is refused when it is registered.
 */
import { z } from 'zod';

export const PLACEHOLDERS = ['subject', 'subject_hash', 'client', 'resource'] as const;
export type Placeholder = (typeof PLACEHOLDERS)[number];

/** Placeholders whose value tells who the person is. */
export const PERSONAL_PLACEHOLDERS: readonly Placeholder[] = ['subject', 'subject_hash'];

/** Segments of letters, digits and `._~=@:+-`, with placeholders; none empty, none of dots alone. */
export const secretPath = z
  .string()
  .max(512)
  .refine(
    (path) => path.split('/').every((segment) => isPlainSegment(segment)),
    'must be segments of letters, digits or "._~=@:+-" with / between them, none empty and none of dots alone',
  );

/** `*` for one segment, `**` as the last one for any rest; segments as they stand in a request, percent-encoded. */
export const pathPattern = z
  .string()
  .max(1024)
  .refine(
    (path) =>
      path.startsWith('/') &&
      path
        .slice(1)
        .split('/')
        .every((segment, index, all) => {
          if (segment === '') return all.length === 1;
          if (segment === '**') return index === all.length - 1;
          return segment === '*' || (/^[A-Za-z0-9._~!$&'()+,=:@%-]+$/.test(segment) && !/^\.+$/.test(segment));
        }),
    'must be a path such as /repos/*/issues or /v1/**',
  );

function isPlainSegment(segment: string): boolean {
  const bare = segment.replace(/\{[a-z_]+\}/g, 'x');
  return /^[A-Za-z0-9._~=@:+-]+$/.test(bare) && !/^\.+$/.test(bare);
}

/** What is wrong with the placeholders of a path; `undefined` = nothing. */
export function templateFault(path: string): string | undefined {
  const known: readonly string[] = PLACEHOLDERS;
  const unknown = [...path.matchAll(/\{([a-z_]+)\}/g)]
    .map(([, name = '']) => name)
    .find((name) => !known.includes(name));
  return unknown === undefined
    ? undefined
    : `has a placeholder {${unknown}} that is not known; there are ${known.map((name) => `{${name}}`).join(', ')}`;
}

/**
 * A secret path with its placeholders replaced. Of a value, letters, digits, `_` and `-` stay; every other byte becomes `~`
 * and two hexadecimal digits, so that two values never meet and none holds a slash or a dot. An empty value throws: it
 * would name what is shared.
 */
export function fillPath(template: string, values: Readonly<Partial<Record<Placeholder, string>>>): string {
  return template.replace(/\{([a-z_]+)\}/g, (_, name: Placeholder) => {
    const value = values[name];
    if (value === undefined || value === '') throw new Error(`a path asks for {${name}}, which this request has not`);
    return [...Buffer.from(value)]
      .map((byte) => {
        const char = String.fromCharCode(byte);
        return /[A-Za-z0-9_-]/.test(char) ? char : `~${byte.toString(16).toUpperCase().padStart(2, '0')}`;
      })
      .join('');
  });
}

/** The placeholders that a path asks for. */
export function placeholdersOf(template: string): readonly Placeholder[] {
  return PLACEHOLDERS.filter((name) => template.includes(`{${name}}`));
}

/** How a template names a filled path: word for word, through a client or resource, or through a person. */
export type PathNaming = 'plain' | 'filled' | 'personal';

/** `undefined`: no values of the placeholders make that path of the template. */
export function pathNaming(template: string, path: string): PathNaming | undefined {
  const places = placeholdersOf(template);
  if (places.length === 0) return template === path ? 'plain' : undefined;
  const pattern = template
    .split(/(?:\{[a-z_]+\})+/)
    .map((text) => text.replace(/[.+]/g, '\\$&'))
    .join('[A-Za-z0-9_~-]+');
  if (!new RegExp(`^${pattern}$`).test(path)) return undefined;
  return places.some((place) => PERSONAL_PLACEHOLDERS.includes(place)) ? 'personal' : 'filled';
}

/** What is wrong with the path of a secret that is there: like a template without placeholders, but longer. */
export function filledPathFault(path: string): string | undefined {
  if (path.length > FILLED_PATH_MAX) return `must have at most ${FILLED_PATH_MAX} characters`;
  if (path.includes('{')) return 'must have no placeholders: write the path of one secret';
  return path.split('/').every(isPlainSegment)
    ? undefined
    : 'must be segments of letters, digits or "._~=@:+-" with / between them, none empty and none of dots alone';
}

/** An entry of an index holds no more than 2,704 bytes. */
const FILLED_PATH_MAX = 2048;
