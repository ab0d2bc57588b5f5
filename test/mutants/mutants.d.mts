/** One kept mutant: in `file`, the text `find` (there exactly once) becomes `replace`; then one of `tests` must fail. */
export interface Mutant {
  readonly id: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Path filter for the test runner. */
  readonly tests: string;
  /** Narrows to tests whose full name matches this pattern. */
  readonly title?: string;
}
export const mutants: readonly Mutant[];
