// `vreserve pool wipe`: destroys what is on a disk, so that it is free.
import { VreserveError } from '../core/errors.js';
import { signatureText } from '../pools/signature.js';
import { systemTools } from '../pools/tools.js';
import { wipeDevice } from '../pools/wipe.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { requireRoot } from './pools-dir.js';

export const wipe: Command = {
  usage: 'pool wipe DEVICE --yes-destroy SERIAL-OR-NAME',
  description: [
    'Overwrites the signatures and the partition table of DEVICE, so that it is free. What was on it is lost. It is refused',
    'while anybody uses the device, and where --yes-destroy is not its serial number, or its name without /dev/.',
  ],
  examples: ['vreserve pool wipe /dev/sdb --yes-destroy WD-WX31A1234567', 'vreserve pool wipe /dev/sdb --yes-destroy sdb'],
  options: {
    'yes-destroy': { type: 'string', unit: 'SERIAL-OR-NAME', help: 'that of the device: no other is meant' },
  },
  words: [1, 1],
  async run({ positionals: [path = ''], text, json }) {
    const confirm = text('yes-destroy');
    if (confirm === undefined) {
      const reason = `this destroys what is on '${path}': say --yes-destroy and its serial number or its name, as vreserve pool devices lists them`;
      throw new VreserveError('USAGE', { reason });
    }
    requireRoot('wiping a device');
    const { device, signatures } = await wipeDevice(systemTools(), { device: path, confirm });
    if (json) printJson({ ok: true, device: device.path, signatures });
    else print(`wiped ${path}: ${signatures.map(signatureText).join(', ') || 'no signature was on it'}`);
    return 0;
  },
};
