// Overwrites what makes a device more than empty space: signatures and partition tables. Nothing else of vreserve writes to a device.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { Device } from './devices.js';
import { type Signature, signaturesOf, signatureText } from './signature.js';
import { SUPERBLOCK_OFFSETS } from './superblock.js';
import type { Tools } from './tools.js';

/** Partition tables, boot sectors and nearly all signatures are in so much at the start; GPT and RAID have copies at the end. */
const EDGE_BYTES = 1024 ** 2;
const BLOCK_BYTES = 4096;

/** What lay behind a signature may be one itself. */
const MOST_ROUNDS = 8;

interface Range {
  offsetBytes: number;
  lengthBytes: number;
}

/** Opens the device for writing, for nobody else meanwhile. Throws DEVICE_IN_USE. */
export async function openExclusively(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    if (errnoOf(error) !== 'EBUSY') throw error;
    throw new VreserveError('DEVICE_IN_USE', { path, reason: 'somebody has it for himself' }, { cause: error });
  }
}

/** Takes away all signatures, and returns them. It is durable then. Throws DEVICE_IN_USE, SYSTEM. */
export async function clearDevice(tools: Tools, { path, sizeBytes }: Device): Promise<Signature[]> {
  const handle = await openExclusively(path);
  try {
    const found = await signaturesOf(tools, path);
    const edges = [edge(0, sizeBytes), edge(sizeBytes - EDGE_BYTES, sizeBytes), ...superblocks(sizeBytes)];
    await zero(handle, [...edges, ...found.map((each) => around(each, sizeBytes))]);
    for (let round = 1; ; round++) {
      const left = await signaturesOf(tools, path);
      if (left.length === 0) return found;
      if (round > MOST_ROUNDS) {
        const reason = `'${path}' still has ${left.map(signatureText).join(', ')} after it was overwritten`;
        throw new VreserveError('SYSTEM', { errno: 'EIO', reason });
      }
      found.push(...left);
      await zero(
        handle,
        left.map((each) => around(each, sizeBytes)),
      );
    }
  } finally {
    await handle.close();
  }
}

/** Takes away the superblocks of btrfs alone, durably. Throws DEVICE_IN_USE, SYSTEM. */
export async function clearSuperblocks({ path, sizeBytes }: Device): Promise<void> {
  const handle = await openExclusively(path);
  try {
    await zero(handle, superblocks(sizeBytes));
  } finally {
    await handle.close();
  }
}

function superblocks(sizeBytes: number): Range[] {
  return SUPERBLOCK_OFFSETS.filter((offset) => offset + BLOCK_BYTES <= sizeBytes).map((offsetBytes) => ({
    offsetBytes,
    lengthBytes: BLOCK_BYTES,
  }));
}

function edge(fromBytes: number, sizeBytes: number): Range {
  const offsetBytes = Math.max(0, fromBytes);
  return { offsetBytes, lengthBytes: Math.min(EDGE_BYTES, sizeBytes - offsetBytes) };
}

/** The block that a signature begins in, and the next one, since it may go on there. */
function around({ offsetBytes }: Signature, sizeBytes: number): Range {
  const start = Math.min(Math.floor(offsetBytes / BLOCK_BYTES) * BLOCK_BYTES, sizeBytes);
  return { offsetBytes: start, lengthBytes: Math.min(2 * BLOCK_BYTES, sizeBytes - start) };
}

async function zero(handle: FileHandle, ranges: readonly Range[]): Promise<void> {
  const zeros = Buffer.alloc(EDGE_BYTES);
  for (const { offsetBytes, lengthBytes } of ranges) {
    for (let done = 0; done < lengthBytes; ) {
      const { bytesWritten } = await handle.write(zeros, 0, lengthBytes - done, offsetBytes + done);
      done += bytesWritten;
    }
  }
  await handle.sync();
}
