/**
 * What may stand in a log line. Fields with a secret's name lose their value at any depth. Of an error its kind,
 * message, code, stack and causes stay; what libraries hang on errors (the request, its headers, the configuration of a
 * client, the row that a constraint refused) does not. Text that looks like a credential is cut out wherever it is.
 */

/** Names without `_` and `-`, in lower case. */
const SECRET_FIELDS = new Set([
  ...['accesstoken', 'actortoken', 'assertion', 'authorization', 'clientassertion', 'clientsecret', 'code', 'cookie'],
  ...['connectionstring', 'credential', 'credentials', 'form', 'idtoken', 'jwt', 'password', 'passwd', 'privatekey'],
  ...[
    'proxyauthorization',
    'refreshtoken',
    'secret',
    'setcookie',
    'subjecttoken',
    'token',
    'vaulttoken',
    'xvaulttoken',
  ],
]);
const CENSORED = '[redacted]';
const DEPTH_MAX = 6;
const ENTRIES_MAX = 100;
const TEXT_MAX = 8000;
const CAUSES_MAX = 4;

/** Credentials as they look in text, each with what stays of it. */
const PATTERNS: readonly (readonly [RegExp, string])[] = [
  // A compact JWS or JWE, and what is left of one that was cut.
  [/\beyJ[\w-]{5,}(?:\.[\w-]*){0,4}/g, CENSORED],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, CENSORED],
  // The user part of a URL; a password may hold "@" and "/". Not the path of a scoped package in a stack.
  [/\b(?!file:)([a-z][a-z0-9+.-]{1,20}:\/\/)[^\s"'<>@]*@(?:[^\s"'<>@/]*@)*/gi, `$1${CENSORED}@`],
  [/\b(Bearer|Basic|DPoP|Negotiate)\s+[\w\-.~+/=]{4,}/gi, `$1 ${CENSORED}`],
  [
    /\b((?:client_|x-vault-|vault_|access_|refresh_|subject_|actor_|id_)?(?:secret|token|assertion|password|passwd|pwd|credential))(["']?\s*[=:]\s*)(?:"[^"]*"|'[^']*'|[^\s"'&,;}]+)/gi,
    `$1$2${CENSORED}`,
  ],
];

/** A value as it may be logged: bounded copies, never the value itself. */
export function loggable(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return loggableText(value);
  if (typeof value !== 'object' || value === null) return typeof value === 'function' ? undefined : value;
  if (value instanceof Error) return loggableError(value, 0);
  if (value instanceof Date) return value;
  if (value instanceof URL) return loggableText(value.href);
  if (ArrayBuffer.isView(value)) return `[${String(value.byteLength)} bytes]`;
  if (depth >= DEPTH_MAX) return '[deeper]';
  if (Array.isArray(value)) return value.slice(0, ENTRIES_MAX).map((entry) => loggable(entry, depth + 1));
  const copy: Record<string, unknown> = {};
  for (const [name, entry] of Object.entries(value).slice(0, ENTRIES_MAX))
    copy[name] = isSecret(name, entry) ? CENSORED : loggable(entry, depth + 1);
  return copy;
}

/** Text without what looks like a credential. */
export function loggableText(text: string): string {
  let clean = text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
  for (const [pattern, replacement] of PATTERNS) clean = clean.replace(pattern, replacement);
  return clean;
}

function isSecret(name: string, value: unknown): boolean {
  if (value === undefined || value === null) return false;
  const plain = name.replace(/[_-]/g, '').toLowerCase();
  // An authorization code is a secret, the code of an error is not.
  if (plain === 'code') return !(typeof value === 'number' || (typeof value === 'string' && isErrorCode(value)));
  return SECRET_FIELDS.has(plain);
}

/** `ECONNREFUSED`, `ERR_TLS_CERT_ALTNAME_INVALID`, `23505`, `too_large`. */
function isErrorCode(value: string): boolean {
  return /^(?:[A-Z][A-Z0-9_]{1,60}|[0-9A-Z]{5}|[a-z][a-z_]{1,30})$/.test(value);
}

function loggableError(error: Error, depth: number): Record<string, unknown> {
  const { code, dependency } = error as { readonly code?: unknown; readonly dependency?: unknown };
  const { cause } = error;
  const inner = error instanceof AggregateError ? error.errors.slice(0, CAUSES_MAX) : [];
  return {
    type: error.name,
    message: loggableText(error.message),
    ...((typeof code === 'string' && isErrorCode(code)) || typeof code === 'number' ? { code } : {}),
    ...(typeof dependency === 'string' ? { dependency: loggableText(dependency) } : {}),
    stack: loggableText(error.stack ?? ''),
    ...(cause === undefined || depth >= CAUSES_MAX ? {} : { cause: causeOf(cause, depth) }),
    ...(inner.length === 0 || depth >= CAUSES_MAX ? {} : { errors: inner.map((one) => causeOf(one, depth)) }),
  };
}

function causeOf(cause: unknown, depth: number): unknown {
  return cause instanceof Error ? loggableError(cause, depth + 1) : loggable(cause, DEPTH_MAX - 1);
}
