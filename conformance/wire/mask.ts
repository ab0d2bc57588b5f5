/**
 * Masks what must not leave the machine in a report: secrets and whatever makes a token usable. Header and claims of a
 * JWT stay readable, because they are the evidence; its signature goes.
 */
import type { Answer } from './http.ts';
import { decodeJwt } from './jwt.ts';

export interface Masker {
  text(value: string): string;
}

const HIDDEN = '•••';
const JWT = /(eyJ[\w-]{4,}\.[\w-]{4,}\.)[\w-]+/g;
const SECRET_FIELDS = /("(?:access_token|refresh_token|id_token|client_secret|password)"\s*:\s*")([^"]*)"/g;
const SECRET_PARAMETERS =
  /((?:^|[&?])(?:client_secret|password|subject_token|actor_token|client_assertion|token|refresh_token)=)([^&\s]*)/g;

/** Masks every given secret wherever it stands, and tokens by their shape and by the names that carry them. */
export function openMasker(secrets: readonly string[]): Masker {
  const known = secrets
    .filter((secret) => secret.length >= 6)
    .flatMap((secret) => [
      ...new Set([secret, encodeURIComponent(secret), new URLSearchParams([['', secret]]).toString().slice(1)]),
    ]);
  const maskToken = (value: string): string => {
    if (value === '' || value.startsWith('eyJ')) return value.replace(JWT, `$1${HIDDEN}`);
    return value.length > 24 ? `${value.slice(0, 6)}${HIDDEN}` : value;
  };
  return {
    text(value) {
      let masked = value;
      for (const secret of known) masked = masked.replaceAll(secret, HIDDEN);
      return masked
        .replace(/^(Basic|Bearer) (.+)$/i, (_all, scheme: string, rest: string) =>
          scheme.toLowerCase() === 'basic' ? `Basic ${basicUser(rest)}:${HIDDEN}` : `Bearer ${maskToken(rest)}`,
        )
        .replace(JWT, `$1${HIDDEN}`)
        .replace(SECRET_FIELDS, (_all, start: string, token: string) => `${start}${maskToken(token)}"`)
        .replace(SECRET_PARAMETERS, (_all, start: string, token: string) =>
          /client_secret|password/.test(start) ? `${start}${HIDDEN}` : `${start}${maskToken(token)}`,
        );
    },
  };
}

function basicUser(encoded: string): string {
  const [user] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  return user ?? '';
}

export interface Transcript {
  readonly request: string;
  readonly response: string;
  readonly durationMs: number;
}

/** One exchange as a person reads it, masked and cut to a bearable length. */
export function transcript(answer: Answer, masker: Masker): Transcript {
  const { sent } = answer;
  const lines = (headers: Readonly<Record<string, string>>) =>
    Object.entries(headers).map(([name, value]) => `${name}: ${masker.text(value)}`);
  const shownBody = (body: string) => cut(masker.text(body));
  const readableForm = (body: string) => shownBody(body).replaceAll('&', '\n&');
  const request = [`${sent.method} ${masker.text(sent.url)}`, ...lines(sent.headers)];
  if (sent.body !== undefined) request.push('', readableForm(sent.body));
  const response =
    answer.status === 0
      ? [`no answer: ${masker.text(answer.fault ?? 'unknown')}`]
      : [`HTTP ${answer.status}`, ...lines(answer.headers), '', shownBody(answer.body)];
  request.push(...readableTokens(sent.body, masker));
  response.push(...readableTokens(answer.body, masker));
  return { request: request.join('\n'), response: response.join('\n'), durationMs: answer.durationMs };
}

/** What stands in the JWTs of a body, for people who do not read base64. */
function readableTokens(body: string | undefined, masker: Masker): string[] {
  const found = new Set((body ?? '').match(/eyJ[\w-]{4,}\.[\w-]{4,}\./g) ?? []);
  return [...found].slice(0, TOKENS_SHOWN_MAX).flatMap((start) => {
    const token = decodeJwt(start);
    if (token === undefined) return [];
    return ['', masker.text(cut(`JWT ${JSON.stringify(token.header)}\n${JSON.stringify(token.claims, null, 1)}`))];
  });
}

const TOKENS_SHOWN_MAX = 3;
const BODY_SHOWN_MAX = 4000;

function cut(text: string): string {
  return text.length <= BODY_SHOWN_MAX ? text : `${text.slice(0, BODY_SHOWN_MAX)}… (${text.length} characters)`;
}
