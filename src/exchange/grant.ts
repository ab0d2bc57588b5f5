/**
 * What a grant is: a name and a way to read its request. A grant decides nothing: who is calling, what the tokens are
 * worth, who may have what, the record: all of that is the road's (`road.ts`), so a further grant is one file that
 * cannot skip a check.
 */
import type { Form } from '../core/form.ts';
import type { Refusal } from '../core/refusal.ts';
import type { ExternalTokenType } from '../objects/issuer.ts';

/** A token as it was presented, and what the caller says it is. */
export interface Presented {
  readonly token: string;
  readonly type: ExternalTokenType;
}

/** What a request asks for, whatever the grant. */
export interface GrantRequest {
  /** The subject's token; `self` when the client asks for itself with nothing but its own authentication. */
  readonly subject: Presented | 'self';
  readonly actor: Presented | undefined;
  /** RFC 8707 `resource`: absolute URIs. */
  readonly resources: readonly string[];
  /** RFC 8693 `audience`: URIs or names. */
  readonly audiences: readonly string[];
  /** The `scope` parameter as it came; undefined when it was absent. */
  readonly scope: string | undefined;
  /** Without a target: an identity token, good only as subject or actor token, or a refusal? */
  readonly withoutTarget: 'identity-token' | 'refuse';
  /** A token, or the credential of an upstream itself? */
  readonly wants: 'token' | 'credential';
  /** RFC 8693 `issued_token_type` of the answer; undefined where the grant has none. */
  readonly issuedTokenType: string | undefined;
}

export interface Grant {
  readonly grantType: string;
  read(form: Form): GrantRequest | Refusal;
}
