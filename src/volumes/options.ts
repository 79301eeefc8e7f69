// What a volume is created with, from the options of `docker volume create -o`.

import { parseBytes } from '../core/bytes.js';
import { parseDurationMs } from '../core/duration.js';
import { VreserveError } from '../core/errors.js';
import { UNLIMITED } from '../core/lot.js';

/** Of the volume's own directory. Who makes it owns it, where nothing else is said. */
export interface DirectoryOptions {
  uid?: number;
  gid?: number;
  /** Permission bits. */
  mode: number;
}

/** What is not there was not said. */
export interface VolumeOptions extends DirectoryOptions {
  sizeBytes?: number;
  /** UNLIMITED is -1, as of `maxObjects`. */
  opportunisticBytes?: number;
  maxObjects?: number;
  /** From now; null: never. */
  expiresInMs?: number | null;
}

/** As Docker makes volumes of its own. */
export const PLAIN_DIRECTORY: DirectoryOptions = { mode: 0o755 };

const MOST_ID = 2 ** 32 - 2;
const MOST_EXPIRY_MS = 100 * 365 * 86_400_000;

type Reader = (text: string) => Partial<VolumeOptions>;

const READERS: Record<string, Reader> = {
  size: (text) => ({ sizeBytes: parseBytes(text) }),
  opportunistic: (text) => ({ opportunisticBytes: text === 'unlimited' ? UNLIMITED : parseBytes(text) }),
  objects: (text) => ({ maxObjects: text === 'unlimited' ? UNLIMITED : integer(text, Number.MAX_SAFE_INTEGER) }),
  expires: (text) => ({ expiresInMs: text === 'never' ? null : duration(text) }),
  uid: (text) => ({ uid: integer(text, MOST_ID) }),
  gid: (text) => ({ gid: integer(text, MOST_ID) }),
  mode: (text) => ({ mode: mode(text) }),
};

/** Throws VOLUME_BAD_OPTION, which names the option. */
export function parseVolumeOptions(given: Readonly<Record<string, string>>): VolumeOptions {
  const options: VolumeOptions = { ...PLAIN_DIRECTORY };
  for (const [option, text] of Object.entries(given)) {
    const read = Object.hasOwn(READERS, option) ? READERS[option] : undefined;
    if (read === undefined) throw bad(option, `it is not known; there are ${Object.keys(READERS).join(', ')}`);
    try {
      Object.assign(options, read(text));
    } catch (error) {
      if (error instanceof VreserveError) throw bad(option, error.message, error);
      throw error;
    }
  }
  return options;
}

function bad(option: string, reason: string, cause?: unknown): VreserveError {
  return new VreserveError('VOLUME_BAD_OPTION', { option: option.slice(0, 60), reason }, { cause });
}

function usage(reason: string): VreserveError {
  return new VreserveError('USAGE', { reason });
}

function integer(text: string, most: number): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value <= most) return value;
  throw usage(`'${text.slice(0, 60)}' is not a number from 0 to ${most}`);
}

function duration(text: string): number {
  const durationMs = parseDurationMs(text);
  if (durationMs <= MOST_EXPIRY_MS) return durationMs;
  throw usage(`'${text}' is more than 100 years`);
}

function mode(text: string): number {
  if (/^0?[0-7]{3,4}$/.test(text)) return Number.parseInt(text, 8);
  throw usage(`'${text.slice(0, 60)}' is not a mode: write octal digits, such as 755 or 1777`);
}
