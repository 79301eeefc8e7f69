// `vreserve release`: gives a reservation back.

import { sendControl } from '../client/control.js';
import { formatExactBytes } from '../core/bytes.js';
import type { LotJson } from '../views/json.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { findPlace } from './where.js';

export const release: Command = {
  usage: 'release PATH [--mount MNT]',
  description: [
    'Gives the reservation of the path back. The files stay, and belong to the lot around it from then on.',
    'A path that is not reserved is no error.',
  ],
  examples: ['vreserve release /mnt/data/job1', 'vreserve release /job1 --mount /mnt/data'],
  options: { mount: { type: 'string', unit: 'MNT', help: 'PATH is as in this mount' } },
  words: [1, 1],
  async run({ positionals: [path = ''], text, json }) {
    const place = findPlace(path, text('mount'));
    const request = { cmd: 'release', path: place.path };
    const reply = await sendControl<{ ok: true; lot?: LotJson | null }>(place.mount.mountpoint, request);
    if (json) printJson(reply);
    else if (reply.lot) print(`released ${formatExactBytes(reply.lot.dedicatedBytes)} of ${reply.lot.path}`);
    else print(`${place.path} was not reserved`);
    return 0;
  },
};
