/**
 * Cuts the text of a policy source into its statements and knows where each begins, so that every fault can be shown
 * with its line and column. Cedar's own splitter orders by id and gives no places; Cedar still parses every piece, so
 * a cut at a wrong place is a parse fault and never another meaning.
 */

export interface Statement {
  /** Exactly as written, from the end of the previous statement to its `;`. */
  readonly text: string;
  /** Index of `text` in its source, in UTF-16 units. */
  readonly start: number;
  /** Index of its first character that is neither white space nor comment. */
  readonly head: number;
}

export interface Place {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

// White space, a comment (`//` to the end of the line), a string, or any other single character: Cedar's lexis as far
// as a `;` can hide in it.
const LEXEME = /\s+|\/\/[^\n\r]*|"(?:\\[^]|[^"\\])*"|[^]/g;

/** The statements of a source in their order; a last one without `;` is given too, for Cedar to refuse. */
export function splitStatements(source: string): Statement[] {
  const statements: Statement[] = [];
  let start = 0;
  let head = -1;
  for (const { 0: lexeme, index } of source.matchAll(LEXEME)) {
    if (/^\s/.test(lexeme) || lexeme.startsWith('//')) continue;
    if (head === -1) head = index;
    if (lexeme !== ';') continue;
    const end = index + 1;
    statements.push({ text: source.slice(start, end), start, head });
    start = end;
    head = -1;
  }
  if (head !== -1) statements.push({ text: source.slice(start), start, head });
  return statements;
}

/** Line and column of an index into a source. */
export function placeAt(source: string, index: number): Place {
  const before = source.slice(0, index).split(/\r\n|\r|\n/);
  return { line: before.length, column: (before.at(-1) ?? '').length + 1 };
}

/** Index, in UTF-16 units, of a byte offset into the UTF-8 form of a text: Cedar counts bytes. */
export function indexOfByte(text: string, byteOffset: number): number {
  return Buffer.from(text, 'utf8').subarray(0, byteOffset).toString('utf8').length;
}
