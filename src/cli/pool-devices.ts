// `vreserve pool devices`: the disks of the machine, what is on them, and which of them are free.
import { formatBytes } from '../core/bytes.js';
import { signatureText } from '../pools/signature.js';
import { type Surveyed, surveyDevices } from '../pools/survey.js';
import { systemTools } from '../pools/tools.js';
import type { Command } from './command.js';
import { alignColumns, print, printJson } from './output.js';

export const devices: Command = {
  usage: 'pool devices [--usb] [--loop]',
  description: [
    'Lists whole disks: their type by the flag of the kernel, whether anybody uses them, and what is on them. Only what is',
    'free can become part of a pool. It only looks; who is not root sees less, and then it says unknown.',
  ],
  examples: ['vreserve pool devices', 'vreserve pool devices --usb --json'],
  options: {
    usb: { type: 'boolean', help: 'disks on USB too' },
    loop: { type: 'boolean', help: 'loop devices too' },
  },
  words: [0, 0],
  async run({ flag, json }) {
    const surveyed = await surveyDevices(systemTools(), { usb: flag('usb'), loop: flag('loop') });
    if (json) printJson({ devices: surveyed.map(deviceJson) });
    else if (surveyed.length === 0) print('no disks');
    else for (const line of alignColumns([HEADINGS, ...surveyed.map(deviceRow)], [2])) print(line);
    return 0;
  },
};

const HEADINGS = ['DEVICE', 'TYPE', 'SIZE', 'STATE', 'ON IT', 'SERIAL', 'MODEL', 'WHY'];

function deviceRow({ device, state, signatures, uses }: Surveyed): string[] {
  return [
    device.path,
    device.type,
    formatBytes(device.sizeBytes),
    state,
    signatures === null ? '?' : signatures.map(signatureText).join(', ') || '-',
    device.serial ?? '-',
    device.model ?? '-',
    [...uses, ...(device.readOnly ? ['it is read-only'] : [])].join('; '),
  ];
}

function deviceJson({ device, state, signatures, uses }: Surveyed) {
  return { ...device, state, signatures, uses };
}
