/**
 * `${VARIABLE}` and `${VARIABLE:-default}` in the strings of a settings file. A variable that is not set and has no
 * default is a fault, never an empty string: an empty issuer or password must not come about by accident.
 * `$${` writes a literal `${`.
 */
import type { ConfigDocument } from '../admin/document.ts';
import { formatPath } from '../admin/fault.ts';
import type { ConfigFault, PathStep } from '../admin/fault.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Interpolated {
  readonly value: unknown;
  /** Paths of the strings that held a variable. */
  readonly touched: readonly PathStep[][];
  readonly faults: readonly ConfigFault[];
}

const REFERENCE = /\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g;

/** Replaces the variables in every string of the document; an empty variable counts as not set. */
export function interpolate(document: ConfigDocument, environment: Environment): Interpolated {
  const touched: PathStep[][] = [];
  const faults: ConfigFault[] = [];

  function replace(text: string, path: PathStep[]): string {
    if (!text.includes('${')) return text;
    touched.push(path);
    const complain = (message: string, fix: string) => {
      faults.push({ file: document.file, position: document.positionOf(path), path: formatPath(path), message, fix });
    };
    return text.replaceAll(REFERENCE, (whole: string, name: string | undefined, preset: string | undefined) => {
      if (whole === '$${') return '${';
      if (name === undefined) {
        complain(
          'holds "${" without a variable',
          'write ${NAME} or ${NAME:-default}, or $${ for the characters themselves',
        );
        return '';
      }
      const value = environment[name];
      if (value !== undefined && value !== '') return value;
      if (preset === undefined)
        complain(`${name} is not set in the environment`, `set ${name}, or write \${${name}:-default}`);
      return preset ?? '';
    });
  }

  function walk(value: unknown, path: PathStep[]): unknown {
    if (typeof value === 'string') return replace(value, path);
    if (Array.isArray(value)) return value.map((item, index) => walk(item, [...path, index]));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item, [...path, key])]));
  }

  return { value: walk(document.value, []), touched, faults };
}
