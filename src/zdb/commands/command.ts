// What a command is, and the answers that many of them give.

import type { Namespace } from '../namespace.js';
import { FROZEN, LOCKED } from '../namespace.js';
import { failure } from '../resp.js';
import type { Answer, Session } from '../session.js';
import type { Server } from './server-parts.js';

/** What a command is run with. `args` begins with its name. */
export interface Call {
  args: readonly Buffer[];
  session: Session;
  /** The one that the client is in. */
  namespace: Namespace;
  server: Server;
}

export interface Command {
  name: string;
  /** It may change a namespace: then it is done once more, alone, where a turn could not be written. */
  writes?: true;
  run: (call: Call) => Answer;
}

export const MAX_KEY_BYTES = 255;

export const UNEXPECTED = failure('Unexpected arguments');
export const INVALID = failure('Invalid argument');
export const BAD_ARGUMENTS = failure('Invalid arguments');
export const INVALID_KEY = failure('Invalid key');
export const DENIED = failure('Permission denied');
export const NO_KEY = failure('Key not found');
export const READ_ONLY = failure('Namespace is in read-only mode');
export const IS_FROZEN = failure(FROZEN);
const IS_LOCKED = failure(LOCKED);
export const NOT_SUPPORTED = failure('Command not supported');

/** null: there are so many, and none is empty. */
export function refuseCount({ args }: Call, count: number): Buffer | null {
  if (args.length !== count) return UNEXPECTED;
  return args.some((each) => each.length === 0) ? INVALID : null;
}

/** For a command that reads one key, which is the first argument. null: it may. */
export function refuseRead(call: Call): Buffer | null {
  const refused = refuseCount(call, 2);
  if (refused !== null) return refused;
  if (argument(call, 1).length > MAX_KEY_BYTES) return INVALID_KEY;
  return call.namespace.settings.freeze ? IS_FROZEN : null;
}

/** null: the client may change the namespace. */
export function refuseWrite({ session, namespace }: Call): Buffer | null {
  if (!session.isWritable) return READ_ONLY;
  if (namespace.settings.freeze) return IS_FROZEN;
  return namespace.settings.lock ? IS_LOCKED : null;
}

const NOTHING = Buffer.alloc(0);

export function argument({ args }: Call, at: number): Buffer {
  return args[at] ?? NOTHING;
}

/** As atoll(3) reads it: what begins with no number is 0. */
export function numberIn(text: Buffer): bigint {
  return BigInt(/^\s*([+-]?[0-9]{1,20})/.exec(text.toString('latin1'))?.[1] ?? '0');
}

/** Whether the words are the same, as 0-db compares: by the length of what the client said. */
export function isWord(said: Buffer, word: string): boolean {
  return said.length > 0 && word.startsWith(said.toString('latin1').toUpperCase());
}
