/**
 * The certificate of a listener: read from two files, judged as a pair, and followed while they change (ACME clients and
 * Kubernetes replace files under a running process). A pair that cannot be used never replaces one that can: it is
 * reported once and the old one stays. Open connections keep what they were opened with.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { SecureContextOptions, Server as TlsServer } from 'node:tls';
import type { Logger } from '../core/log.ts';

/** How often the files are looked at. */
const POLL_MS = 3_000;
/** Node gives 120 s. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
const FILE_MAX_BYTES = 1024 * 1024;
const WARN_BEFORE_EXPIRY_SECONDS = 7 * 24 * 3600;

/**
 * TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only (RFC 9325 §3.1.1, §4.2); Node's own list has
 * more for 1.2.
 */
const POLICY = {
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
  ].join(':'),
} as const satisfies SecureContextOptions;

/** PEM files: the certificate with the chain after it, and its private key. */
export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** What is wrong with a pair, in words for an operator; never anything of the key. */
export interface CertificateFault {
  readonly setting: 'cert_file' | 'key_file';
  readonly message: string;
  readonly fix: string;
}

export class CertificateRefused extends Error {
  override readonly name = 'CertificateRefused';
  readonly fault: CertificateFault;

  constructor(fault: CertificateFault) {
    super(`tls.${fault.setting}: ${fault.message}; fix: ${fault.fix}`);
    this.fault = fault;
  }
}

export interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** NumericDate of the end of its validity. */
  readonly expiresAtSeconds: number;
}

/** The pair of two files, or why it cannot be used. An expired one can: whoever connects decides. */
export function readCertificate({ certFile, keyFile }: CertificateFiles): Certificate | CertificateFault {
  const cert = readBounded('cert_file', certFile);
  if ('message' in cert) return cert;
  const key = readBounded('key_file', keyFile);
  if ('message' in key) return key;
  const leaf = parsed(() => new X509Certificate(cert));
  if (leaf === undefined)
    return {
      setting: 'cert_file',
      message: `${certFile} holds no certificate in PEM`,
      fix: 'give the certificate first and its chain after it, in PEM',
    };
  const privateKey = parsed(() => createPrivateKey(key));
  if (privateKey === undefined)
    return {
      setting: 'key_file',
      message: `${keyFile} holds no private key in PEM that can be read without a passphrase`,
      fix: 'give the private key of the certificate, in PEM, not encrypted',
    };
  if (!leaf.checkPrivateKey(privateKey))
    return {
      setting: 'key_file',
      message: `the key in ${keyFile} does not belong to the certificate in ${certFile}`,
      fix: 'give the two files of one pair',
    };
  if (parsed(() => createSecureContext({ ...POLICY, cert, key })) === undefined)
    return {
      setting: 'cert_file',
      message: `the certificate in ${certFile} is too weak or its chain cannot be read`,
      fix: 'use RSA of 2048 bits or more, or ECDSA, and check the chain with: openssl x509 -text',
    };
  return { cert, key, expiresAtSeconds: Math.floor(Date.parse(leaf.validTo) / 1000) };
}

function readBounded(setting: CertificateFault['setting'], path: string): Buffer | CertificateFault {
  const fix = 'name a file that exists and that this user may read';
  try {
    if (statSync(path).size > FILE_MAX_BYTES) return { setting, message: `${path} is too large`, fix };
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return { setting, message: `${path} cannot be read: ${code ?? 'unreadable'}`, fix };
  }
}

function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

export interface CertificateFollower {
  /** For the server that is about to be made. */
  options(): SecureContextOptions & { readonly handshakeTimeout: number };
  /** From here on, changes of the files reach that server. */
  start(server: object): void;
  /** Looks at the files now. */
  reload(): void;
  stop(): void;
  /** Of the certificate in use. */
  expiresAtSeconds(): number;
}

/** Reads the pair, and follows it from `start` to `stop`. Throws CertificateRefused. */
export function followCertificate(files: CertificateFiles, logger: Logger): CertificateFollower {
  let considered = fingerprint(files);
  const first = readCertificate(files);
  if ('message' in first) throw new CertificateRefused(first);
  let current = first;
  let secured: TlsServer | undefined;
  let timer: NodeJS.Timeout | undefined;
  warnOfExpiry(current);

  function warnOfExpiry({ expiresAtSeconds }: Certificate): void {
    if (expiresAtSeconds - Date.now() / 1000 > WARN_BEFORE_EXPIRY_SECONDS) return;
    const expires = new Date(expiresAtSeconds * 1000).toISOString();
    logger.warn({ cert_file: files.certFile, expires }, 'the TLS certificate has expired or will within a week');
  }

  function keepOld(reason: string): void {
    logger.error({ cert_file: files.certFile, reason }, 'the new TLS certificate cannot be used: the old one stays');
  }

  function consider(): void {
    const before = fingerprint(files);
    const next = readCertificate(files);
    // Written to while it was read: looked at again at the next turn.
    if (fingerprint(files) !== before) return;
    considered = before;
    if ('message' in next) {
      keepOld(`${next.message}; fix: ${next.fix}`);
      return;
    }
    if (next.cert.equals(current.cert) && next.key.equals(current.key)) return;
    const nowSeconds = Date.now() / 1000;
    if (next.expiresAtSeconds <= nowSeconds && current.expiresAtSeconds > nowSeconds) {
      keepOld(`${files.certFile} has expired; fix: put a valid certificate there`);
      return;
    }
    secured?.setSecureContext({ ...POLICY, cert: next.cert, key: next.key });
    current = next;
    const expires = new Date(current.expiresAtSeconds * 1000).toISOString();
    logger.info({ cert_file: files.certFile, expires }, 'a new TLS certificate is in use');
    warnOfExpiry(current);
  }

  return {
    options: () => ({ ...POLICY, cert: current.cert, key: current.key, handshakeTimeout: HANDSHAKE_TIMEOUT_MS }),
    start: (server) => {
      secured = server as TlsServer;
      timer = setInterval(() => {
        if (fingerprint(files) !== considered) consider();
      }, POLL_MS);
      timer.unref();
    },
    reload: consider,
    stop: () => {
      clearInterval(timer);
    },
    expiresAtSeconds: () => current.expiresAtSeconds,
  };
}

/** Changes whenever either file does, also behind a symbolic link that is moved. */
function fingerprint({ certFile, keyFile }: CertificateFiles): string {
  const one = (path: string): string => {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? 'unreadable';
    }
  };
  return `${one(certFile)} | ${one(keyFile)}`;
}
