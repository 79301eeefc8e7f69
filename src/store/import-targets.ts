// Where an import goes: a store that is open.

import type { ImportTarget } from './import.js';
import type { Store } from './store.js';

/** With the log and the time of each. */
export function intoStore(store: Store): ImportTarget {
  return {
    async read(name) {
      const there = await store.read(name);
      return there === null ? null : { sizeBytes: there.blob.sizeBytes, bytes: there.bytes(), close: () => there.close() };
    },
    async put({ name, transitions, modifiedAtMs }, bytes) {
      await store.create(name, bytes, { past: { transitions, modifiedAtMs } });
    },
  };
}
