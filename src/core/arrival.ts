/**
 * A request as it arrived: a parsed form and what the listener knows of its sender. Step 1 (parse) is `http/form.ts`.
 */
import type { Form } from './form.ts';

export interface Arrival {
  readonly requestId: string;
  readonly form: Form;
  /** The `Authorization` header as it came. */
  readonly authorization: string | undefined;
  /** Address of the sender; personal where a person's token was presented. */
  readonly source: string;
  /** /24 of an IPv4 address, /48 of an IPv6 address. */
  readonly sourcePrefix: string;
  /** Of the W3C trace context that the request carried, or of the span that was made for it. */
  readonly traceId?: string | undefined;
}
