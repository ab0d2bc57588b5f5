import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { objectsJsonSchema } from '../../../src/admin/objects-file.ts';
import { settingsJsonSchema } from '../../../src/config/schema.ts';
import { COMPANY } from '../admin/memory-store.ts';

const committed = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../docs/schema/${name}`, import.meta.url), 'utf8'));

test.each([
  ['cambist.schema.json', 'settings', settingsJsonSchema],
  ['objects.schema.json', 'objects', objectsJsonSchema],
])('docs/schema/%s is what `cambist schema %s` prints', (file, _, generate) => {
  expect(committed(file)).toEqual(JSON.parse(JSON.stringify(generate())));
});

test('the schema of objects takes what apply takes, and sees what an editor should mark', () => {
  const validate = new Ajv2020({ strict: false }).compile(objectsJsonSchema());
  expect(validate(parse(COMPANY))).toBe(true);
  expect(validate({ policies: [{ id: 'a', cedar_file: 'a.cedar', disabled: true }] })).toBe(true);
  expect(validate({ policies: [{ id: 'a', cedar_file: 'a.cedar', cedar: 'x' }] })).toBe(false);
  expect(validate({ policies: [{ id: 'a' }] })).toBe(false);
  expect(validate({ clients: [{ id: 'a', auth: ['none'] }] })).toBe(false);
  expect(validate({ client: [] })).toBe(false);
});

test('the schema of settings takes a variable wherever a value is typed', () => {
  const validate = new Ajv2020({ strict: false }).compile(settingsJsonSchema());
  expect(validate({ listen: { port: '${PORT}' }, log_level: '${LEVEL:-info}', database: { schema: '${S}' } })).toBe(
    true,
  );
  expect(validate({ listen: { port: 'eighty' } })).toBe(false);
  expect(validate({ listen: { port: 8080, prot: 1 } })).toBe(false);
});
