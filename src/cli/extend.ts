// `vreserve extend`: changes the bytes of a reservation that is there.

import { sendControl } from '../client/control.js';
import { parseBytes } from '../core/bytes.js';
import type { LotJson } from '../views/json.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { grantLine } from './reserve.js';
import { findPlace } from './where.js';

export const extend: Command = {
  usage: 'extend PATH BYTES [--mount MNT]',
  description: [
    'Adds bytes to the reservation of the path. Unlike reserve it makes none: a path that is not reserved is an error.',
    'What cannot be given is refused with what is available, and nothing is changed.',
  ],
  examples: ['vreserve extend /mnt/data/job1 200MB'],
  options: { mount: { type: 'string', unit: 'MNT', help: 'PATH is as in this mount' } },
  words: [2, 2],
  async run({ positionals: [path = '', bytes = ''], text, json }) {
    const more = parseBytes(bytes);
    const place = findPlace(path, text('mount'));
    const request = { cmd: 'extend', path: place.path, bytes: more };
    const reply = await sendControl<{ ok: true; lot: LotJson }>(place.mount.mountpoint, request);
    if (json) printJson(reply);
    else print(grantLine('extended to', reply.lot));
    return 0;
  },
};
