// The superblock of btrfs, read from the device itself: whose filesystem it is, also where making it was cut off.

import { open } from 'node:fs/promises';

/** What vreserve reads of it. The format: btrfs documentation, "On-disk format", superblock. */
export interface Superblock {
  /** False while mkfs.btrfs is at it: the device is none yet, for anybody. */
  isFinished: boolean;
  uuid: string;
  label: string;
  /** How many the filesystem has. */
  devices: number;
}

const SECTOR_BYTES = 4096;
const FIRST_BYTES = 65_536;

/** Where the copies are: the first, and those on devices that are larger. */
export const SUPERBLOCK_OFFSETS = [FIRST_BYTES, 64 * 1024 ** 2, 256 * 1024 ** 3] as const;

const AT = { uuid: 0x20, magic: 0x40, devices: 0x88, label: 0x12b };
const LABEL_BYTES = 256;
const FINISHED = '_BHRfS_M';
/** What mkfs.btrfs writes until all else is on the device. */
const UNFINISHED = '!BHRfS_M';

/** null: there is none. Throws what the system says. */
export async function readSuperblock(path: string): Promise<Superblock | null> {
  const handle = await open(path, 'r');
  try {
    const block = Buffer.alloc(SECTOR_BYTES);
    const { bytesRead } = await handle.read(block, 0, SECTOR_BYTES, FIRST_BYTES);
    return bytesRead < SECTOR_BYTES ? null : parseSuperblock(block);
  } finally {
    await handle.close();
  }
}

export function parseSuperblock(block: Buffer): Superblock | null {
  const magic = block.toString('latin1', AT.magic, AT.magic + 8);
  if (magic !== FINISHED && magic !== UNFINISHED) return null;
  const label = block.subarray(AT.label, AT.label + LABEL_BYTES);
  const end = label.indexOf(0);
  return {
    isFinished: magic === FINISHED,
    uuid: uuidText(block.subarray(AT.uuid, AT.uuid + 16)),
    label: label.subarray(0, end < 0 ? LABEL_BYTES : end).toString(),
    devices: Number(block.readBigUInt64LE(AT.devices)),
  };
}

function uuidText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
