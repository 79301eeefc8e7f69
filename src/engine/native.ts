// Loads the native data plane; nothing else does.

import { createRequire } from 'node:module';
import { VreserveError } from '../core/errors.js';
import type { Engine, MountInfo, System, Usage, VirtualRequest } from './engine.js';
import type { PortableClass } from './portable/addon.js';

/** The addon's engine: usage comes as five numbers a lot, in the order of `Usage`'s fields. */
interface AddonEngine extends Omit<Engine, 'usage' | 'mount'> {
  usageColumns(): Float64Array;
  mount(
    onVirtual: (request: VirtualRequest) => void,
    onEnd: () => void,
  ): Promise<Pick<MountInfo, 'io' | 'ioReason' | 'kernelMinor'>>;
}

interface Addon extends System {
  Engine: new () => AddonEngine;
  Portable: PortableClass;
}

/** Name of this data plane in reports. */
export const NATIVE = 'native';

const ADDON = '../../../native/build/Release/vreserve.node';

let loaded: Addon | undefined;

/** A data plane of its own. Throws ENGINE_MISSING where the addon is not built or does not fit this Node. */
export function createNativeEngine(): Engine {
  const engine = new (load().Engine)();
  const mount = engine.mount.bind(engine);
  return overriding(engine, {
    usage: () => rowsOf(engine.usageColumns()),
    mount: async (onVirtual: (request: VirtualRequest) => void, onEnd: () => void): Promise<MountInfo> => ({
      ...(await mount(onVirtual, onEnd)),
      engine: NATIVE,
      engineReason: '',
    }),
  });
}

/** The object with some methods in place of its own: those of an addon's class cannot be assigned to. */
export function overriding<T extends object, U extends object>(object: T, methods: U): Omit<T, keyof U> & U {
  for (const [name, value] of Object.entries(methods)) Object.defineProperty(object, name, { value, configurable: true });
  return object as unknown as Omit<T, keyof U> & U;
}

/** The addon's part of an engine that gets its requests elsewhere. Throws ENGINE_MISSING. */
export function nativePortable(): PortableClass {
  return load().Portable;
}

function rowsOf(columns: Float64Array): Usage[] {
  const rows: Usage[] = [];
  for (let at = 0; at < columns.length; at += 5) {
    const value = (field: number) => columns[at + field] ?? 0;
    rows.push({ id: value(0), bytes: value(1), objects: value(2), pendingObjects: value(3), pendingBytes: value(4) });
  }
  return rows;
}

/** What can be asked of mounts without an engine. Throws ENGINE_MISSING. */
export function nativeSystem(): System {
  return load();
}

function load(): Addon {
  if (loaded !== undefined) return loaded;
  try {
    // The addon is compiled from native/addon.cc, which keeps to engine.ts.
    loaded = createRequire(import.meta.url)(ADDON) as Addon;
    return loaded;
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new VreserveError('ENGINE_MISSING', { reason }, { cause: error });
  }
}
