// `vreserve space create`.
import { DISK_TYPES, ENFORCERS, SPACE_POLICIES } from '../core/space.js';
import type { SpaceJson } from '../views/host.js';
import { spaceRequest } from '../views/space-command.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { askSpaces, MOUNT_OPTION, spaceLine } from './space-ask.js';

export const create: Command = {
  usage: 'space create NAME SIZE [--type ssd|hdd] [--policy POLICY] [--at PATH] [--enforce mount|kernel] [--mount MNT]',
  description: [
    'Makes a directory that has SIZE set aside: nobody else can take it, and what is in it cannot take more. It is on the pool with the',
    'most headroom among those that the policy lets it have: ssd-only, hdd-only, or ssd-first (the default: on another only where no',
    'SSD has room). A space that is there is left as it is, whatever its size, and shown.',
  ],
  examples: [
    'vreserve space create data 500GB',
    'vreserve space create logs 20GiB --type hdd --at /logs --mount /mnt/data',
    'vreserve space create scratch 500GB --enforce kernel',
  ],
  options: {
    type: { type: 'string', unit: DISK_TYPES.join('|'), help: 'on such a pool only: short for --policy TYPE-only' },
    policy: { type: 'string', unit: SPACE_POLICIES.join('|'), help: 'which pools may have it' },
    at: { type: 'string', unit: 'PATH', help: 'where in the mount, in place of /spaces/NAME; nothing may be there' },
    enforce: {
      type: 'string',
      unit: ENFORCERS.join('|'),
      help: 'who refuses what does not fit: mount (the default) is exact; kernel: a quota of btrfs or XFS',
    },
    ...MOUNT_OPTION,
  },
  words: [2, 2],
  async run(parsed) {
    const { positionals, text, json } = parsed;
    const [name, bytes] = positionals;
    const options = { type: text('type'), policy: text('policy'), at: text('at'), enforce: text('enforce') };
    const request = { do: 'create', name, bytes, ...options };
    // What is wrong with the words is said before a mount is looked for.
    const asked = spaceRequest(request);
    const { result, mountpoint } = await askSpaces<SpaceJson>(request, parsed);
    if (json) printJson(result);
    else print(`space ${result.name}: ${spaceLine(result, mountpoint)}`);
    const stays = asked.do === 'create' && asked.bytes !== result.sizeBytes;
    if (stays && !json) print('it was there already, and stays as it is: vreserve space update gives it another size');
    return 0;
  },
};
