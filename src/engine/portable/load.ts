// Loads fuse-native: libfuse first, then its binding. Nothing else does.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { VreserveError } from '../../core/errors.js';
import type { PortableClass } from './addon.js';
import type { Binding } from './binding.js';

/** The one version that is known: the layout of what its threads hold is used. */
const VERSION = '2.2.6';

const PACKAGE = 'fuse-native';

let loaded: Binding | undefined;

/** The binding, with libfuse served by the addon's threads. Throws ENGINE_NOT_LOADED, which says what to do. */
export function loadFuseNative(portable: PortableClass): Binding {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  let directory: string;
  let version: string;
  try {
    const file = require.resolve(`${PACKAGE}/package.json`);
    directory = dirname(file);
    version = (require(file) as { version: string }).version;
  } catch (error) {
    throw notLoaded('the package is not installed', error);
  }
  if (version !== VERSION) throw notLoaded(`it is version ${version}`);
  try {
    const library = join(directory, 'prebuilds', `${process.platform}-${process.arch}`, 'libfuse.so');
    // Where it was compiled, so was the library beside it.
    const found = [library, join(directory, 'build', 'Release', 'libfuse.so')].find((file) => existsSync(file));
    if (found === undefined) throw new Error(`it has no libfuse for ${process.platform} on ${process.arch}`);
    const reason = portable.claim(found);
    if (reason !== '') throw new Error(reason);
    // As its index.js finds it.
    const find = createRequire(join(directory, 'package.json'))('node-gyp-build') as (directory: string) => Binding;
    loaded = find(directory);
    return loaded;
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw notLoaded(reason, error);
  }
}

function notLoaded(reason: string, cause?: unknown): VreserveError {
  const cure = `npm install ${PACKAGE}@${VERSION} in the directory of vreserve`;
  return new VreserveError('ENGINE_NOT_LOADED', { engine: PACKAGE, reason, cure }, { cause });
}
