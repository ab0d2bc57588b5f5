/**
 * The thinnest client of a token endpoint: posts a form exactly as it is given and hands back what came. It follows,
 * retries and interprets nothing, so that tests see the wire.
 */

export interface TokenAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** The raw body. */
  readonly text: string;
  /** The body as JSON; `{}` when it is none. */
  readonly body: any;
}

export type FormFields = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface PostOptions {
  /** `client_id` and secret for the Basic header (RFC 6749 §2.3.1: form-encoded before base64). */
  readonly basic?: readonly [clientId: string, secret: string];
  readonly headers?: Readonly<Record<string, string>>;
}

/** POSTs a form. A list value repeats its parameter; a string as form is sent as it is. */
export async function postForm(
  url: string,
  form: FormFields | string,
  options: PostOptions = {},
): Promise<TokenAnswer> {
  const headers: Record<string, string> = { 'content-type': 'application/x-www-form-urlencoded', ...options.headers };
  if (options.basic !== undefined) headers['authorization'] = basicHeader(...options.basic);
  const response = await fetch(url, { method: 'POST', headers, body: encodeForm(form), redirect: 'manual' });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: parseJson(text) };
}

export function basicHeader(clientId: string, secret: string): string {
  const encode = (value: string): string => new URLSearchParams([['', value]]).toString().slice(1);
  return `Basic ${Buffer.from(`${encode(clientId)}:${encode(secret)}`).toString('base64')}`;
}

/** The claims of a JWT, unverified: for looking at what came back. */
export function claimsOf(jwt: string): any {
  return parseJson(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString('utf8'));
}

/** The header of a JWT, unverified. */
export function headerOf(jwt: string): any {
  return parseJson(Buffer.from(jwt.split('.')[0] ?? '', 'base64url').toString('utf8'));
}

function encodeForm(form: FormFields | string): string {
  if (typeof form === 'string') return form;
  const encoded = new URLSearchParams();
  for (const [name, value] of Object.entries(form)) {
    for (const one of typeof value === 'string' ? [value] : (value ?? [])) encoded.append(name, one);
  }
  return encoded.toString();
}

function parseJson(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
