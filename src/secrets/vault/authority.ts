/** The file with the authority that signed Vault's certificate: read once, and looked at before it is trusted. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** The PEM text, or what is wrong with it. */
export function readAuthority(file: string): { readonly pem: string } | { readonly fault: string } {
  let pem: string;
  try {
    pem = readFileSync(file, 'utf8');
  } catch (error) {
    return { fault: `${file} cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unreadable'}` };
  }
  try {
    new X509Certificate(pem);
    return { pem };
  } catch {
    return { fault: `${file} holds no certificate in PEM` };
  }
}
