/**
 * What of a request the egress judges: which upstream it names, its method, the path exactly as it came, its headers.
 */
import type { ForwardedRequest } from '../upstream/request-rules.ts';

export interface EgressRequest extends ForwardedRequest {
  readonly upstreamName: string;
  readonly label: string | undefined;
  /** As announced; `undefined` where the body ends when it ends. */
  readonly contentLength: number | undefined;
}

/** `/<name>` or `/<name>:<label>`, then a path. Names are those of `objects/names.ts`. */
const TARGET = /^\/([A-Za-z0-9][A-Za-z0-9._-]{0,62})(?::([a-z0-9][a-z0-9-]{0,31}))?(\/[^?]*)?(\?.*)?$/s;

/** Reads what follows `/egress` in a request target; `undefined` for what names no upstream. */
export function readTarget(
  below: string,
): Pick<EgressRequest, 'upstreamName' | 'label' | 'path' | 'query'> | undefined {
  const match = TARGET.exec(below);
  if (match === null) return undefined;
  const [, upstreamName = '', label, path = '/', query = ''] = match;
  return { upstreamName, label, path, query };
}
