/**
 * Which environment variables stand for which settings, and a warning for those that were meant to but are misspelt:
 * a variable that is silently ignored leaves a default in force that nobody chose.
 */
import { closest } from '../admin/fault.ts';
import type { ConfigFault } from '../admin/fault.ts';
import type { Environment } from './interpolate.ts';
import { ENVIRONMENT_SETTINGS } from './schema.ts';

/** One setting that the environment gives. */
export interface Override {
  readonly variable: string;
  readonly path: readonly string[];
  /** Absent when the variable could not be taken apart; then `fault` says why. */
  readonly text?: string;
  readonly fault?: ConfigFault;
}

/** The settings that the environment gives, in the order of the table; an empty variable counts as not set. */
export function environmentOverrides(environment: Environment): Override[] {
  return Object.entries(ENVIRONMENT_SETTINGS).flatMap(([variable, setting]): Override[] => {
    const text = environment[variable];
    if (text === undefined || text === '') return [];
    if (setting === 'listen' || setting === 'admin_listen') return listenAddress(variable, setting, text);
    return [{ variable, path: setting.split('.'), text }];
  });
}

/** One variable for host and port; `off` for a listener that can be turned off. */
function listenAddress(variable: string, setting: 'listen' | 'admin_listen', text: string): Override[] {
  if (setting === 'admin_listen' && text === 'off') return [{ variable, path: [setting, 'enabled'], text: 'false' }];
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3];
  if (host === undefined || port === undefined) {
    const message = `must be ADDRESS:PORT${setting === 'admin_listen' ? ', or off' : ''}`;
    const fix = 'write it as 127.0.0.1:8080 or [::1]:8080';
    const fault: ConfigFault = { file: 'environment', path: variable, message, got: JSON.stringify(text), fix };
    return [{ variable, path: [setting], fault }];
  }
  return [
    { variable, path: [setting, 'host'], text: host },
    { variable, path: [setting, 'port'], text: port },
  ];
}

/**
 * CAMBIST_… variables that are one slip away from one that we know. Others are left alone: Kubernetes sets
 * CAMBIST_SERVICE_HOST and the like for a service of that name.
 */
export function misspeltVariables(environment: Environment): ConfigFault[] {
  const known = [...Object.keys(ENVIRONMENT_SETTINGS), 'CAMBIST_CONFIG'].filter((name) => name.startsWith('CAMBIST_'));
  return Object.keys(environment).flatMap((name) => {
    if (!name.startsWith('CAMBIST_') || known.includes(name)) return [];
    const meant = closest(name, known, 2);
    if (meant === undefined) return [];
    return [{ file: 'environment', path: name, message: 'is not known', fix: `did you mean ${meant}?` }];
  });
}
