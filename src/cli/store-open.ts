// The store that a command names.
import { existsSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { Store, type StoreOptions } from '../store/store.js';

/** Makes the directory where it is missing, for its owner alone. */
export async function openStore(word: string, options: StoreOptions): Promise<Store> {
  if (word === '') throw new VreserveError('USAGE', { reason: "the name of the store's directory is empty" });
  const directory = resolve(word);
  try {
    if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
    return await Store.open(directory, options);
  } catch (error) {
    throw asVreserveError(error);
  }
}
