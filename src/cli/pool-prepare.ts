// `vreserve pool prepare`: makes a pool of empty disks, and mounts it.
import { formatBytes } from '../core/bytes.js';
import { checkPolicy } from '../pools/policy.js';
import { PoolsDirectory } from '../pools/pools-directory.js';
import { preparePool } from '../pools/prepare.js';
import { systemTools } from '../pools/tools.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { POOLS_DIR, poolsDirOf, requireRoot } from './pools-dir.js';
import { Stop } from './spool-stop.js';

export const prepare: Command = {
  usage: 'pool prepare NAME DEVICE… [--policy single|raid1|raid10] [--pools-dir DIR]',
  description: [
    'Makes a btrfs of the whole devices, with the label NAME and quotas on, and mounts it at DIR/NAME. Only devices on which',
    'nothing is known to be are taken: vreserve pool devices says which are free, and vreserve pool wipe empties one.',
    'The pool is made whole or not at all: what was cut off is finished or undone by the next call for NAME, or by boot.',
  ],
  examples: [
    'vreserve pool prepare fast /dev/nvme0n1',
    'vreserve pool prepare safe /dev/sda /dev/sdb --policy raid1 && vreserve mount /run/vreserve/pools/safe /mnt/data',
  ],
  options: {
    policy: {
      type: 'string',
      unit: 'POLICY',
      help: 'single: each byte once; raid1: on two devices; raid10: on two of four or more (single)',
    },
    ...POOLS_DIR,
  },
  words: [2, Number.POSITIVE_INFINITY],
  async run(parsed) {
    const [name = '', ...devices] = parsed.positionals;
    const policy = checkPolicy(parsed.text('policy') ?? 'single');
    const at = PoolsDirectory.at(poolsDirOf(parsed));
    requireRoot('preparing a pool');
    const stop = new Stop();
    try {
      const pool = await preparePool(systemTools(), at, { name, devices, policy }, stop.signal);
      if (parsed.json) printJson({ ok: true, ...pool });
      else {
        const how = pool.resumed ? 'finished what was cut off: pool' : 'prepared pool';
        print(`${how} ${name}: ${formatBytes(pool.sizeBytes)} ${pool.type}, ${policy}, mounted at ${pool.directory}`);
      }
      return 0;
    } finally {
      stop.end();
    }
  },
};
