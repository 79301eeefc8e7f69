// Empties a device that was told by name twice: signatures and partition tables are overwritten.

import { VreserveError } from '../core/errors.js';
import { clearDevice } from './clear-device.js';
import { type Device, namedDevice } from './devices.js';
import { Uses } from './in-use.js';
import { lockDevices } from './lock.js';
import { forget } from './settle.js';
import type { Signature } from './signature.js';
import type { Tools } from './tools.js';

export interface WipeRequest {
  /** The path of a whole device. */
  device: string;
  /** Its serial number or its name: what shows that no other is meant. */
  confirm: string;
}

export interface Wiped {
  device: Device;
  /** What was there. */
  signatures: Signature[];
}

/**
 * Wipes. Where it is cut off, the device is as empty as it came to be, and the next call does the rest. Throws DEVICE_…, TOOL_…;
 * refused, nothing is changed.
 */
export async function wipeDevice(tools: Tools, { device: path, confirm }: WipeRequest): Promise<Wiped> {
  const device = await namedDevice(tools, path);
  checkConfirmed(device, confirm);
  const refuse = async () => {
    if (device.readOnly) throw new VreserveError('DEVICE_UNFIT', { path, reason: 'it is read-only' });
    const [use] = await (await Uses.look()).of(device);
    if (use !== undefined) throw new VreserveError('DEVICE_IN_USE', { path, reason: use });
  };
  await refuse();
  const [lock] = await lockDevices(tools, [path]);
  try {
    await refuse();
    const signatures = await clearDevice(tools, device);
    if (signatures.some(({ type }) => type === 'btrfs')) await forget(tools, path);
    // The kernel shows partitions until it looks again. One that cannot have any (a loop device, mostly) says so.
    await tools.run('blockdev', ['--rereadpt', path]).catch(() => {});
    return { device, signatures };
  } finally {
    await lock?.release();
  }
}

function checkConfirmed({ path, name, serial }: Device, given: string): void {
  const accepted = [name, ...(serial === null ? [] : [serial])];
  if (accepted.includes(given)) return;
  const expected = serial === null ? `its name ${name}` : `its serial number ${serial} or its name ${name}`;
  throw new VreserveError('DEVICE_NOT_CONFIRMED', { path, expected, given: given.slice(0, 80) });
}
