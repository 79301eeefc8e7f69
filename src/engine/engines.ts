// Which data plane serves a mount: the native one, or fuse-native over the same engine where that one cannot start.

import type { EngineChoice } from '../config.js';
import { errnoOf } from '../core/errors.js';
import type { Engine, EngineOptions, MountInfo, VirtualRequest } from './engine.js';
import { createNativeEngine, NATIVE, nativePortable, overriding } from './native.js';
import { FUSE_NATIVE, FuseNativeMount } from './portable/fuse-native.js';

/** The kernel's FUSE is too old for the native engine, or what it mounts with is missing. */
const CANNOT_START = new Set(['EPROTO', 'ENOENT']);

type OnVirtual = (request: VirtualRequest) => void;

/**
 * A data plane of its own. `openBacking` throws ENGINE_NOT_LOADED and OTHERS_REFUSED where only fuse-native is asked for and
 * cannot be had. Throws ENGINE_MISSING: both need the addon.
 */
export function createEngine(choice: EngineChoice): Engine {
  const engine = createNativeEngine();
  if (choice === NATIVE) return engine;
  const { openBacking, mount, stop } = bound(engine);
  let options: EngineOptions | undefined;
  let portable: FuseNativeMount | undefined;

  const mountPortable = async (reason: string, onVirtual: OnVirtual, onEnd: () => void): Promise<MountInfo> => {
    if (options === undefined) throw new Error('there is no backing yet');
    portable = new FuseNativeMount(engine, nativePortable(), options);
    await portable.mount(onVirtual, onEnd);
    return {
      engine: FUSE_NATIVE,
      engineReason: reason,
      io: 'cached',
      ioReason: `not with the engine ${FUSE_NATIVE}`,
      kernelMinor: 0,
    };
  };

  return overriding(engine, {
    openBacking(asked: EngineOptions) {
      options = asked;
      if (choice === FUSE_NATIVE) FuseNativeMount.check(nativePortable(), asked);
      return openBacking(asked);
    },
    async mount(onVirtual: OnVirtual, onEnd: () => void): Promise<MountInfo> {
      if (choice === FUSE_NATIVE) return mountPortable('', onVirtual, onEnd);
      try {
        return await mount(onVirtual, onEnd);
      } catch (error) {
        if (!CANNOT_START.has(errnoOf(error) ?? '')) throw error;
        const reason = messageOf(error);
        return await mountPortable(reason, onVirtual, onEnd).catch((also: unknown) => {
          throw new Error(`${reason}; nor with ${FUSE_NATIVE}: ${messageOf(also)}`, { cause: error });
        });
      }
    },
    async stop(): Promise<void> {
      portable?.stop();
      await stop();
      portable?.release();
    },
  });
}

function bound(engine: Engine): Pick<Engine, 'openBacking' | 'mount' | 'stop'> {
  return {
    openBacking: engine.openBacking.bind(engine),
    mount: engine.mount.bind(engine),
    stop: engine.stop.bind(engine),
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
