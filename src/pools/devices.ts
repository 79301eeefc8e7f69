// The disks of the machine, as lsblk tells of them; with it, the one device that was told by name.

import { lstat, readFile, readlink } from 'node:fs/promises';
import { Ajv } from 'ajv';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { DiskType } from '../core/space.js';
import { checkDevicePath } from './names.js';
import type { Tools } from './tools.js';

/** A whole disk, or a loop device over a file. */
export interface Device {
  /** The kernel's, such as `sda`. */
  name: string;
  /** `/dev/NAME`. */
  path: string;
  /** `major:minor`, decimal. */
  number: string;
  sizeBytes: number;
  /** By the kernel's rotational flag. */
  type: DiskType;
  kind: 'disk' | 'loop';
  /** Such as `nvme`, `sata`, `usb`; null: the kernel does not say. */
  transport: string | null;
  readOnly: boolean;
  serial: string | null;
  model: string | null;
  /** Which of the devices that have had this name since the machine started; null: the kernel does not say (before 5.15). */
  sequence: number | null;
}

/** Which of the devices are wanted besides disks. */
export interface DeviceChoice {
  /** Disks on USB. */
  usb?: boolean;
  /** Loop devices. */
  loop?: boolean;
}

interface Row {
  name: string;
  path: string;
  'maj:min': string;
  size: number;
  rota: boolean;
  type: string;
  tran: string | null;
  ro: boolean;
  serial: string | null;
  model: string | null;
}

const TEXT_OR_NULL = { type: 'string', nullable: true };
const COLUMNS = {
  name: { type: 'string' },
  path: { type: 'string' },
  'maj:min': { type: 'string', pattern: '^[0-9]+:[0-9]+$' },
  size: { type: 'integer', minimum: 0 },
  rota: { type: 'boolean' },
  type: { type: 'string' },
  tran: TEXT_OR_NULL,
  ro: { type: 'boolean' },
  serial: TEXT_OR_NULL,
  model: TEXT_OR_NULL,
};
const isAnswer = new Ajv().compile<{ blockdevices: Row[] }>({
  type: 'object',
  properties: {
    blockdevices: { type: 'array', items: { type: 'object', properties: COLUMNS, required: Object.keys(COLUMNS) } },
  },
  required: ['blockdevices'],
});

/** Compressed memory: lsblk calls it a disk. */
const IN_MEMORY = /^(z?ram)[0-9]+$/;

/** All disks that have a size, in the order of lsblk. Throws TOOL_MISSING, TOOL_FAILED, TOOL_SLOW. */
export async function listDevices(tools: Tools, { usb = false, loop = false }: DeviceChoice = {}): Promise<Device[]> {
  const devices = await Promise.all((await askLsblk(tools)).map(deviceOf));
  return devices.filter(
    (device): device is Device =>
      device !== null && device.sizeBytes > 0 && (usb || device.transport !== 'usb') && (loop || device.kind === 'disk'),
  );
}

/**
 * The device that was told by name: a whole disk or loop device, by the name that the kernel has for it. Throws DEVICE_BAD_NAME
 * (a link, a partition, no block device …), DEVICE_MISSING, DEVICE_UNFIT.
 */
export async function namedDevice(tools: Tools, typed: string): Promise<Device> {
  const path = checkDevicePath(typed);
  const bad = (reason: string) => new VreserveError('DEVICE_BAD_NAME', { path, reason });
  const status = await lstat(path, { bigint: true }).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') throw new VreserveError('DEVICE_MISSING', { path });
    throw error;
  });
  if (status.isSymbolicLink()) throw bad(`it is a link to ${await readlink(path)}: name the device itself`);
  if (!status.isBlockDevice()) throw bad('it is no block device');
  const number = numberOf(status.rdev);
  const kernelName = await deviceName(number);
  if (kernelName === null) throw new VreserveError('DEVICE_MISSING', { path });
  if (path !== `/dev/${kernelName}`) throw bad(`the name of that device is /dev/${kernelName}`);
  if (await isPartition(number)) throw bad('it is a partition: a pool has whole disks');
  const [row] = await askLsblk(tools, path);
  const device = row === undefined || row['maj:min'] !== number ? null : await deviceOf(row);
  if (device === null) throw new VreserveError('DEVICE_UNFIT', { path, reason: `it is no disk but ${row?.type ?? 'nothing'}` });
  if (device.sizeBytes === 0) throw new VreserveError('DEVICE_UNFIT', { path, reason: 'it has no size: nothing is in it' });
  return device;
}

/** `major:minor` as the kernel writes it, of a number as stat(2) has it. */
export function numberOf(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

async function askLsblk(tools: Tools, path?: string): Promise<Row[]> {
  const columns = Object.keys(COLUMNS).join(',').toUpperCase();
  const words = ['--json', '--bytes', '--nodeps', '--output', columns, ...(path === undefined ? [] : [path])];
  const text = await tools.run('lsblk', words);
  const refuse = (reason: string) => new VreserveError('TOOL_FAILED', { tool: 'lsblk', reason });
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw refuse('what it says is no JSON');
  }
  if (isAnswer(answer)) return answer.blockdevices;
  const [error] = isAnswer.errors ?? [];
  throw refuse(`what it says is not understood (${error?.instancePath} ${error?.message}): util-linux 2.33 or later is needed`);
}

/** null: no disk. */
async function deviceOf(row: Row): Promise<Device | null> {
  const { name, path, size, rota, type, tran, ro, serial, model } = row;
  if ((type !== 'disk' && type !== 'loop') || IN_MEMORY.test(name)) return null;
  return {
    name,
    path,
    number: row['maj:min'],
    sizeBytes: size,
    type: rota ? 'hdd' : 'ssd',
    kind: type,
    transport: tran,
    readOnly: ro,
    serial: textOrNull(serial),
    model: textOrNull(model),
    sequence: await sequenceOf(name),
  };
}

function textOrNull(text: string | null): string | null {
  const trimmed = text?.trim() ?? '';
  return trimmed === '' ? null : trimmed;
}

async function sequenceOf(name: string): Promise<number | null> {
  const text = await readFile(`/sys/block/${name}/diskseq`, 'utf8').catch(() => '');
  return /^[0-9]+\n?$/.test(text) ? Number(text) : null;
}

async function deviceName(number: string): Promise<string | null> {
  const text = await readFile(`/sys/dev/block/${number}/uevent`, 'utf8').catch(() => '');
  return /^DEVNAME=(.+)$/m.exec(text)?.[1] ?? null;
}

async function isPartition(number: string): Promise<boolean> {
  return readFile(`/sys/dev/block/${number}/partition`).then(
    () => true,
    () => false,
  );
}
