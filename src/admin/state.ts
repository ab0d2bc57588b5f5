/**
 * What the admin floor asks of the store of objects. The store's own `ObjectStore` fits; tests give a small one.
 */
import type { Kind, ObjectKey, Specs, StoredObject } from '../objects/kinds.ts';
import type { ObjectReader } from '../objects/registry.ts';

export type Mutation =
  | {
      readonly type: 'put';
      readonly kind: Kind;
      readonly name: string;
      readonly spec: Specs[Kind];
      /** Absent = as it is; a new object is enabled. */
      readonly disabled?: boolean;
      readonly keys: readonly ObjectKey[];
    }
  | { readonly type: 'remove' | 'disable' | 'enable'; readonly kind: Kind; readonly name: string };

export interface ChangeOptions {
  readonly author: string;
  readonly origin: string;
  readonly expectVersion?: number;
}

export interface ObjectState {
  current(): Promise<ObjectReader>;
  change(mutations: readonly Mutation[], options: ChangeOptions): Promise<{ readonly version: number }>;
  list<K extends Kind>(
    kind: K,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<readonly StoredObject<K>[]>;
  listByOrigin(origin: string): Promise<readonly StoredObject[]>;
}
