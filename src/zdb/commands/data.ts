// Values by their keys: SET, GET, MGET, DEL and what asks about one key.

import { placeBytes } from '../cursor.js';
import type { IndexEntry } from '../key-index.js';
import { array, bulk, failure, integer, NIL, OK } from '../resp.js';
import {
  argument,
  BAD_ARGUMENTS,
  type Call,
  type Command,
  DENIED,
  INVALID,
  INVALID_KEY,
  IS_FROZEN,
  MAX_KEY_BYTES,
  NO_KEY,
  numberIn,
  refuseRead,
  refuseWrite,
  UNEXPECTED,
} from './command.js';

const MOST_KEYS = 1023;

/** What is read for one answer, in bytes. */
const MOST_ANSWER_BYTES = 64 * 1024 * 1024;

const KEY_TOO_LARGE = failure('Key too large');
const KEY_NEEDED = failure('Invalid argument, key needed');
const ONLY_UPDATE = failure('Invalid key, only update authorized');
const FULL = failure('No space left on this namespace');
const WORM = failure('Namespace is protected by worm mode');
const WORM_DELETION = failure('Cannot delete a key when namespace is in worm mode');

function set(call: Call): Buffer {
  const { args, session, namespace, server } = call;
  if (args.length === 4) {
    if (!session.isAdmin) return DENIED;
  } else if (args.length !== 3) return UNEXPECTED;
  let key = argument(call, 1);
  const value = argument(call, 2);
  if (key.length > MAX_KEY_BYTES) return KEY_TOO_LARGE;
  const refused = refuseWrite(call);
  if (refused !== null) return refused;
  const { keys, settings } = namespace;
  const isSequential = settings.mode === 'seq';
  if (key.length === 0 && !isSequential) return KEY_NEEDED;
  const old = key.length === 0 ? null : keys.find(key);
  if (key.length > 0 && isSequential && old === null) return ONLY_UPDATE;
  if (old !== null && settings.worm) return WORM;
  if (isOver(call, value.length, old)) return FULL;
  if (old !== null && keys.holds(key.length, old, value)) return NIL;
  if (key.length === 0) key = keys.newKey();
  const timeS = args.length === 4 ? Number(BigInt.asUintN(32, numberIn(argument(call, 3)))) : server.nowS();
  keys.set(key, value, timeS, old);
  return bulk(key);
}

/** Only values are counted, and of each only the last version. What takes no more room than before is never too much. */
function isOver({ namespace }: Call, bytes: number, old: IndexEntry | null): boolean {
  const most = namespace.maxPayloadBytes;
  return bytes > 0 && namespace.keys.totals.payloadBytes + bytes > most + (old?.valueBytes ?? 0);
}

function get(call: Call): Buffer {
  const refused = refuseRead(call);
  return refused ?? call.namespace.keys.bulk(argument(call, 1)) ?? NIL;
}

function mget({ args, namespace }: Call): Buffer {
  if (args.length < 2 || args.length > MOST_KEYS + 1) return BAD_ARGUMENTS;
  const asked = args.slice(1);
  if (asked.some(({ length }) => length > MAX_KEY_BYTES)) return INVALID_KEY;
  if (namespace.settings.freeze) return IS_FROZEN;
  const { keys } = namespace;
  const entries = asked.map((key) => keys.find(key));
  const bytes = entries.reduce((sum, entry) => sum + (entry?.valueBytes ?? 0), 0);
  if (bytes > MOST_ANSWER_BYTES) return failure('Payload too big');
  return array(asked.map((key, at) => (entries[at] ? keys.bulkAt(key.length, entries[at]) : NIL)));
}

function del(call: Call): Buffer {
  const { args, namespace, server } = call;
  if (args.length !== 2) return UNEXPECTED;
  const key = argument(call, 1);
  if (key.length === 0) return INVALID;
  if (key.length > MAX_KEY_BYTES) return INVALID_KEY;
  const refused = refuseWrite(call);
  if (refused !== null) return refused;
  const old = namespace.keys.find(key);
  if (old === null) return NO_KEY;
  if (namespace.settings.worm) return WORM_DELETION;
  namespace.keys.delete(key, server.nowS(), old);
  return OK;
}

/** A question about one key that is there; `absent` answers for one that is not. */
function about(absent: Buffer, ask: (call: Call, entry: IndexEntry, key: Buffer) => Buffer): (call: Call) => Buffer {
  return (call) => {
    const refused = refuseRead(call);
    if (refused !== null) return refused;
    const key = argument(call, 1);
    const entry = call.namespace.keys.find(key);
    return entry === null ? absent : ask(call, entry, key);
  };
}

export const SET: Command = { name: 'SET', writes: true, run: set };
export const SETX: Command = { name: 'SETX', writes: true, run: set };
export const GET: Command = { name: 'GET', run: get };
export const MGET: Command = { name: 'MGET', run: mget };
export const DEL: Command = { name: 'DEL', writes: true, run: del };
export const EXISTS: Command = { name: 'EXISTS', run: about(integer(0), () => integer(1)) };
/** Whether what is stored is what was written. */
export const CHECK: Command = {
  name: 'CHECK',
  run: about(NIL, ({ namespace: { keys } }, entry) => integer(keys.isSound(entry) ? 1 : 0)),
};
export const LENGTH: Command = { name: 'LENGTH', run: about(NIL, (_, { valueBytes }) => integer(valueBytes)) };
export const KEYTIME: Command = {
  name: 'KEYTIME',
  run: about(NIL, ({ namespace: { keys } }, entry) => integer(keys.timeOf(entry))),
};
export const KEYCUR: Command = { name: 'KEYCUR', run: about(NO_KEY, (_, { place }) => bulk(placeBytes(place))) };
