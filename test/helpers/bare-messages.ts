// What a data plane in a process of its own and the test that drives it say to each other.
import type { Engine, MountInfo, VirtualRequest } from '../../src/engine/engine.js';

export interface BareOptions {
  data: string;
  mnt: string;
  passthrough: boolean;
  /** Of the lot that owns `/.vreserve/blobs`; its id is STORE. */
  grantBytes: number;
}

/** The lot of the blobs' data. */
export const STORE = 2;

/** What the parent may ask for. */
export type Calls = Pick<
  Engine,
  'usage' | 'reply' | 'unmount' | 'pool' | 'requests' | 'reshape' | 'room' | 'addPool' | 'removePool' | 'graft' | 'ungraft'
> & {
  count(repair: boolean): ReturnType<Engine['count']>;
};

export type ToEngine = { id: number; call: keyof Calls; args: unknown[] };

export type FromEngine =
  | { mounted: MountInfo }
  | { request: VirtualRequest }
  | { id: number; value?: unknown; error?: string }
  | { ended: true };
