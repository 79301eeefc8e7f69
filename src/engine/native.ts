// Loads the native data plane; nothing else does.

import { createRequire } from 'node:module';
import { VreserveError } from '../core/errors.js';
import type { Engine, System } from './engine.js';

interface Addon extends System {
  Engine: new () => Engine;
}

/** Name of this data plane in reports. */
export const NATIVE = 'native';

const ADDON = '../../../native/build/Release/vreserve.node';

let loaded: Addon | undefined;

/** A data plane of its own. Throws ENGINE_MISSING where the addon is not built or does not fit this Node. */
export function createNativeEngine(): Engine {
  return new (load().Engine)();
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
