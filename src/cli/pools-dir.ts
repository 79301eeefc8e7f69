// The option of all commands about disks: where pools are mounted.
import { resolve } from 'node:path';
import { VreserveError } from '../core/errors.js';
import { DEFAULT_POOLS_DIR } from '../pools/pools-directory.js';
import type { OptionHelp, Parsed } from './command.js';

export const POOLS_DIR: Record<string, OptionHelp> = {
  'pools-dir': { type: 'string', unit: 'DIR', help: `where pools are mounted (${DEFAULT_POOLS_DIR})` },
};

/** Absolute. Throws USAGE. */
export function poolsDirOf({ text }: Pick<Parsed, 'text'>): string {
  const given = text('pools-dir');
  if (given === '') throw new VreserveError('USAGE', { reason: '--pools-dir needs a value' });
  return resolve(given ?? DEFAULT_POOLS_DIR);
}

/** Who changes disks and mounts them must be root. Throws NEEDS_ROOT. */
export function requireRoot(what: string): void {
  if (process.geteuid?.() !== 0) throw new VreserveError('NEEDS_ROOT', { what });
}
