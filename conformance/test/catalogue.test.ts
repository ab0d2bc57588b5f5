/**
 * Requirements and scenarios belong together: none without the other, every id once, every id what its place says.
 */
import { describe, expect, it } from 'vitest';
import { REQUIREMENTS, SCENARIOS } from '../requirements/catalogue.ts';
import { DOCUMENTS, sectionUrl } from '../requirements/requirement.ts';
import { planRun } from '../run/runner.ts';
import { PROFILES } from '../scenarios/scenario.ts';

const repeated = (values: readonly string[]) => values.filter((value, index) => values.indexOf(value) !== index);

describe('the catalogue', () => {
  it('has a scenario for every requirement and a requirement for every scenario', () => {
    const scenarios = new Set(SCENARIOS.map(({ id }) => id));
    const proven = new Set(REQUIREMENTS.map(({ scenario }) => scenario));
    expect(REQUIREMENTS.filter(({ scenario }) => !scenarios.has(scenario)).map(({ id }) => id)).toEqual([]);
    expect([...scenarios].filter((id) => !proven.has(id))).toEqual([]);
  });

  it('names everything once', () => {
    expect(repeated(REQUIREMENTS.map(({ id }) => id))).toEqual([]);
    expect(repeated(SCENARIOS.map(({ id }) => id))).toEqual([]);
    expect(repeated(REQUIREMENTS.map(({ sentence }) => sentence))).toEqual([]);
  });

  it('has scenarios in every profile, and no scenario outside its profile', () => {
    expect(PROFILES.filter((profile) => !SCENARIOS.some((one) => one.profile === profile))).toEqual([]);
    expect(SCENARIOS.filter(({ id, profile }) => !id.startsWith(`${profile}/`)).map(({ id }) => id)).toEqual([]);
  });

  it('draws on every document that it names, and links to the section', () => {
    const used = new Set<string>(REQUIREMENTS.map(({ document }) => document));
    expect(Object.keys(DOCUMENTS).filter((id) => !used.has(id))).toEqual([]);
    const invalidRequest = REQUIREMENTS.find(({ id }) => id === 'rfc8693-2.2.2-invalid-request');
    expect(invalidRequest && sectionUrl(invalidRequest)).toBe('https://www.rfc-editor.org/rfc/rfc8693#section-2.2.2');
  });

  it('says a whole sentence in every requirement', () => {
    expect(REQUIREMENTS.filter(({ sentence }) => !/^\S.{20,}\.$/.test(sentence)).map(({ id }) => id)).toEqual([]);
  });

  it('plans a run from the budgets of its scenarios', () => {
    const plan = planRun(['metadata'], { scenarios: SCENARIOS, requirements: REQUIREMENTS }, 1000);
    const own = SCENARIOS.filter(({ profile }) => profile === 'metadata');
    expect(plan.requests).toBe(3 + own.reduce((sum, { requests }) => sum + requests, 0));
    expect(plan.requirements.every(({ scenario }) => scenario.startsWith('metadata/'))).toBe(true);
  });
});
