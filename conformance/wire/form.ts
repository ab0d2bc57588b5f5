/**
 * Forms as ordered pairs, because the suite must be able to send what a map cannot hold: a parameter twice.
 */
export type Pair = readonly [name: string, value: string];
export type Form = readonly Pair[];
export type FormValue = string | readonly string[] | undefined;

/** Pairs of a record, in its order; a list becomes a repeated parameter, `undefined` leaves it out. */
export function formOf(values: Readonly<Record<string, FormValue>>): Form {
  return Object.entries(values).flatMap(([name, value]): Pair[] => {
    if (value === undefined) return [];
    return typeof value === 'string' ? [[name, value]] : value.map((one): Pair => [name, one]);
  });
}

/** The form with these parameters in place of its own of the same names. */
export function replaced(form: Form, values: Readonly<Record<string, FormValue>>): Form {
  return [...form.filter(([name]) => !(name in values)), ...formOf(values)];
}

/** The form as `application/x-www-form-urlencoded` (RFC 6749 Appendix B). */
export function encodeForm(form: Form): string {
  return new URLSearchParams(form.map(([name, value]): [string, string] => [name, value])).toString();
}
