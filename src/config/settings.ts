/**
 * The settings of one process, from `cambist.yaml` and the environment. `parseSettings` is pure (files that a setting
 * names come through a function); `loadSettings` reads the files. Both return either settings that can be run as they
 * are or every fault at once. A default is never less safe than what it stands for: nothing here opens an address,
 * makes up a key for a shared database, or falls back from a setting that is wrong.
 */
import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { checkValue, schemaAt, valueAt } from '../admin/check.ts';
import { emptyDocument, readDocument } from '../admin/document.ts';
import type { ConfigDocument } from '../admin/document.ts';
import { formatPath, sortFaults } from '../admin/fault.ts';
import type { ConfigFault, PathStep } from '../admin/fault.ts';
import { environmentOverrides, misspeltVariables } from './environment.ts';
import type { Override } from './environment.ts';
import { interpolate } from './interpolate.ts';
import { planExport } from './opentelemetry.ts';
import type { Environment } from './interpolate.ts';
import { SECRET_SETTINGS, plainJsonSchema, settingsSchema } from './schema.ts';
import { settle } from './settle.ts';
import type { Settings as Settled } from './settle.ts';
import type { ExportPlan } from './opentelemetry.ts';

/** Settings that can be run; `openTelemetry`: what is exported, by the variables of its specification. */
export type Settings = Settled & { readonly openTelemetry: ExportPlan | undefined };

export interface SettingsSource {
  /** Absent when there is no file: then the defaults and the environment say everything. */
  readonly document: ConfigDocument | undefined;
  readonly environment: Environment;
  /** Folder against which relative paths in the file are read; `cwd` serves those of the environment. */
  readonly fileFolder: string;
  readonly cwd: string;
  readonly hostName: string;
  /** The content of a file that a secret setting names, or why it cannot be had. */
  readonly readSecret: (path: string) => { readonly text: string } | { readonly failure: string };
}

/** Settings, or every fault of them. */
export function parseSettings(source: SettingsSource): Settings | ConfigFault[] {
  const document = source.document ?? emptyDocument('defaults');
  const faults: ConfigFault[] = misspeltVariables(source.environment);
  if (document.value !== null && (typeof document.value !== 'object' || Array.isArray(document.value)))
    return [
      { file: document.file, position: { line: 1, column: 1 }, path: '', message: 'must be a mapping of settings' },
    ];

  faults.push(...plainTextKeys(document));
  const { value, touched, faults: missing } = interpolate(document, source.environment);
  faults.push(...missing);
  const overrides = environmentOverrides(source.environment);
  faults.push(...overrides.flatMap((override) => (override.fault === undefined ? [] : [override.fault])));
  const tree = (value ?? {}) as Record<string, unknown>;
  for (const { path, text } of overrides) if (text !== undefined) setAt(tree, path, text);
  for (const path of [...touched, ...overrides.map((override) => override.path)]) coerce(tree, path);
  faults.push(...readSecrets(tree, overrides, document, source));

  const isSecret = (path: readonly PathStep[]) => SECRET_SETTINGS.includes(settingOf(path));
  const checked = checkValue(settingsSchema, tree, { document, base: [], secret: isSecret });
  const settled = checked.ok ? settle(checked.value, document, source, overrides) : checked.faults;
  if (Array.isArray(settled)) {
    // A value that could not be had is already a fault: what is wrong with its empty place is not another one.
    const said = new Set(faults.map((fault) => fault.path));
    faults.push(...settled.filter((fault) => !said.has(fault.path)));
  }
  const openTelemetry = planExport(source.environment);
  if (Array.isArray(openTelemetry)) faults.push(...openTelemetry);
  if (faults.length > 0 || Array.isArray(settled) || Array.isArray(openTelemetry))
    return sortFaults(faults.map((fault) => blameVariable(fault, overrides)));
  return { ...settled, openTelemetry };
}

export interface LoadOptions {
  /** From `--config`; else CAMBIST_CONFIG; else `cambist.yaml` in the working folder, if there is one. */
  readonly configFile?: string | undefined;
  readonly env: Environment;
  readonly cwd: string;
  /** Told of every file that a secret setting names. */
  readonly onSecretFile?: (path: string) => void;
}

/** Reads the settings file and the files it names. */
export function loadSettings({ configFile, env, cwd, onSecretFile }: LoadOptions): Settings | ConfigFault[] {
  const named = configFile ?? (env['CAMBIST_CONFIG'] === '' ? undefined : env['CAMBIST_CONFIG']);
  const file = named ?? 'cambist.yaml';
  const path = resolve(cwd, file);
  let document: ConfigDocument | undefined;
  if (named !== undefined || existsSync(path)) {
    const read = readText(path);
    if ('failure' in read)
      return [
        { file, path: '', message: `cannot be read: ${read.failure}`, fix: 'name a file that exists with --config' },
      ];
    const parsed = readDocument(read.text, file);
    if (Array.isArray(parsed)) return parsed;
    document = parsed;
  }
  return parseSettings({
    document,
    environment: env,
    fileFolder: dirname(path),
    cwd,
    hostName: hostname(),
    readSecret: (secretFile) => {
      onSecretFile?.(secretFile);
      return readText(secretFile);
    },
  });
}

