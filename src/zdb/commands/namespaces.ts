// Making, removing and setting namespaces, and what is told of them.

import { statfsSync } from 'node:fs';
import { asVreserveError } from '../../core/errors.js';
import { DEFAULT_NAMESPACE, MAX_NAMESPACE_NAME_BYTES } from '../../core/namespace-layout.js';
import type { Namespace, NamespaceSettings } from '../namespace.js';
import { orderOf, reasonAgainst } from '../namespaces.js';
import { array, bulkText, failure, OK } from '../resp.js';
import type { Answer } from '../session.js';
import { NO_DISK } from '../turn.js';
import { argument, type Call, type Command, DENIED, numberIn, refuseCount, refuseWrite } from './command.js';

const TOO_LONG = failure('Namespace too long');
const NOT_FOUND = failure('Namespace not found');
const NOT_ALLOWED = failure('This name is not allowed');
const NO_INDEX = failure('Cannot write index right now');

const MAX_VALUE_BYTES = 63;

/** The name that is the first argument; an answer where it cannot be one. */
function named(call: Call, count: number): string | Buffer {
  const refused = refuseCount(call, count);
  if (refused !== null) return refused;
  const name = argument(call, 1);
  return name.length > MAX_NAMESPACE_NAME_BYTES ? TOO_LONG : name.toString();
}

function nsnew(call: Call): Answer {
  const { session, server } = call;
  if (!session.isAdmin) return DENIED;
  const name = named(call, 2);
  if (typeof name !== 'string') return name;
  if (name === DEFAULT_NAMESPACE || reasonAgainst(name) !== null) return NOT_ALLOWED;
  if (server.namespaces.has(name)) return failure('This namespace is not available');
  return server.namespaces.create(orderOf(name, server.onlyMode ?? 'user')).then(
    () => OK,
    (error: unknown) =>
      asVreserveError(error).code === 'NAMESPACE_EXISTS'
        ? failure('This namespace is not available')
        : failure('Could not create namespace'),
  );
}

function nsdel(call: Call): Answer {
  const { session, server } = call;
  if (!session.isAdmin) return DENIED;
  const name = named(call, 2);
  if (typeof name !== 'string') return name;
  if (name === DEFAULT_NAMESPACE) return failure('Cannot remove default namespace');
  if (!server.namespaces.has(name)) return failure("This namespace doesn't exists");
  if (session.namespace.name === name) return failure("Cannot remove namespace you're currently using.");
  return server.namespaces.remove(name).then(
    () => OK,
    (error: unknown) =>
      asVreserveError(error).code === 'NAMESPACE_UNKNOWN'
        ? failure("This namespace doesn't exists")
        : failure('Could not delete this namespace'),
  );
}

function nslist(call: Call): Buffer {
  return array(call.server.namespaces.names().map(bulkText));
}

type Change = { set: Partial<NamespaceSettings> } | Buffer;

const isOn = (value: Buffer) => value[0] === 0x31;

/** By the name of the property, as it is written. */
const PROPERTIES: Record<string, (value: Buffer, namespace: Namespace, call: Call) => Change> = {
  maxsize: (value) => ({ set: { maxsize: BigInt.asUintN(64, numberIn(value)) } }),
  password: (value) => ({ set: { password: value.equals(Buffer.from('*')) ? null : value.toString('latin1') } }),
  public: (value) => ({ set: { public: isOn(value) } }),
  worm: (value) => ({ set: { worm: isOn(value) } }),
  lock: (value) => ({ set: { lock: isOn(value) } }),
  freeze: (value) => ({ set: { freeze: isOn(value) } }),
  mode: (value, { keys }, { server }) => {
    if (server.onlyMode !== null) return failure('This server instance is configured to use a single runtime mode');
    const mode = value.toString('latin1');
    if (mode !== 'user' && mode !== 'seq') return failure('Invalid property value (expected: user, seq)');
    if (keys.totals.entries > 0) return failure('Cannot change mode of used namespace');
    return { set: { mode } };
  },
};

/** Of the default namespace only these are set. */
const OF_DEFAULT = ['mode', 'lock', 'freeze'];

