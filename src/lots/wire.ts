// From LotMan's JSON to lots, and back: GB of 10^9 bytes, times in ms, paths with a slash at their end.

import { MAX_BYTES } from '../core/bytes.js';
import { isForeign, type LotPath, type LotUsage, type Policy, UNLIMITED } from '../core/lot.js';
import type { PolicyJson } from './schema.js';

const BYTES_PER_GB = 1e9;

/** Times from here on are never: no calendar has them, and JSON has no infinity. */
const NEVER_MS = 8.64e15;

/** To the nearest byte. */
export function bytesOfGb(gb: number): number {
  return Math.round(gb * BYTES_PER_GB);
}

export function gbOf(bytes: number): number {
  return bytes / BYTES_PER_GB;
}

/** What is named of a policy; a number at the end of what can be said is no limit. */
export function policyOf(json: Partial<PolicyJson>): Partial<Policy> {
  const { dedicated_GB, opportunistic_GB, max_num_objects, creation_time, expiration_time, deletion_time } = json;
  return {
    ...(dedicated_GB === undefined ? {} : { dedicatedBytes: bytesOfGb(dedicated_GB) }),
    ...(opportunistic_GB === undefined ? {} : { opportunisticBytes: unlimitedFrom(bytesOfGb(opportunistic_GB), MAX_BYTES) }),
    ...(max_num_objects === undefined ? {} : { maxObjects: unlimitedFrom(max_num_objects, MAX_BYTES) }),
    ...(creation_time === undefined ? {} : { createdAtMs: creation_time }),
    ...(expiration_time === undefined ? {} : { expiresAtMs: timeOf(expiration_time) }),
    ...(deletion_time === undefined ? {} : { deletesAtMs: timeOf(deletion_time) }),
  };
}

/** An attribute of a policy as LotMan has it. */
export function attributeJson(policy: Policy, name: keyof PolicyJson): number {
  switch (name) {
    case 'dedicated_GB':
      return gbOf(policy.dedicatedBytes);
    case 'opportunistic_GB':
      return gbOf(limitJson(policy.opportunisticBytes));
    case 'max_num_objects':
      return limitJson(policy.maxObjects);
    case 'creation_time':
      return policy.createdAtMs;
    case 'expiration_time':
      return policy.expiresAtMs ?? MAX_BYTES;
    case 'deletion_time':
      return policy.deletesAtMs ?? MAX_BYTES;
  }
}

/** The attributes by LotMan's names, in its order, and by ours. */
export const ATTRIBUTE_NAMES = {
  dedicated_GB: 'dedicatedBytes',
  opportunistic_GB: 'opportunisticBytes',
  max_num_objects: 'maxObjects',
  creation_time: 'createdAtMs',
  expiration_time: 'expiresAtMs',
  deletion_time: 'deletesAtMs',
} as const satisfies Record<keyof PolicyJson, keyof Policy>;

export function policyJson(policy: Policy): PolicyJson {
  const names = Object.keys(ATTRIBUTE_NAMES) as (keyof PolicyJson)[];
  return Object.fromEntries(names.map((name) => [name, attributeJson(policy, name)])) as unknown as PolicyJson;
}

/** LotMan's paths end in a slash. */
export function pathJson(path: string): string {
  return path.endsWith('/') ? path : `${path}/`;
}

/** A foreign path without what makes no difference: slashes at its end, and several in a row beyond a scheme. */
export function foreignPath(path: string): string {
  const [, scheme = '', rest = path] = /^([a-z][a-z0-9+.-]*:\/\/)(.*)$/is.exec(path) ?? [];
  return scheme + rest.replace(/\/{2,}/g, '/').replace(/\/$/, '');
}

export interface DirJson {
  exclude: boolean;
  lot_name: string;
  path: string;
  recursive: boolean;
}

export function dirJson({ path, recursive, exclude }: LotPath, lotName: string): DirJson {
  return { exclude, lot_name: lotName, path: pathJson(path), recursive };
}

/** Whether any of the paths is in the mount. */
export function isMeasured(paths: readonly LotPath[]): boolean {
  return paths.some(({ path }) => !isForeign(path));
}

/** The keys of a reported usage, by LotMan's names. */
export const USAGE_NAMES = {
  self_GB: 'bytes',
  self_objects: 'objects',
  self_GB_being_written: 'pendingBytes',
  self_objects_being_written: 'pendingObjects',
} as const satisfies Record<string, keyof LotUsage>;

function limitJson(value: number): number {
  return value === UNLIMITED ? MAX_BYTES : value;
}

function unlimitedFrom(value: number, most: number): number {
  return value >= most ? UNLIMITED : value;
}

function timeOf(ms: number): number | null {
  return ms >= NEVER_MS ? null : ms;
}
