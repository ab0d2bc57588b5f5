/**
 * A strict reader of the Prometheus text format 0.0.4: throws at anything that the format does not allow, so that a test
 * which reads a scrape with it also shows that Prometheus can.
 */
export interface Family {
  readonly name: string;
  help: string | undefined;
  type: string | undefined;
  readonly samples: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
  }[];
}

export interface Exposition {
  readonly families: ReadonlyMap<string, Family>;
  /** The value of a series, by its full name and exactly these labels. */
  readonly value: (name: string, labels: Readonly<Record<string, string>>) => number | undefined;
  /** The sum over every series of that name which has these labels. */
  readonly sum: (name: string, labels?: Readonly<Record<string, string>>) => number;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

export function parseExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, Family>();
  const seen = new Map<string, number>();
  let current: Family | undefined;
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment !== null) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      if (current?.name !== name) {
        if (families.has(name)) throw new Error(`${name} in two places`);
        current = { name, help: undefined, type: undefined, samples: [] };
        families.set(name, current);
      }
      if (current.samples.length > 0) throw new Error(`${kind} of ${name} after its samples`);
      const key = kind === 'HELP' ? 'help' : 'type';
      if (current[key] !== undefined) throw new Error(`a second ${kind} of ${name}`);
      if (kind === 'TYPE' && !/^(counter|gauge|histogram|summary|untyped)$/.test(rest)) throw new Error(`type ${rest}`);
      current[key] = rest;
      continue;
    }
    if (line.startsWith('#') || line === '') throw new Error(`odd line ${JSON.stringify(line)}`);
    const sample = parseSample(line);
    const id = seriesId(sample.name, sample.labels);
    if (seen.has(id)) throw new Error(`the series ${id} twice`);
    seen.set(id, sample.value);
    if (current?.help === undefined || current.type === undefined)
      throw new Error(`${sample.name} without HELP and TYPE`);
    const suffixes = current.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    if (!suffixes.some((suffix) => sample.name === current!.name + suffix))
      throw new Error(`${sample.name} under ${current.name}`);
    if (current.type === 'counter' && sample.value < 0) throw new Error(`${id} is below zero`);
    current.samples.push(sample);
  }
  for (const family of families.values()) if (family.type === 'histogram') checkHistogram(family);
  return {
    families,
    value: (name, labels) => seen.get(seriesId(name, labels)),
    sum: (name, labels = {}) =>
      [...families.values()]
        .flatMap(({ samples }) => samples)
        .filter(
          (sample) =>
            sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
        )
        .reduce((sum, { value }) => sum + value, 0),
  };
}

function parseSample(line: string) {
  const match = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (match === null) throw new Error(`odd line ${JSON.stringify(line)}`);
  const [, name = '', inner = '', number = ''] = match;
  const value = number === '+Inf' ? Infinity : Number(number);
  if (number !== '+Inf' && !/^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(number)) throw new Error(`odd number ${number}`);
  const labels: Record<string, string> = {};
  let rest = inner;
  while (rest !== '') {
    const pair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,(?=.)|$)/.exec(rest);
    if (pair === null) throw new Error(`odd labels ${JSON.stringify(line)}`);
    const [all, label = '', text = ''] = pair;
    if (label in labels || !NAME.test(label)) throw new Error(`label ${label} in ${line}`);
    labels[label] = text.replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char));
    rest = rest.slice(all.length);
  }
  return { name, labels, value };
}

function seriesId(name: string, labels: Readonly<Record<string, string>>): string {
  return JSON.stringify([name, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** Buckets rise, end at +Inf, and agree with the count. */
function checkHistogram({ name, samples }: Family): void {
  const groups = new Map<string, { le: number; value: number }[]>();
  const counts = new Map<string, number>();
  for (const sample of samples) {
    const { le, ...labels } = sample.labels;
    const id = seriesId(name, labels);
    if (sample.name === `${name}_count`) counts.set(id, sample.value);
    if (sample.name !== `${name}_bucket`) continue;
    if (le === undefined) throw new Error(`a bucket of ${name} without le`);
    groups.set(id, [...(groups.get(id) ?? []), { le: le === '+Inf' ? Infinity : Number(le), value: sample.value }]);
  }
  for (const [id, buckets] of groups) {
    buckets.forEach(({ le, value }, index) => {
      const before = buckets[index - 1];
      if (before !== undefined && (le <= before.le || value < before.value))
        throw new Error(`buckets of ${id} do not rise`);
    });
    const last = buckets.at(-1);
    if (last?.le !== Infinity || last.value !== counts.get(id))
      throw new Error(`buckets of ${id} do not end at the count`);
  }
}
