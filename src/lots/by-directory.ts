// Usage that is reported by directory: which lot what part of it belongs to.

import type { LotBook } from '../core/book.js';
import { VreserveError } from '../core/errors.js';
import { isForeign, type LotId } from '../core/lot.js';
import type { DirectoryUsageJson } from './schema.js';
import { bytesOfGb, foreignPath } from './wire.js';

interface Sum {
  bytes: number;
  objects: number;
}

/** Sums by lot. Throws USAGE_IS_MEASURED for a path of the mount: what it holds is known. */
export function usageByLot(directories: readonly DirectoryUsageJson[], book: LotBook): Map<LotId, Sum> {
  const sums = new Map<LotId, Sum>();
  for (const directory of directories) {
    if (isForeign(directory.path)) add(directory, foreignPath(directory.path), book, sums);
    else throw new VreserveError('USAGE_IS_MEASURED', { what: `the usage of '${directory.path}'` });
  }
  return sums;
}

/** Adds what the directory itself holds, then what those below it do; returns all of it. */
function add(directory: DirectoryUsageJson, path: string, book: LotBook, sums: Map<LotId, Sum>): Sum {
  const below = { bytes: 0, objects: 0 };
  for (const each of directory.subdirs ?? []) {
    const part = add(each, `${path}/${foreignPath(each.path).replace(/^\/+/, '')}`, book, sums);
    below.bytes += part.bytes;
    below.objects += part.objects;
  }
  const given = { bytes: bytesOfGb(directory.size_GB ?? 0), objects: directory.num_obj ?? 0 };
  const own = directory.includes_subdirs ? { bytes: given.bytes - below.bytes, objects: given.objects - below.objects } : given;
  const id = book.ownerOf(path, true);
  const sum = sums.get(id) ?? { bytes: 0, objects: 0 };
  sums.set(id, { bytes: sum.bytes + own.bytes, objects: sum.objects + own.objects });
  return { bytes: own.bytes + below.bytes, objects: own.objects + below.objects };
}
