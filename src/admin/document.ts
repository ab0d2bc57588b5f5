/**
 * One YAML 1.2 document with the place of everything in it. It refuses what YAML leaves open and configuration must
 * not: duplicate keys, unknown tags, several documents in a file, keys that are not plain text, alias bombs, endless
 * nesting. Nothing here knows what the values mean.
 */
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseAllDocuments } from 'yaml';
import type { Document, Node, YAMLError } from 'yaml';
import { formatPath } from './fault.ts';
import type { ConfigFault, PathStep, Position } from './fault.ts';

/** Larger files are refused before they are parsed. */
const DOCUMENT_MAX_CHARACTERS = 4_000_000;
const ALIASES_MAX = 100;
const SYNTAX_FAULTS_MAX = 10;

export interface ConfigDocument {
  readonly file: string;
  /** Plain JSON values; `null` for an empty file. */
  readonly value: unknown;
  /** Where a value stands; for what is absent, the nearest thing around it. `key` asks for the key instead. */
  positionOf(path: readonly PathStep[], part?: 'value' | 'key'): Position | undefined;
  /** Where a place within a string value stands; for strings that are not written as a block, where they begin. */
  positionWithin(path: readonly PathStep[], inner: Position): Position | undefined;
}

/** Reads a document, or returns every fault of its syntax. */
export function readDocument(text: string, file: string): ConfigDocument | ConfigFault[] {
  const refuse = (message: string, fix?: string): ConfigFault[] => [{ file, path: '', message, fix }];
  if (text.length > DOCUMENT_MAX_CHARACTERS)
    return refuse(`is longer than ${DOCUMENT_MAX_CHARACTERS} characters`, 'split it into several files');
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, version: '1.2' });
    const document = Array.isArray(documents) ? documents[0] : undefined;
    if (document === undefined) return emptyDocument(file);
    if (documents.length > 1)
      return refuse('holds several documents', 'write one document per file (no "---" between)');
    const faults = syntaxFaults(document, lines, file);
    if (faults.length > 0) return faults;
    const value: unknown = document.toJS({ maxAliasCount: ALIASES_MAX });
    const positionOf: ConfigDocument['positionOf'] = (path, part = 'value') => locate(document, lines, path, part);
    const odd = oddStrings(value, []).map((path) => ({
      file,
      position: positionOf(path),
      path: formatPath(path),
      message: 'holds a NUL character or half of a surrogate pair, which no database can keep',
      fix: 'remove it',
    }));
    if (odd.length > 0) return odd;
    const textLines = text.split('\n');
    return { file, value, positionOf, positionWithin: (path, inner) => within(textLines, positionOf(path), inner) };
  } catch (error) {
    if (error instanceof RangeError) return refuse('is nested too deeply', 'flatten it');
    if (error instanceof ReferenceError) return refuse('uses aliases too often', 'write the values out');
    throw error;
  }
}

/** What stands for a file that is not there or holds nothing. */
export function emptyDocument(file: string): ConfigDocument {
  return { file, value: null, positionOf: () => undefined, positionWithin: () => undefined };
}

/** Where there are strings, keys included, that PostgreSQL cannot hold. */
function oddStrings(value: unknown, path: PathStep[]): PathStep[][] {
  if (typeof value === 'string') return /\0|\p{Surrogate}/u.test(value) ? [path] : [];
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap((item, index) => oddStrings(item, [...path, index]));
  return Object.entries(value).flatMap(([key, item]) => [
    ...oddStrings(key, [...path, key]),
    ...oddStrings(item, [...path, key]),
  ]);
}

/** In a block (`|`) every line of the value is a line of the file, moved right by the block's indentation. */
function within(textLines: readonly string[], start: Position | undefined, inner: Position): Position | undefined {
  if (start === undefined || textLines[start.line - 1]?.[start.column - 1] !== '|') return start;
  const indentation = textLines[start.line]?.search(/\S/) ?? 0;
  return { line: start.line + inner.line, column: Math.max(0, indentation) + inner.column };
}

function syntaxFaults(document: Document, lines: LineCounter, file: string): ConfigFault[] {
  // One slip can derail the parser for the rest of the file: the first few faults are the ones to mend.
  return [...document.errors, ...document.warnings].slice(0, SYNTAX_FAULTS_MAX).map((problem) => {
    const { line, col } = lines.linePos(problem.pos[0]);
    const [message, fix] = saySyntax(problem);
    return { file, position: { line, column: col }, path: '', message, fix };
  });
}

function saySyntax({ code, message }: YAMLError): readonly [message: string, fix: string] {
  if (code === 'DUPLICATE_KEY') return ['the same key stands twice in one mapping', 'keep one of them'];
  if (/call stack/i.test(message)) return ['is nested too deeply', 'flatten it'];
  return [`is not valid YAML: ${message}`, 'check indentation, quotes and colons here'];
}

function locate(
  document: Document,
  lines: LineCounter,
  path: readonly PathStep[],
  part: 'value' | 'key',
): Position | undefined {
  let node: unknown = document.contents;
  let offset = document.contents?.range?.[0];
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    const wantsKey = part === 'key' && index === path.length - 1;
    let next: unknown;
    if (isMap(node)) {
      const pair = node.items.find((item) => String(isScalar(item.key) ? item.key.value : item.key) === String(step));
      next = wantsKey ? pair?.key : (pair?.value ?? pair?.key);
    } else if (isSeq(node)) {
      next = node.items[Number(step)];
    }
    const start = (next as Node | null | undefined)?.range?.[0];
    if (start === undefined) break;
    offset = start;
    node = next;
  }
  if (offset === undefined) return undefined;
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}
