// All keys of a namespace, and what a key was before: SCAN, RSCAN, KSCAN, HISTORY, DBSIZE.

import { placeBytes, placeIn } from '../cursor.js';
import { type FoundRecord, HEADER_BYTES, VALUE } from '../record.js';
import { array, bulk, bulkOf, bulkText, failure, integer, NIL } from '../resp.js';
import {
  argument,
  BAD_ARGUMENTS,
  type Call,
  type Command,
  INVALID_KEY,
  IS_FROZEN,
  MAX_KEY_BYTES,
  NO_KEY,
  refuseCount,
} from './command.js';

/** Of one answer. */
const MOST_KEYS = 1000;

/** How long others wait for one answer. */
const SLICE_MS = 5;

const NO_MORE = failure('No more data');
const BAD_CURSOR = failure('Invalid key format');
const NO_MATCH = failure('No keys match');
const NOT_BY_KEY = failure("Index running mode doesn't support this feature");

/** In the order in which they were set. A cursor is the place of the last that was looked at: there may be none to tell of so far. */
function scan(isForward: boolean): (call: Call) => Buffer {
  return (call) => {
    const { args, namespace } = call;
    if (args.length > 2) return BAD_CURSOR;
    if (namespace.settings.freeze) return IS_FROZEN;
    const { keys } = namespace;
    const { log } = keys;
    const cursor = args.length === 1 ? null : placeIn(argument(call, 1));
    if (args.length === 2 && cursor === null) return BAD_CURSOR;
    let from = isForward ? log.start : log.end;
    if (cursor !== null) {
      const record = log.isOf(cursor) ? log.recordAt(cursor) : 'gone';
      if (record === null) return BAD_CURSOR;
      // Where its file has gone, so has all that lay beside it: what is left of it lies at the end.
      from = record === 'gone' || !isForward ? cursor : log.behind(record);
    }
    const found: FoundRecord[] = [];
    let last: FoundRecord | null = null;
    let isMore = false;
    const untilMs = performance.now() + SLICE_MS;
    for (const record of isForward ? log.forward(from) : log.backward(from)) {
      if (record.kind === VALUE && keys.isCurrent(record)) found.push(record);
      last = record;
      isMore = found.length >= MOST_KEYS || performance.now() > untilMs;
      if (isMore) break;
    }
    if (last === null || (found.length === 0 && !isMore)) return NO_MORE;
    const items = found.map(({ key, valueBytes, timeS }) => array([bulk(key), integer(valueBytes), integer(timeS)]));
    return array([bulk(placeBytes(last.place)), array(items)]);
  };
}

function kscan(call: Call): Buffer {
  const { namespace } = call;
  if (namespace.settings.mode === 'seq') return NOT_BY_KEY;
  const refused = refuseCount(call, 2);
  if (refused !== null) return refused;
  if (argument(call, 1).length > MAX_KEY_BYTES) return INVALID_KEY;
  if (namespace.settings.freeze) return IS_FROZEN;
  const found = namespace.keys.withPrefix(argument(call, 1), MOST_KEYS);
  if (found.length === 0) return NO_MATCH;
  return array([bulkText('0'), array(found.map(bulk))]);
}

/** `[where the version before is, when it was set, value]`. */
function history(call: Call): Buffer {
  const { args, namespace } = call;
  if (args.length !== 2 && args.length !== 3) return BAD_ARGUMENTS;
  if (namespace.settings.freeze) return IS_FROZEN;
  const key = argument(call, 1);
  const { keys } = namespace;
  const entry = keys.find(key);
  if (entry === null) return NO_KEY;
  const place = args.length === 2 ? entry.place : placeIn(argument(call, 2));
  if (place === null) return BAD_ARGUMENTS;
  const version = keys.versionAt(key, place);
  if (version === null) return args.length === 2 ? failure('Internal Error') : failure('Invalid arguments (invalid key)');
  const value = bulkOf(version.valueBytes);
  const valueAt = place + HEADER_BYTES + key.length;
  keys.log.read(valueAt, value, value.length - version.valueBytes - 2, version.valueBytes);
  // What was taken back since is not told of.
  const before = version.before !== null && keys.versionAt(key, version.before) !== null ? version.before : null;
  return array([before === null ? NIL : bulk(placeBytes(before)), bulkText(String(version.timeS)), value]);
}

export const SCAN: Command = { name: 'SCAN', run: scan(true) };
export const SCANX: Command = { name: 'SCANX', run: scan(true) };
export const RSCAN: Command = { name: 'RSCAN', run: scan(false) };
export const KSCAN: Command = { name: 'KSCAN', run: kscan };
export const HISTORY: Command = { name: 'HISTORY', run: history };
export const DBSIZE: Command = { name: 'DBSIZE', run: ({ namespace }) => integer(namespace.keys.totals.entries) };
