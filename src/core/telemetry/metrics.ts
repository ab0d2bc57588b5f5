/**
 * The numbers of one process, kept once and read twice: as Prometheus text and through the OpenTelemetry meter that was
 * passed in. Series are bounded by the catalogue, so neither a scrape nor memory grows with what callers send. A reader
 * that throws leaves its metric out of that scrape; telemetry never fails a request.
 */
import type { Histogram as MeterHistogram, Meter, ObservableResult } from '@opentelemetry/api';
import { CATALOGUE } from './catalogue.ts';
import type {
  CounterKey,
  GaugeKey,
  HistogramKey,
  LabelsOf,
  LabelValues,
  MetricDefinition,
  MetricKey,
} from './catalogue.ts';

/** One number of a metric. */
export interface Sample<K extends MetricKey> {
  readonly labels: LabelsOf<K>;
  readonly value: number;
}

export interface Metrics {
  /** Adds to a counter. */
  add<K extends CounterKey>(metric: K, labels: LabelsOf<K>, amount?: number): void;
  /** Notes one value of a histogram, in its base unit. */
  observe<K extends HistogramKey>(metric: K, labels: LabelsOf<K>, value: number): void;
  /** Where a gauge, or a counter that somebody else keeps, is read when it is asked for. */
  read<K extends GaugeKey | CounterKey>(metric: K, samples: () => Iterable<Sample<K>>): void;
  /** Prometheus text format 0.0.4. */
  render(): string;
}

type Values = readonly string[];
type AnySample = { readonly labels: Readonly<Record<string, string>>; readonly value: number };

interface Series {
  readonly values: Values;
  value: number;
  /** Of a histogram: how many values fell into each bucket, the last one without bound. */
  readonly buckets?: number[];
}

interface Instrument {
  readonly definition: MetricDefinition;
  readonly labelNames: readonly string[];
  readonly series: Map<string, Series>;
  readonly readers: (() => Iterable<AnySample>)[];
  readonly admit: (values: Readonly<Record<string, string>>) => Values;
  meterHistogram?: MeterHistogram;
}

/** `meter`: where the same numbers go besides; a no-op without an SDK. */
export function createMetrics(meter: Meter): Metrics {
  const instruments = new Map<MetricKey, Instrument>();
  for (const [key, definition] of Object.entries(CATALOGUE) as [MetricKey, MetricDefinition][]) {
    const instrument = instrumentOf(definition);
    instruments.set(key, instrument);
    attach(meter, instrument);
  }
  const find = (key: MetricKey): Instrument => {
    const instrument = instruments.get(key);
    if (instrument === undefined) throw new Error(`no metric ${key}`);
    return instrument;
  };
  return {
    add(key, labels, amount = 1) {
      if (amount >= 0) seriesOf(find(key), labels).value += amount;
    },
    observe(key, labels, value) {
      const instrument = find(key);
      if (!Number.isFinite(value)) return;
      const series = seriesOf(instrument, labels);
      const bounds = instrument.definition.buckets ?? [];
      const at = bounds.findIndex((bound) => value <= bound);
      const buckets = series.buckets ?? [];
      const place = at === -1 ? bounds.length : at;
      buckets[place] = (buckets[place] ?? 0) + 1;
      series.value += value;
      instrument.meterHistogram?.record(value, attributesOf(instrument, series.values));
    },
    read(key, samples) {
      find(key).readers.push(samples);
    },
    render: () => [...instruments.values()].map(text).join(''),
  };
}

function instrumentOf(definition: MetricDefinition): Instrument {
  const labelNames = Object.keys(definition.labels);
  const admitted = labelNames.map((name) => admission(definition.labels[name] ?? []));
  return {
    definition,
    labelNames,
    series: new Map(),
    readers: [],
    admit: (labels) => labelNames.map((name, index) => admitted[index]?.(labels[name] ?? '') ?? 'other'),
  };
}

