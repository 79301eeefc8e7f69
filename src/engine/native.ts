// Loads the native data plane; nothing else does.

import { createRequire } from 'node:module';
import { VreserveError } from '../core/errors.js';
import type { Engine, System, Usage } from './engine.js';

/** The addon's engine: usage comes as five numbers a lot, in the order of `Usage`'s fields. */
interface AddonEngine extends Omit<Engine, 'usage'> {
  usageColumns(): Float64Array;
}

interface Addon extends System {
  Engine: new () => AddonEngine;
}

/** Name of this data plane in reports. */
export const NATIVE = 'native';

const ADDON = '../../../native/build/Release/vreserve.node';

let loaded: Addon | undefined;

/** A data plane of its own. Throws ENGINE_MISSING where the addon is not built or does not fit this Node. */
export function createNativeEngine(): Engine {
  const engine = new (load().Engine)();
  return Object.assign(engine, { usage: () => rowsOf(engine.usageColumns()) });
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
