// `.vreserve/ns`: a directory for each key-value namespace, with what it is and which keys it has.

import { formatExactBytes } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import { VreserveError } from '../core/errors.js';
import { NAMESPACE_VIEW, type NamespaceInfo, type Namespaces } from '../core/namespace-layout.js';
import type { VirtualNode, VirtualReply } from '../engine/engine.js';

export interface NamespaceViewParts {
  namespaces: Pick<Namespaces, 'namespaceInfo' | 'namespaceNames' | 'namespaceKeys'>;
  /** Who owns it all, and may look at it alone: keys may be nobody else's business. */
  uid: number;
  gid: number;
  clock: Clock;
}

/** So many keys are told, and how many more there are. */
const MOST_KEYS = 10_000;

const FILES = ['info', 'keys'] as const;

type File = (typeof FILES)[number];

/** True for a path of `.vreserve` that the namespaces answer for. */
export function isOfNamespaces(path: string): boolean {
  return path === NAMESPACE_VIEW || path.startsWith(`${NAMESPACE_VIEW}/`);
}

export class NamespaceView {
  readonly #parts: NamespaceViewParts;

  constructor(parts: NamespaceViewParts) {
    this.#parts = parts;
  }

  async lookup(path: string): Promise<VirtualReply> {
    const { name, file } = placeOf(path);
    if (name !== null) await this.#parts.namespaces.namespaceInfo(name);
    const { uid, gid, clock } = this.#parts;
    const kind: VirtualNode['kind'] = file === null ? 'directory' : 'snapshot';
    return { node: { kind, mode: file === null ? 0o500 : 0o400, uid, gid, mtimeMs: clock() } };
  }

  async list(path: string): Promise<VirtualReply> {
    const { name, file } = placeOf(path);
    if (file !== null) return { errno: 'ENOTDIR' };
    if (name !== null) return { names: FILES.map((each) => ({ name: each, kind: 'snapshot' })) };
    const names = await this.#parts.namespaces.namespaceNames();
    return { names: names.map((each) => ({ name: each, kind: 'directory' })) };
  }

  async content(path: string): Promise<VirtualReply> {
    const { name, file } = placeOf(path);
    if (name === null || file === null) return { errno: 'EISDIR' };
    const { namespaces } = this.#parts;
    if (file === 'info') return { data: Buffer.from(infoText(await namespaces.namespaceInfo(name))) };
    const { keys, entries } = await namespaces.namespaceKeys(name, MOST_KEYS);
    const more = entries > keys.length ? [`# ${entries - keys.length} more`] : [];
    return { data: Buffer.from([...keys.map(keyText), ...more].map((line) => `${line}\n`).join('')) };
  }
}

function placeOf(path: string): { name: string | null; file: File | null } {
  const [, name = null, file, ...more] = path.split('/');
  const known = FILES.find((each) => each === file);
  if (more.length > 0 || (file !== undefined && known === undefined)) {
    throw new VreserveError('SYSTEM', { errno: 'ENOENT', reason: 'no such file' });
  }
  return { name, file: known ?? null };
}

/** In quotes as JSON has them, or where it is no text `0x` and its bytes. */
function keyText(key: Uint8Array): string {
  const bytes = Buffer.from(key);
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) && !/\p{Cc}/u.test(text) ? JSON.stringify(text) : `0x${bytes.toString('hex')}`;
}

/** A line each, as NSINFO has them. */
function infoText(it: NamespaceInfo): string {
  const yes = (is: boolean) => (is ? 'yes' : 'no');
  const lines = {
    name: it.name,
    address: it.address,
    mode: it.mode,
    password: yes(it.hasPassword),
    public: yes(it.isPublic),
    worm: yes(it.isWorm),
    locked: yes(it.isLocked),
    frozen: yes(it.isFrozen),
    entries: it.entries,
    payload: formatExactBytes(it.payloadBytes),
    payload_limit: it.maxPayloadBytes === null ? 'unlimited' : formatExactBytes(it.maxPayloadBytes),
    keys: formatExactBytes(it.keyBytes),
    files: formatExactBytes(it.fileBytes),
    beyond_payload_and_keys: formatExactBytes(Math.max(0, it.fileBytes - it.payloadBytes - it.keyBytes)),
    lot: it.lot,
    set_aside: formatExactBytes(it.dedicatedBytes),
    opportunistic: it.opportunisticBytes < 0 ? 'unlimited' : formatExactBytes(it.opportunisticBytes),
  };
  return Object.entries(lines)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('');
}
