/**
 * The rules of the two listeners: no plain HTTP where others can reach it unless the file says so, no setting that is
 * there for nothing, no port for both.
 */
import { isAbsolute, resolve } from 'node:path';
import type { Override } from './environment.ts';
import type { SettingsFile } from './schema.ts';
import { isLoopbackHost } from './sections/listen.ts';

export interface ListenerSettings {
  readonly host: string;
  readonly port: number;
  /** Absolute paths; `undefined` = plain HTTP. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
}

type Fault = (path: string, message: string, fix: string, got?: string) => void;

export interface ListenersSettings {
  readonly listen: ListenerSettings;
  /** `undefined` = turned off. */
  readonly adminListen: ListenerSettings | undefined;
}

/** Both listeners; what is wrong with them is told to `fault`. */
export function settleListeners(
  file: Pick<SettingsFile, 'listen' | 'admin_listen'>,
  around: { readonly fileFolder: string; readonly cwd: string; readonly overrides: readonly Override[] },
  fault: Fault,
): ListenersSettings {
  const { listen, admin_listen: admin } = file;
  const pathOf = (text: string, setting: string) => {
    const fromEnvironment = around.overrides.some(({ path }) => path.join('.') === setting);
    return isAbsolute(text) ? text : resolve(fromEnvironment ? around.cwd : around.fileFolder, text);
  };
  const settle = (name: 'listen' | 'admin_listen', { host, port, tls }: SettingsFile['listen']): ListenerSettings => ({
    host,
    port,
    tls:
      tls === undefined
        ? undefined
        : {
            certFile: pathOf(tls.cert_file, `${name}.tls.cert_file`),
            keyFile: pathOf(tls.key_file, `${name}.tls.key_file`),
          },
  });

  judge('listen', listen, fault);
  if (!admin.enabled) return { listen: settle('listen', listen), adminListen: undefined };
  judge('admin_listen', admin, fault);
  if (listen.port !== 0 && listen.port === admin.port && overlap(listen.host, admin.host))
    fault(
      'admin_listen.port',
      'is the port of the public listener',
      'give it another one (CAMBIST_ADMIN_LISTEN), or turn it off with admin_listen.enabled: false',
      String(admin.port),
    );
  return { listen: settle('listen', listen), adminListen: settle('admin_listen', admin) };
}

function judge(name: 'listen' | 'admin_listen', listener: SettingsFile['listen'], fault: Fault): void {
  const { host, tls, plain_http: plainHttp } = listener;
  if (tls !== undefined && plainHttp === 'behind_tls_proxy')
    fault(
      `${name}.plain_http`,
      `says that plain HTTP is spoken, and ${name}.tls that it is not`,
      `remove one of the two`,
      `"${plainHttp}"`,
    );
  if (tls === undefined && !isLoopbackHost(host) && plainHttp !== 'behind_tls_proxy')
    fault(
      `${name}.host`,
      'would offer plain HTTP on an address that others can reach',
      `listen on 127.0.0.1, set ${name}.tls, or set ${name}.plain_http: behind_tls_proxy if only a TLS-terminating proxy reaches it`,
      `"${host}"`,
    );
}

/** Would two listeners on one port of these addresses be in each other's way? */
function overlap(one: string, other: string): boolean {
  const canonical = (host: string) => (host === 'localhost' ? '127.0.0.1' : host);
  const wildcard = (host: string) => host === '0.0.0.0' || /^[0:]+$/.test(host);
  return canonical(one) === canonical(other) || wildcard(one) || wildcard(other);
}
