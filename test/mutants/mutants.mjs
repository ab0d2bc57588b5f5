/**
 * The kept mutants: for each requirement of the security bar, the check that implements it removed or inverted, and the
 * tests that must fail then. `title` narrows to tests whose full name matches.
 */
export const mutants = [
  {
    id: 'R2-one-method',
    file: 'src/clients/credentials.ts',
    find: "if (presented > 1) return refuse('client_authentication_ambiguous');",
    replace: '',
    tests: 'test/security',
    title: 'R2 ',
  },
];
