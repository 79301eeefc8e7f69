// `vreserve space update`.
import type { SpaceJson } from '../views/host.js';
import { spaceRequest } from '../views/space-command.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { askSpaces, MOUNT_OPTION, spaceLine } from './space-ask.js';

export const update: Command = {
  usage: 'space update NAME SIZE [--mount MNT]',
  description: [
    'Gives the space another size, more or less; never less than it holds. What cannot be given is refused, and nothing is changed.',
  ],
  examples: ['vreserve space update data 800GB'],
  options: MOUNT_OPTION,
  words: [2, 2],
  async run(parsed) {
    const [name, bytes] = parsed.positionals;
    const request = { do: 'update', name, bytes };
    spaceRequest(request);
    const { result, mountpoint } = await askSpaces<SpaceJson>(request, parsed);
    if (parsed.json) printJson(result);
    else print(`space ${result.name}: ${spaceLine(result, mountpoint)}`);
    return 0;
  },
};