function nsset(call: Call): Buffer {
  const { session, server } = call;
  if (!session.isAdmin) return DENIED;
  const name = named(call, 4);
  if (typeof name !== 'string') return name;
  const value = argument(call, 3);
  if (value.length > MAX_VALUE_BYTES) return failure('Argument too long');
  const namespace = server.namespaces.get(name);
  if (namespace === null) return NOT_FOUND;
  const property = argument(call, 2).toString('latin1');
  const change = Object.hasOwn(PROPERTIES, property) ? PROPERTIES[property]?.(value, namespace, call) : undefined;
  if (name === DEFAULT_NAMESPACE && !OF_DEFAULT.includes(property)) return failure('Cannot update default namespace');
  if (change === undefined) return failure('Invalid property');
  if (Buffer.isBuffer(change)) return change;
  const { mode } = change.set;
  try {
    // Keys that were deleted are known in the form of the old mode.
    if (mode !== undefined && mode !== namespace.settings.mode) clear(namespace, call);
    namespace.set(change.set);
  } catch {
    return NO_INDEX;
  }
  return OK;
}

/** What others have set in this turn is set before that. */
function clear({ keys }: Namespace, { server }: Call): void {
  server.commit();
  keys.clear();
}

function nsinfo(call: Call): Buffer {
  const name = named(call, 2);
  if (typeof name !== 'string') return name;
  const namespace = call.server.namespaces.get(name);
  if (namespace === null) return NOT_FOUND;
  const { settings, keys, directory } = namespace;
  const { entries, payloadBytes } = keys.totals;
  const yes = (is: boolean) => (is ? 'yes' : 'no');
  const mib = (bytes: number) => (bytes / 1024 ** 2).toFixed(2);
  const indexBytes = Math.max(0, keys.fileBytes - payloadBytes);
  const { bavail, bsize } = statfsSync(directory);
  const freeBytes = bavail * bsize;
  const lines = {
    name,
    entries,
    public: yes(settings.public),
    worm: yes(settings.worm),
    locked: yes(settings.lock),
    frozen: yes(settings.freeze),
    password: yes(settings.password !== null),
    data_size_bytes: payloadBytes,
    data_size_mb: mib(payloadBytes),
    data_limits_bytes: settings.maxsize,
    ...(settings.maxsize > 0n ? { space_available: leftOf(settings.maxsize, payloadBytes) } : {}),
    index_size_bytes: indexBytes,
    index_size_kb: (indexBytes / 1024).toFixed(2),
    mode: settings.mode === 'seq' ? 'sequential' : 'userkey',
    index_disk_freespace_bytes: freeBytes,
    index_disk_freespace_mb: mib(freeBytes),
    data_disk_freespace_bytes: freeBytes,
    data_disk_freespace_mb: mib(freeBytes),
  };
  const text = Object.entries(lines).map(([key, value]) => `${key}: ${value}\n`);
  return bulkText(`# namespace\n${text.join('')}`);
}

function leftOf(maxsize: bigint, payloadBytes: number): bigint {
  const left = maxsize - BigInt(payloadBytes);
  return left < 0n ? 0n : left;
}

/** What follows goes into another file. */
function nsjump(call: Call): Buffer {
  const { session, namespace, server } = call;
  if (!session.isAdmin) return DENIED;
  try {
    server.commit();
    namespace.keys.log.roll();
  } catch {
    return NO_DISK;
  }
  return OK;
}

/** Everything is what it is on the disk already. */
function reload(call: Call): Buffer {
  if (!call.session.isAdmin) return DENIED;
  const name = named(call, 2);
  if (typeof name !== 'string') return name;
  return call.server.namespaces.has(name) ? OK : NOT_FOUND;
}

function flush(call: Call): Buffer {
  const { namespace } = call;
  if (namespace.settings.public || namespace.settings.password === null) return failure('Flushing public namespace denied');
  const refused = refuseWrite(call);
  if (refused !== null) return refused;
  if (namespace.settings.worm) return failure('Namespace is protected by worm mode');
  try {
    clear(namespace, call);
  } catch {
    return NO_INDEX;
  }
  return OK;
}

export const NSNEW: Command = { name: 'NSNEW', run: nsnew };
export const NSDEL: Command = { name: 'NSDEL', run: nsdel };
export const NSLIST: Command = { name: 'NSLIST', run: nslist };
export const NSSET: Command = { name: 'NSSET', run: nsset };
export const NSINFO: Command = { name: 'NSINFO', run: nsinfo };
export const NSJUMP: Command = { name: 'NSJUMP', run: nsjump };
export const RELOAD: Command = { name: 'RELOAD', run: reload };
export const FLUSH: Command = { name: 'FLUSH', run: flush };