/** What a label value becomes: itself, or `other`. */
function admission(allowed: LabelValues): (value: string) => string {
  if (!('distinctMax' in allowed)) {
    const known = new Set(allowed);
    return (value) => (known.has(value) ? value : 'other');
  }
  const seen = new Set<string>();
  return (value) => {
    if (!seen.has(value) && seen.size < allowed.distinctMax && value.length <= 128) seen.add(value);
    return seen.has(value) ? value : 'other';
  };
}

function seriesOf(instrument: Instrument, labels: Readonly<Record<string, string>>, into = instrument.series): Series {
  const values = instrument.admit(labels);
  const id = values.join('\n');
  const known = into.get(id);
  if (known !== undefined) return known;
  const { buckets } = instrument.definition;
  const made: Series = {
    values,
    value: 0,
    ...(buckets === undefined ? {} : { buckets: new Array<number>(buckets.length + 1).fill(0) }),
  };
  into.set(id, made);
  return made;
}

/** What the instrument counted itself, and what its readers say now. */
function current(instrument: Instrument): Iterable<Series> {
  if (instrument.readers.length === 0) return instrument.series.values();
  const all = new Map([...instrument.series].map(([id, series]) => [id, { ...series }]));
  const counts = instrument.definition.type === 'counter';
  for (const reader of instrument.readers) {
    try {
      for (const { labels, value } of reader()) {
        if (!Number.isFinite(value)) continue;
        const series = seriesOf(instrument, labels, all);
        // Two counters under one name (both `other`, say) are one counter; of a gauge the last one stands.
        series.value = counts ? series.value + value : value;
      }
    } catch {
      continue;
    }
  }
  return all.values();
}

const UNITS = { seconds: 's', bytes: 'By' } as const;

/** `cambist_commit_duration_seconds` → `cambist.commit_duration` in `s`: exporters put the unit and `_total` back. */
function attach(meter: Meter, instrument: Instrument): void {
  const { name, help, type, buckets } = instrument.definition;
  const bare = name.replace(/_total$/, '');
  const unit = /_(seconds|bytes)$/.exec(bare)?.[1] as keyof typeof UNITS | undefined;
  const plain = (unit === undefined ? bare : bare.slice(0, -unit.length - 1)).replace('_', '.');
  const options = { description: help, ...(unit === undefined ? {} : { unit: UNITS[unit] }) };
  if (type === 'histogram') {
    const advice = { explicitBucketBoundaries: [...(buckets ?? [])] };
    instrument.meterHistogram = meter.createHistogram(plain, { ...options, advice });
    return;
  }
  const observable =
    type === 'counter' ? meter.createObservableCounter(plain, options) : meter.createObservableGauge(plain, options);
  observable.addCallback((result: ObservableResult) => {
    for (const { values, value } of current(instrument)) result.observe(value, attributesOf(instrument, values));
  });
}

function attributesOf(instrument: Instrument, values: Values): Record<string, string> {
  return Object.fromEntries(instrument.labelNames.map((name, index) => [name, values[index] ?? 'other']));
}

/** One metric in the text format. Without a value yet it is announced all the same. */
function text(instrument: Instrument): string {
  const { name, help, type, buckets = [] } = instrument.definition;
  const lines = [`# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`, `# TYPE ${name} ${type}`];
  for (const series of current(instrument)) {
    const labels = instrument.labelNames.map((label, index) => pair(label, series.values[index] ?? 'other'));
    if (type !== 'histogram') {
      lines.push(line(name, labels, series.value));
      continue;
    }
    let count = 0;
    [...buckets, Infinity].forEach((bound, index) => {
      count += series.buckets?.[index] ?? 0;
      lines.push(line(`${name}_bucket`, [...labels, pair('le', number(bound))], count));
    });
    lines.push(line(`${name}_sum`, labels, series.value), line(`${name}_count`, labels, count));
  }
  return `${lines.join('\n')}\n`;
}

function line(name: string, labels: readonly string[], value: number): string {
  return `${name}${labels.length === 0 ? '' : `{${labels.join(',')}}`} ${number(value)}`;
}

function pair(label: string, value: string): string {
  return `${label}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

function number(value: number): string {
  return value === Infinity ? '+Inf' : String(value);
}
