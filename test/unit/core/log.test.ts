/** R23: what libraries hang on errors, and what somebody logs by mistake, does not reach the log. */
import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../src/core/log.ts';
import type { Logger } from '../../../src/core/log.ts';

const SECRET = 'CANARY-7f3a91';
const JWT = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJDQU5BUlktand0In0.CANARYsignature-_x';

function logged(work: (logger: Logger) => void): { text: string; line: Record<string, any> } {
  const lines: string[] = [];
  work(createLogger('debug', { write: (line) => void lines.push(line) }));
  expect(lines).toHaveLength(1);
  return { text: lines[0]!, line: JSON.parse(lines[0]!) };
}
const withFields = (error: Error, fields: object) => Object.assign(error, fields);

describe('R23 errors as libraries throw them', () => {
  it.each<[string, Error]>([
    [
      'axios (node-vault): the request with its headers and body',
      withFields(new Error('Request failed with status code 403'), {
        code: 'ERR_BAD_REQUEST',
        config: { headers: { 'X-Vault-Token': SECRET }, data: `{"password":"${SECRET}"}` },
        request: { _header: `X-Vault-Token: ${SECRET}` },
        response: { headers: { 'set-cookie': [SECRET] }, data: { auth: { client_token: SECRET } } },
      }),
    ],
    ['pg: a connection string in the message', new Error(`connect failed: postgresql://app:${SECRET}@db/cambist`)],
    ['pg: a password with "@" in it', new Error(`bad url postgres://app:x@${SECRET}@db.example:5432/cambist?x=1`)],
    [
      'pg: the client with its password',
      withFields(new Error('no'), { client: { connectionParameters: { password: SECRET } } }),
    ],
    [
      'pg: the row that a constraint refused',
      withFields(new Error('duplicate key'), {
        code: '23505',
        detail: `Key (sub)=(${SECRET})`,
        where: SECRET,
        hint: SECRET,
      }),
    ],
    ['libpq: key=value', new Error(`could not connect to "host=db password=${SECRET} user=app"`)],
    [
      'undici: the headers of the request',
      withFields(new Error('terminated'), { opts: { headers: ['authorization', SECRET] } }),
    ],
    ['a header in the message', new Error(`refused: Authorization: Bearer ${SECRET}`)],
    ['Basic credentials in the message', new Error(`refused: Basic ${SECRET}`)],
    ['a token in the message', new Error(`cannot parse ${JWT}.`)],
    ['a token that was cut', new Error(`unexpected end of "${JWT.slice(0, 40)}`)],
    ['a form in the message', new Error(`bad form grant_type=x&client_secret=${SECRET}&scope=y`)],
    ['JSON in the message', new SyntaxError(`Unexpected token in {"access_token": "${SECRET}"}`)],
    ['a private key', new Error(`-----BEGIN PRIVATE KEY-----\n${SECRET}\n-----END PRIVATE KEY-----`)],
    [
      'causes behind causes',
      new Error('a', {
        cause: new Error('b', { cause: withFields(new Error(`password=${SECRET}`), { config: { x: SECRET } }) }),
      }),
    ],
    ['a cause that is no error', new Error('a', { cause: { headers: { authorization: SECRET } } })],
    [
      'many at once',
      new AggregateError([new Error(`postgres://u:${SECRET}@h/d`), new Error(`token=${SECRET}`)], 'all failed'),
    ],
  ])('%s', (_, error) => {
    for (const log of [
      (logger: Logger) => {
        logger.error({ err: error }, 'failed');
      },
      (logger: Logger) => {
        logger.error(error);
      },
      (logger: Logger) => {
        logger.error({ err: error });
      },
      (logger: Logger) => {
        logger.error({ deep: { deeper: [error] } }, `failed: ${error.message}`);
      },
      (logger: Logger) => {
        logger.error('failed %s', error.message);
      },
      (logger: Logger) => {
        logger.child({ error }).error('failed');
      },
    ]) {
      const { text } = logged(log);
      expect(text).not.toContain(SECRET);
      expect(text).not.toContain('CANARY');
      expect(text).not.toContain(JWT.split('.')[1]);
    }
  });

  it('keep what an operator needs: kind, message, code, stack, causes', () => {
    const cause = withFields(new Error('connect ECONNREFUSED 10.0.0.5:5432'), { code: 'ECONNREFUSED' });
    const error = new TypeError('the database could not be reached', { cause });
    const { line } = logged((logger) => {
      logger.error({ err: error }, 'failed');
    });
    expect(line).toMatchObject({
      msg: 'failed',
      err: {
        type: 'TypeError',
        message: 'the database could not be reached',
        cause: { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 10.0.0.5:5432' },
      },
    });
    expect(line['err'].stack).toContain('log.test.ts');
    const frame = 'Error: x\n    at f (file:///app/node_modules/@scope/package/index.js:1:2)';
    const foreign = Object.assign(new Error('x'), { stack: frame });
    expect(logged((logger) => logger.error(foreign)).line['err'].stack).toBe(frame);
  });
});

describe('R23 fields', () => {
  it.each([
    'access_token',
    'actor_token',
    'assertion',
    'authorization',
    'client_assertion',
    'client_secret',
    'cookie',
    'credential',
    'form',
    'id_token',
    'password',
    'private_key',
    'refresh_token',
    'secret',
    'subject_token',
    'token',
    'Authorization',
    'clientSecret',
    'X-Vault-Token',
    'Set-Cookie',
    'connectionString',
  ])('%s loses its value at any depth', (name) => {
    const { text } = logged((logger) => {
      logger.child({ [name]: SECRET }).info({ [name]: SECRET, a: { b: [{ c: { [name]: { inner: SECRET } } }] } }, 'x');
    });
    expect(text).not.toContain(SECRET);
    expect(text).toContain('[redacted]');
  });

  it('a code is kept where it is that of an error, and only there', () => {
    expect(
      logged((logger) => {
        logger.info({ code: 'ECONNRESET' }, 'x');
      }).line['code'],
    ).toBe('ECONNRESET');
    expect(
      logged((logger) => {
        logger.info({ code: SECRET }, 'x');
      }).text,
    ).not.toContain(SECRET);
  });

  it('ordinary fields stay as they are', () => {
    const fields = {
      reason: 'client_secret_wrong',
      detail: { grant: 'x' },
      port: 8080,
      checks: [{ name: 'clock' }],
      none: null,
    };
    expect(
      logged((logger) => {
        logger.info(fields, 'refused');
      }).line,
    ).toMatchObject({ ...fields, msg: 'refused' });
  });

  it('what is deep, long or circular ends somewhere', () => {
    const circle: Record<string, unknown> = {
      text: 'x'.repeat(100_000),
      list: Array.from({ length: 10_000 }, () => 1),
    };
    circle['again'] = circle;
    expect(
      logged((logger) => {
        logger.info({ circle }, 'x');
      }).text.length,
    ).toBeLessThan(100_000);
  });
});
