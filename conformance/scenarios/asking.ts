/**
 * The honest requests that scenarios start from: an exchange that the target should grant, and parts of it. Faults are
 * put in by changing single parameters, so that a refusal can only be about the fault.
 */
import type { Tweak } from '../issuer/own-issuer.ts';
import type { ResourceConfig, TokenSource } from '../target/config.ts';
import { tokenTypeUrn } from '../target/target.ts';
import type { Target } from '../target/target.ts';
import type { Form, FormValue } from '../wire/form.ts';
import { formOf, replaced } from '../wire/form.ts';
import type { Answer } from '../wire/http.ts';
import type { Ask, Probe } from './scenario.ts';

export const EXCHANGE_GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const ACCESS_TOKEN_TYPE = tokenTypeUrn('access_token');

export type Changes = Readonly<Record<string, FormValue>>;

export interface ExchangeChoice {
  /** Subject of the configuration; `default` when absent. */
  readonly subject?: string | TokenSource;
  readonly tweak?: Tweak;
  readonly resource?: ResourceConfig;
}

/** The resource that scenarios use unless they need another. */
export function mainResource(target: Target): ResourceConfig {
  const [first] = target.config.resources;
  if (first === undefined) throw new Error('the configuration has no resource');
  return first;
}

export function resourceNamed(target: Target, name: string): ResourceConfig {
  const found = target.config.resources.find((one) => one.name === name);
  if (found === undefined) throw new Error(`the configuration has no resource ${name}`);
  return found;
}

/** Parameters that ask for a resource, in the way that the target understands. */
export function targetParameters(resource: ResourceConfig): Changes {
  if (resource.resource !== undefined) return { resource: resource.resource };
  return { audience: resource.audience };
}

/** `aud` that a token for the resource must have. */
export function expectedAudience(resource: ResourceConfig): string | undefined {
  return resource.aud ?? resource.resource ?? resource.audience;
}

/** The form of an exchange that the target should grant, with some parameters changed. */
export async function exchangeForm(probe: Probe, changes: Changes = {}, choice: ExchangeChoice = {}): Promise<Form> {
  const { config } = probe.target;
  const subject = await probe.token(choice.subject ?? 'default', choice.tweak);
  const honest = formOf({
    grant_type: EXCHANGE_GRANT,
    subject_token: subject.token,
    subject_token_type: subject.type,
    ...targetParameters(choice.resource ?? mainResource(probe.target)),
    scope: config.exchange.scope,
    requested_token_type:
      config.exchange.requested_token_type === undefined
        ? undefined
        : tokenTypeUrn(config.exchange.requested_token_type),
    ...config.exchange.parameters,
    ...(await actorParameters(probe)),
  });
  return replaced(honest, changes);
}

async function actorParameters(probe: Probe): Promise<Changes> {
  const { delegation } = probe.target.config;
  if (delegation?.actor !== 'token' || delegation.actor_token === undefined) return {};
  const actor = await probe.token(delegation.actor_token);
  return { actor_token: actor.token, actor_token_type: actor.type };
}

export async function exchange(
  probe: Probe,
  changes: Changes = {},
  choice: ExchangeChoice = {},
  ask: Omit<Ask, 'form'> = {},
): Promise<Answer> {
  return probe.ask({ ...ask, form: await exchangeForm(probe, changes, choice) });
}

/** The positive control of most scenarios: an honest exchange must be granted. */
export async function honestExchange(probe: Probe, choice: ExchangeChoice = {}): Promise<Answer> {
  return probe.accepted(await exchange(probe, {}, choice), 'an honest exchange');
}

/** A member of an answer as text; empty when it is none. */
export function textMember(answer: Answer, member: string): string {
  const value = answer.json?.[member];
  return typeof value === 'string' ? value : '';
}

/** Whether claims have every wanted member with the same value. */
export function hasClaims(claims: unknown, wanted: Readonly<Record<string, unknown>>): boolean {
  if (typeof claims !== 'object' || claims === null) return false;
  const given = claims as Record<string, unknown>;
  return Object.entries(wanted).every(([name, value]) => JSON.stringify(given[name]) === JSON.stringify(value));
}

/** Why nothing can be said about an issued token. */
export const OPAQUE = 'the issued token is opaque and the target offers no introspection for it';

/** A value of an answer as a report shows it; another word when it is not there. */
export function shown(value: unknown, absent = 'missing'): string {
  return value === undefined ? absent : JSON.stringify(value);
}
