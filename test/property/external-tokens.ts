/**
 * External tokens of a run: really signed by their issuers, with what the oracle has to know of each beside it.
 */
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { claimsOf } from '../support/token-client.ts';
import { clientNamed, PARTNER_SCOPES, WORKLOAD } from './company.ts';
import type { Issuers, Plan } from './company.ts';
import type { ChainMember, Somebody, TokenFacts } from './model.ts';
import type { ExternalToken } from './steps.ts';

const FOREIGN_ISSUER = 'https://agents.elsewhere.example';

/** Who can sign; nobody registered the stranger. */
export interface Mints {
  readonly trusted: Readonly<Record<'corp' | 'partner' | 'cluster' | 'once' | 'stranger', JwksIssuer>>;
  readonly issuers: Issuers;
}

/** A token and the facts of it. */
export interface Held {
  readonly jwt: string;
  readonly type: 'access_token' | 'id_token' | 'jwt';
  readonly facts: TokenFacts;
}

/** A token for this client to present; one for the last second lives long enough to be met there. */
export async function mintExternal(
  { trusted, issuers }: Mints,
  plan: Plan,
  token: ExternalToken,
  client: Somebody,
  lastSecond = false,
): Promise<Held> {
  const issuer = trusted[token.issuer];
  const workload = token.issuer === 'cluster';
  const index = Number(token.user.slice(1));
  const groups = token.issuer === 'corp' ? (plan.memberships[index] ?? []) : [];
  const audience = {
    portal: workload ? issuers.ours : token.issuer === 'partner' ? 'partner-portal' : 'portal',
    cambist: issuers.ours,
    elsewhere: 'https://elsewhere.example',
  }[token.audience];
  const sub = workload ? WORKLOAD : token.user;
  const mayAct = mayActOf(token.mayAct, client, issuers, issuer.issuer);
  const actors = token.actors.map((kind) => memberOf(kind, client, issuers, issuer.issuer));
  const lifeSeconds = lastSecond ? 90 : token.lifeSeconds;
  const jwt = await issuer.mint(
    {
      aud: audience,
      sub,
      groups: token.issuer === 'corp' ? groups : undefined,
      scope: token.issuer === 'partner' ? token.partnerScope : undefined,
      may_act: mayAct?.claim,
      cnf: token.bound ? { jkt: 'thumbprint' } : undefined,
      act: actors.reduceRight<unknown>(
        (act, { claim }) => ({ ...claim, ...(act === undefined ? {} : { act }) }),
        undefined,
      ),
    },
    {
      header: { typ: token.issuer === 'partner' ? 'at+jwt' : 'JWT' },
      lifetimeSeconds: lifeSeconds,
      ...(token.flaw === 'expired' ? { issuedInSeconds: -lifeSeconds } : {}),
      // A key of the same name: only the signature tells them apart.
      ...(token.flaw === 'forged' ? { key: { ...(await issuer.strangerKey()), kid: issuer.keys[0]!.kid } } : {}),
    },
  );
  const user: Somebody = {
    kind: 'user',
    id: `${token.issuer}:${sub}`,
    iss: issuer.issuer,
    sub,
    groups: groups.map((group) => `corp:${group}`),
  };
  return {
    jwt,
    type: workload ? 'jwt' : token.issuer === 'partner' ? 'access_token' : 'id_token',
    facts: {
      origin: 'external',
      issuerKnown: token.issuer !== 'stranger',
      subject: workload ? clientNamed('a2', issuers) : user,
      chain: actors.map(({ means }) => means),
      exp: claimsOf(jwt).exp,
      audience: [audience],
      scopes: token.issuer === 'partner' ? (PARTNER_SCOPES[token.partnerScope] ?? {}) : undefined,
      mayAct: mayAct?.claim,
      mayActMeans: mayAct?.means,
      bound: token.bound,
      flawed: token.flaw !== 'none',
      issuerName: token.issuer === 'stranger' ? undefined : token.issuer,
      hops: 0,
    },
  };
}

function mayActOf(
  kind: ExternalToken['mayAct'],
  client: Somebody,
  issuers: Issuers,
  tokenIssuer: string,
): { claim: { iss?: string; sub?: string; client_id?: string }; means?: string } | undefined {
  switch (kind) {
    case 'absent':
      return undefined;
    case 'caller':
      return { claim: { iss: client.iss, sub: client.sub }, means: `${client.iss}|${client.sub}` };
    case 'caller by client_id':
      return { claim: { iss: client.iss, client_id: client.id } };
    case 'caller by a bare client_id':
      return { claim: { client_id: client.id } };
    case 'workload':
      // "A bound (issuer, sub) is that client wherever it appears."
      return { claim: { iss: issuers.cluster, sub: WORKLOAD }, means: `${issuers.ours}|a2` };
    case 'somebody else':
      return { claim: { iss: issuers.ours, sub: 'ghost' }, means: `${issuers.ours}|ghost` };
    case 'own issuer':
      // Without `iss` the subject token's issuer is meant, who has no client of ours.
      return { claim: { sub: client.sub }, means: `${tokenIssuer}|${client.sub}` };
  }
}

function memberOf(
  kind: ExternalToken['actors'][number],
  client: Somebody,
  issuers: Issuers,
  tokenIssuer: string,
): { claim: { iss?: string; sub: string }; means: ChainMember } {
  switch (kind) {
    case 'caller':
      return { claim: { iss: client.iss, sub: client.sub }, means: { iss: client.iss, sub: client.sub } };
    case 'foreign':
      return { claim: { iss: FOREIGN_ISSUER, sub: 'bot' }, means: { iss: FOREIGN_ISSUER, sub: 'bot' } };
    case 'ghost':
      return { claim: { iss: issuers.ours, sub: 'ghost' }, means: { iss: issuers.ours, sub: 'ghost' } };
    case 'local':
      return { claim: { sub: 'helper' }, means: { iss: tokenIssuer, sub: 'helper' } };
  }
}
