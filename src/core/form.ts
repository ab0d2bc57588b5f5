/**
 * A parsed form: parameters by name, each with its values in order. Made by `http/form.ts`, which has already refused
 * duplicates (but for `resource` and `audience`) and dropped parameters without a value (RFC 6749 §3.2).
 */
export interface Form {
  /** The value of a parameter that may appear once; undefined when it is absent. */
  one(name: string): string | undefined;
  /** All values of a repeatable parameter. */
  all(name: string): readonly string[];
}
