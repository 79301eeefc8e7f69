// Every disk of the machine with what is on it and who uses it: which of them are free.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Device, type DeviceChoice, listDevices } from './devices.js';
import { Uses } from './in-use.js';
import { type Signature, signaturesOf } from './signature.js';
import type { Tools } from './tools.js';

export interface Surveyed {
  device: Device;
  /** Half sentences. */
  uses: string[];
  /** null: it may not be looked into. */
  signatures: Signature[] | null;
  /** `free`: nobody uses it and nothing is on it; `unknown`: it may not be looked into. */
  state: 'free' | 'used' | 'unknown';
}

/** In the order of lsblk. Throws TOOL_…. */
export async function surveyDevices(tools: Tools, choice: DeviceChoice): Promise<Surveyed[]> {
  const [devices, uses] = await Promise.all([listDevices(tools, choice), Uses.look()]);
  return Promise.all(devices.map((device) => survey(tools, device, uses)));
}

async function survey(tools: Tools, device: Device, looked: Uses): Promise<Surveyed> {
  const uses = await looked.of(device);
  const signatures = (await mayRead(device.path)) ? await signaturesOf(tools, device.path) : null;
  const isUsed = uses.length > 0 || (signatures !== null && signatures.length > 0);
  return { device, uses, signatures, state: isUsed ? 'used' : signatures === null ? 'unknown' : 'free' };
}

/** Opened, since what a device's mode says is not all that can forbid it. */
async function mayRead(path: string): Promise<boolean> {
  try {
    await (await open(path, constants.O_RDONLY | constants.O_NONBLOCK)).close();
    return true;
  } catch {
    return false;
  }
}
