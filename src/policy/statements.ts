/**
 * Cuts the text of a policy source into its statements and knows where each begins, so that every fault can be shown
 * with its line and column. Cedar's own splitter orders by id and gives no places; Cedar still parses every piece, so
 * a cut at a wrong place is a parse fault and never another meaning.
 *
 * Measures each statement too. Cedar recurses: about 100 brackets in one another overflow its stack when it parses,
 * some 350 operators in a row when it evaluates, and after that the WebAssembly module answers nothing at all until the
 * process restarts. The bounds here keep a factor of three.
 */

/** Brackets in one another. */
export const NESTING_MAX = 16;
/** Operators, member accesses, conditionals and clauses of one statement together. */
export const LINKS_MAX = 100;

export interface Statement {
  /** Exactly as written, from the end of the previous statement to its `;`. */
  readonly text: string;
  /** Index of `text` in its source, in UTF-16 units. */
  readonly start: number;
  /** Index of its first character that is neither white space nor comment. */
  readonly head: number;
  /** Why it must not be given to Cedar; `undefined` = it may. */
  readonly excess: string | undefined;
}

export interface Place {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

// White space, a comment (`//` to the end of the line), a string, a word, a link, or any other single character: Cedar's
// lexis as far as the end of a statement and its size depend on it.
const LEXEME = /\s+|\/\/[^\n\r]*|"(?:\\[^\n]|[^"\\])*"|\w+|&&|\|\||[^]/g;
const LINK = /^(?:&&|\|\||[+\-*.]|if|when|unless)$/;

/** The statements of a source in their order; a last one without `;` is given too, for Cedar to refuse. */
export function splitStatements(source: string): Statement[] {
  const statements: Statement[] = [];
  let start = 0;
  let head = -1;
  let size = new Size();
  const cut = (end: number) => {
    statements.push({ text: source.slice(start, end), start, head, excess: size.excess() });
    start = end;
    head = -1;
    size = new Size();
  };
  for (const { 0: lexeme, index } of source.matchAll(LEXEME)) {
    if (/^\s/.test(lexeme) || lexeme.startsWith('//')) continue;
    if (head === -1) head = index;
    size.count(lexeme);
    if (lexeme === ';') cut(index + 1);
  }
  if (head !== -1) cut(source.length);
  return statements;
}

class Size {
  private nesting = 0;
  private deepest = 0;
  private links = 0;

  count(lexeme: string): void {
    if (/^[([{]$/.test(lexeme)) this.nesting += 1;
    else if (/^[)\]}]$/.test(lexeme)) this.nesting = Math.max(0, this.nesting - 1);
    else if (LINK.test(lexeme)) this.links += 1;
    this.deepest = Math.max(this.deepest, this.nesting);
  }

  excess(): string | undefined {
    if (this.deepest > NESTING_MAX) return `more than ${NESTING_MAX} brackets in one another`;
    return this.links > LINKS_MAX ? `more than ${LINKS_MAX} operators in one statement` : undefined;
  }
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
