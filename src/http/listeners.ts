/**
 * The two listeners of a node and the order in which they end: the public one first, after load balancers had the time
 * to see that this node is not ready any more, the admin one last, so that what happens until then can be seen.
 */
import type { AddressInfo, Socket } from 'node:net';
import type { Logger } from '../core/log.ts';
import type { Heartbeat } from '../status/heartbeat.ts';
import { guardLoopback } from './admin-server.ts';
import { createApplication, openListener } from './listener.ts';
import type { Listener, ListenerOptions, Route, Subtree } from './listener.ts';

const DRAIN_TIMEOUT_MS = 20_000;
/** Probes and scrapes are short. */
const ADMIN_DRAIN_TIMEOUT_MS = 2_000;

type Name = 'public' | 'admin';

export interface Listeners {
  open(name: Name, at: Omit<ListenerOptions, 'logger'>): Promise<AddressInfo>;
  /** Looks at the files of certificates now; says how many certificates there are. */
  readonly reloadCertificates: () => number;
  /** NumericDate of the end of each certificate in use. */
  readonly certificateExpiries: () => Readonly<Partial<Record<Name, number>>>;
  /** Not ready from here on; serves on for `graceMs`, then lets what is in flight finish. */
  closePublic(graceMs: number): Promise<void>;
  closeAdmin(): Promise<void>;
}

/** `subtrees`: of the public listener. */
export function createListeners(
  routes: Readonly<Record<Name, readonly Route[]>>,
  subtrees: readonly Subtree[],
  heartbeat: Heartbeat,
  logger: Logger,
): Listeners {
  const listeners = new Map<Name, Listener>();
  return {
    open: async (name, at) => {
      // Before anybody can ask whether this node is ready, it knows.
      await heartbeat.start();
      const unhurried = new WeakSet<Socket>();
      const application = createApplication(routes[name], logger, name === 'public' ? subtrees : [], unhurried);
      const guarded = name === 'admin' ? guardLoopback(application, at.host) : application;
      const listener = await openListener(guarded, { ...at, logger, unhurried });
      listeners.set(name, listener);
      return listener.address;
    },
    reloadCertificates: () => {
      const certificates = [...listeners.values()].flatMap(({ certificate }) => certificate ?? []);
      for (const certificate of certificates) certificate.reload();
      return certificates.length;
    },
    certificateExpiries: () =>
      Object.fromEntries(
        [...listeners].flatMap(([name, { certificate }]) =>
          certificate === undefined ? [] : [[name, certificate.expiresAtSeconds()]],
        ),
      ),
    closePublic: async (graceMs) => {
      heartbeat.readiness.drain();
      const listener = listeners.get('public');
      if (listener === undefined) return;
      if (graceMs > 0) await new Promise((resolve) => setTimeout(resolve, graceMs));
      await listener.drain(DRAIN_TIMEOUT_MS);
    },
    closeAdmin: async () => {
      heartbeat.stop();
      await listeners.get('admin')?.drain(ADMIN_DRAIN_TIMEOUT_MS);
    },
  };
}
