/**
 * Reads files of objects, and the Cedar files that they name, on the side of whoever typed the command: a server never
 * opens a path that it was sent.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import type { ObjectsText } from '../admin/objects-file.ts';
import type { PlanOptions } from '../admin/apply.ts';
import type { CliContext, CliParts } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';

/** `-` is standard input; paths are relative to the working folder, and those of Cedar files to their file's folder. */
export async function readObjectsTexts(files: readonly string[], parts: CliParts): Promise<ObjectsText[]> {
  if (files.filter((file) => file === '-').length > 1)
    throw new CliFailure(EXIT.usage, 'usage', 'standard input (-) can be read only once');
  const { cedarFilesOf } = await import('../admin/objects-file.ts');
  const texts: ObjectsText[] = [];
  for (const file of files) {
    const text = await readTextInput(file, parts);
    const folder = file === '-' ? parts.cwd : dirname(resolve(parts.cwd, file));
    const includes = cedarFilesOf(text).flatMap((name): [string, string][] => {
      const content = tryRead(resolve(folder, name));
      return content === undefined ? [] : [[name, content]];
    });
    texts.push({ file, text, includes: Object.fromEntries(includes) });
  }
  return texts;
}

/** What files are judged by without a database: an issuer that was given, or the settings. */
export function offlineOptions(
  command: Command,
  context: CliContext,
  issuer: string | undefined,
): Omit<PlanOptions, 'prune'> {
  if (issuer !== undefined) return { ownIssuer: issuer, demoRefusedBecause: undefined };
  const settings = context.settings(command);
  return { ownIssuer: settings.issuer, demoRefusedBecause: settings.demoRefusedBecause };
}

/** The text of a file, or of standard input (`-`). */
export async function readTextInput(file: string, parts: CliParts): Promise<string> {
  return file === '-' ? parts.readStdin() : readText(resolve(parts.cwd, file), file);
}

function readText(path: string, file: string): string {
  const text = tryRead(path);
  if (text === undefined)
    throw new CliFailure(
      EXIT.usage,
      'file_unreadable',
      `${file} cannot be read: name a file that exists and is yours to read`,
    );
  return text;
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