function readText(path: string): { text: string } | { failure: string } {
  try {
    return { text: readFileSync(path, 'utf8') };
  } catch (error) {
    return { failure: (error as NodeJS.ErrnoException).code ?? 'unreadable' };
  }
}

/** Secrets that never stand in the file, and the variable that can give each. */
const NEVER_PLAIN: Readonly<Record<string, string>> = {
  key_encryption_key: 'CAMBIST_KEY_ENCRYPTION_KEY',
  previous_key_encryption_keys: 'CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS',
  'vault.login.token': 'VAULT_TOKEN',
  'vault.login.secret_id': 'CAMBIST_VAULT_SECRET_ID',
};

/** A key that stands in the file itself ends up in version control. */
function plainTextKeys(document: ConfigDocument): ConfigFault[] {
  return Object.entries(NEVER_PLAIN).flatMap(([setting, variable]) => {
    const steps = setting.split('.');
    const value = valueAt(document.value, steps);
    const places: PathStep[][] = Array.isArray(value) ? value.map((_, index) => [...steps, index]) : [steps];
    return places.flatMap((place) => plainTextKey(document, place, variable));
  });
}

function plainTextKey(document: ConfigDocument, place: PathStep[], variable: string): ConfigFault[] {
  const raw = valueAt(document.value, place);
  const elsewhere = typeof raw === 'string' && /^(file:.+|\$\{[A-Za-z_][A-Za-z0-9_]*\})$/.test(raw);
  if (raw === undefined || raw === null || elsewhere) return [];
  const fix = `keep it in a file of its own and write file:PATH, or write \${${variable}}; replace this one`;
  return [
    {
      file: document.file,
      position: document.positionOf(place),
      path: formatPath(place),
      message: 'must not stand in the file in plain text',
      fix,
    },
  ];
}

/** Puts the content of `file:PATH` in place of it, in lists for each of their entries. */
function readSecrets(
  tree: Record<string, unknown>,
  overrides: readonly Override[],
  document: ConfigDocument,
  source: SettingsSource,
): ConfigFault[] {
  const places = SECRET_SETTINGS.flatMap((setting): PathStep[][] => {
    const steps = setting.split('.');
    const value = valueAt(tree, steps);
    return Array.isArray(value) ? value.map((_, index) => [...steps, index]) : [steps];
  });
  return places.flatMap((steps) => {
    const value = valueAt(tree, steps);
    if (typeof value !== 'string' || !value.startsWith('file:')) return [];
    const named = value.slice('file:'.length);
    const fromEnvironment = overrides.some((override) => override.path.join('.') === settingOf(steps));
    const path = isAbsolute(named) ? named : join(fromEnvironment ? source.cwd : source.fileFolder, named);
    const read = source.readSecret(path);
    if ('text' in read) {
      setAt(tree, steps, read.text.trim());
      return [];
    }
    setAt(tree, steps, undefined);
    return [
      {
        file: document.file,
        position: document.positionOf(steps),
        path: formatPath(steps),
        message: `${path} cannot be read: ${read.failure}`,
        fix: 'create it, readable by this user only',
      },
    ];
  });
}

/** The name of a setting, from its place or that of one of its entries. */
function settingOf(steps: readonly PathStep[]): string {
  return steps.filter((step) => typeof step === 'string').join('.');
}

function setAt(tree: Record<string, unknown>, path: readonly PathStep[], value: unknown): void {
  let holder = tree;
  for (const step of path.slice(0, -1)) {
    const inner = holder[step];
    // What is there and is no mapping is a fault that the check will show; it is not overwritten.
    if (inner !== undefined && inner !== null && typeof inner !== 'object') return;
    holder = (holder[step] = inner ?? {}) as Record<string, unknown>;
  }
  holder[path.at(-1) ?? ''] = value;
}

/** Variables are text: a setting that is a number, a truth value or a list (commas between) gets one when the text is one. */
function coerce(tree: Record<string, unknown>, path: readonly PathStep[]): void {
  const text = valueAt(tree, path);
  const shape = schemaAt(plainJsonSchema(), path);
  if (typeof text !== 'string') return;
  const forms = [shape, ...((shape?.['anyOf'] ?? []) as (typeof shape)[])].map((form) => form?.['type']);
  const type = forms.find((form) => form !== undefined && form !== 'null');
  if (forms.includes('null') && text === 'null') setAt(tree, path, null);
  if ((type === 'integer' || type === 'number') && /^-?\d{1,15}$/.test(text)) setAt(tree, path, Number(text));
  if (type === 'boolean' && (text === 'true' || text === 'false')) setAt(tree, path, text === 'true');
  if (type === 'array') setAt(tree, path, text === '' ? [] : text.split(',').map((item) => item.trim()));
}

/** A fault of a value that came from the environment names the variable, not a place in the file. */
function blameVariable(fault: ConfigFault, overrides: readonly Override[]): ConfigFault {
  const place = fault.path.replace(/\[\d+\]$/, '');
  const culprit = overrides.find((override) => override.path.join('.') === place);
  return culprit === undefined ? fault : { ...fault, file: 'environment', position: undefined, path: culprit.variable };
}
