// `vreserve reserve`: sets bytes aside for a path.

import { sendControl } from '../client/control.js';
import { formatCount, formatExactBytes, parseBytes } from '../core/bytes.js';
import type { LotJson } from '../views/json.js';
import { RESERVE_OPTIONS, reserveOptions, waitOption } from '../views/reserve-options.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { showingTheLine } from './waiting.js';
import { findPlace } from './where.js';

export const reserve: Command = {
  usage:
    'reserve PATH BYTES [--wait[=DURATION]] [--expires DURATION] [--owner USER] [--opportunistic BYTES] [--objects N] [--mount MNT]',
  description: [
    'Sets bytes aside for the path, which need not exist yet: nobody else can take them, and whoever writes',
    'below the path cannot take more. A path that is reserved already gets the new number of bytes.',
    'What cannot be given is refused with what is available, and nothing is changed. Options that are left out stay as they are.',
    'With --wait it waits in line until the bytes are there, first come, first served; Ctrl-C leaves the line.',
  ],
  examples: [
    'vreserve reserve /mnt/data/job1 500MB',
    'vreserve reserve /mnt/data/job2 2GB --opportunistic 8GB --expires 12h --owner alice',
    'vreserve reserve /job1 20GiB --mount /mnt/data',
    'vreserve reserve /mnt/data/job3 50GB --wait=10m && run-job3',
  ],
  options: {
    wait: {
      type: 'string',
      unit: 'DURATION',
      optional: true,
      help: 'wait until the bytes are there, at most so long: 30s, 10m, 2h; without a value for ever',
    },
    expires: { type: 'string', unit: 'DURATION', help: 'from then on nothing is set aside: 30m, 2h, 7d, or never' },
    owner: { type: 'string', unit: 'USER', help: 'who may change and release it, in place of you' },
    opportunistic: { type: 'string', unit: 'BYTES', help: 'more, while the pool has headroom; or unlimited' },
    objects: { type: 'string', unit: 'N', help: 'at most so many files; or unlimited' },
    mount: { type: 'string', unit: 'MNT', help: 'PATH is as in this mount' },
  },
  words: [2, 2],
  async run({ positionals: [path = '', bytes = ''], text, json }) {
    const wanted = parseBytes(bytes);
    const place = findPlace(path, text('mount'));
    const given = RESERVE_OPTIONS.flatMap((name) => {
      const value = text(name);
      return value === undefined ? [] : [[name, value] as const];
    });
    const options = Object.fromEntries(given);
    reserveOptions(options);
    const wait = text('wait');
    if (wait !== undefined) waitOption(wait);
    const request = { cmd: 'reserve', path: place.path, bytes: wanted, ...options, ...(wait === undefined ? {} : { wait }) };
    const { mountpoint } = place.mount;
    const send = () => sendControl<{ ok: true; lot: LotJson }>(mountpoint, request);
    const reply = await (wait === undefined ? send() : showingTheLine(mountpoint, place.path, send));
    if (json) printJson(reply);
    else print(grantLine('reserved', reply.lot));
    return 0;
  },
};

/** `reserved 500 MB for /job1, 0 B used`, and what else it may have. */
export function grantLine(verb: string, lot: LotJson): string {
  const more = lot.opportunisticBytes < 0 ? ' and more without limit' : ` and ${formatExactBytes(lot.opportunisticBytes)} more`;
  const notes = [
    `${formatExactBytes(lot.usedBytes)} used`,
    ...(lot.maxObjects < 0 ? [] : [`at most ${formatCount(lot.maxObjects)} files`]),
    ...(lot.expiresAtMs === null ? [] : [`until ${new Date(lot.expiresAtMs).toISOString().slice(0, 19)}Z`]),
  ];
  const opportunistic = lot.opportunisticBytes === 0 ? '' : more;
  return `${verb} ${formatExactBytes(lot.dedicatedBytes)}${opportunistic} for ${lot.path ?? lot.name}, ${notes.join(', ')}`;
}
