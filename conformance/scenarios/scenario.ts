/**
 * What a scenario is, and what it may do: send requests, and judge requirements by what came back. A refusal cannot be
 * judged before an honest request of the same kind was accepted: the probe throws if a scenario tries.
 */
import type { Presented, Target } from '../target/target.ts';
import type { Authentication, ClientConfig, ClientRole, TokenSource } from '../target/config.ts';
import type { Tweak } from '../issuer/own-issuer.ts';
import type { Form } from '../wire/form.ts';
import type { Answer, Sent } from '../wire/http.ts';
import type { Json } from '../wire/jwt.ts';

export const PROFILES = [
  'core',
  'delegation',
  'external-subjects',
  'jwt-client-auth',
  'jwt-access-token',
  'introspection',
  'revocation',
  'metadata',
  'mcp-authorization-server',
  'mcp-protected-resource',
  'security',
] as const;
export type Profile = (typeof PROFILES)[number];

/** A request to the token endpoint, or with `url` to another endpoint that takes forms. */
export interface Ask {
  readonly form: Form;
  /** Who asks; `nobody` adds no authentication at all. The requester when absent. */
  readonly client?: ClientRole | ClientConfig | 'nobody';
  /** How it authenticates; its first way when absent. */
  readonly method?: Authentication['method'];
  readonly url?: string;
  readonly query?: Form;
  readonly headers?: Readonly<Record<string, string>>;
  readonly httpMethod?: string;
  /** Sent in place of the form, with `contentType`. */
  readonly body?: string;
  readonly contentType?: string;
}

export interface RefusalExpected {
  /** Error codes that count; any when absent. */
  readonly codes?: readonly string[];
  /** HTTP statuses that count; 400–499 when absent. */
  readonly statuses?: readonly number[];
}

export interface Probe {
  readonly target: Target;
  ask(ask: Ask): Promise<Answer>;
  fetch(sent: Partial<Sent> & { url: string }): Promise<Answer>;
  /** A token from a source of the configuration, by name or as it stands. */
  token(source: string | TokenSource, tweak?: Tweak): Promise<Presented>;
  /** The positive control: ends the scenario unless the honest request was answered with a token. */
  accepted(answer: Answer, what: string): Answer;
  /** A positive control of another kind than a token answer. */
  controlled(ok: boolean, what: string, answer: Answer): void;
  /** Claims of an issued token: read from it, or learnt by introspection; `undefined` if neither can be done. */
  claims(answer: Answer): Promise<Json | undefined>;

  /** Judges a requirement; for a MAY, a "no" is the target's policy and passes. */
  holds(id: string, ok: boolean, seen: string, ...evidence: readonly Answer[]): boolean;
  /** Judges that a request was refused. */
  refused(id: string, answer: Answer, expected?: RefusalExpected): boolean;
  /** Passes: the target chose one of the behaviours that the standard leaves free. */
  byPolicy(id: string, seen: string, ...evidence: readonly Answer[]): void;
  /** Only for what the target does not offer or its configuration does not describe. */
  skip(id: string, why: string): void;
  /** Could not be judged because another requirement of the scenario failed. */
  blocked(id: string, by: string): void;
}

export interface Scenario {
  readonly id: string;
  readonly profile: Profile;
  readonly title: string;
  /** Most requests that it sends. */
  readonly requests: number;
  /** Why it cannot run at this target; `undefined` if it can. */
  lacks?(target: Target): string | undefined;
  run(probe: Probe): Promise<void>;
}

/** Whether an answer of a token endpoint carries a token. */
export function isTokenAnswer(answer: Answer): boolean {
  const token = answer.json?.['access_token'];
  return answer.status >= 200 && answer.status < 300 && typeof token === 'string' && token !== '';
}
