// `vreserve reserve`: sets bytes aside for a path.
import { formatExactBytes, parseBytes } from '../core/bytes.js';
import type { LotJson } from '../views/json.js';
import type { Command } from './command.js';
import { sendControl } from './control.js';
import { print, printJson } from './output.js';
import { findPlace } from './where.js';

export const reserve: Command = {
  usage: 'reserve PATH BYTES [--mount MNT]',
  description: [
    'Sets bytes aside for the path, which need not exist yet: nobody else can take them, and whoever writes',
    'below the path cannot take more. A path that is reserved already gets the new number of bytes.',
    'What cannot be given is refused with what is available, and nothing is changed.',
  ],
  examples: ['vreserve reserve /mnt/data/job1 500MB', 'vreserve reserve /job1 20GiB --mount /mnt/data'],
  options: { mount: { type: 'string', unit: 'MNT', help: 'PATH is as in this mount' } },
  words: [2, 2],
  async run({ positionals: [path = '', bytes = ''], text, json }) {
    const wanted = parseBytes(bytes);
    const place = findPlace(path, text('mount'));
    const request = { cmd: 'reserve', path: place.path, bytes: wanted };
    const reply = await sendControl<{ ok: true; lot: LotJson }>(place.mount.mountpoint, request);
    if (json) printJson(reply);
    else print(grantLine('reserved', reply.lot));
    return 0;
  },
};

/** `reserved 500 MB for /job1, 0 B used`. */
export function grantLine(verb: string, lot: LotJson): string {
  return `${verb} ${formatExactBytes(lot.dedicatedBytes)} for ${lot.path}, ${formatExactBytes(lot.usedBytes)} used`;
}
