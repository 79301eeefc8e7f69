// `vreserve space lookup`.
import type { SpaceJson } from '../views/host.js';
import { spaceRequest } from '../views/space-command.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { askSpaces, MOUNT_OPTION, spaceLine } from './space-ask.js';

export const lookup: Command = {
  usage: 'space lookup NAME [--mount MNT]',
  description: ['Shows one space. Exit code 1 where there is none.'],
  examples: ['vreserve space lookup data --json'],
  options: MOUNT_OPTION,
  words: [1, 1],
  async run(parsed) {
    const [name] = parsed.positionals;
    const request = { do: 'lookup', name };
    spaceRequest(request);
    const { result, mountpoint } = await askSpaces<SpaceJson>(request, parsed);
    if (parsed.json) printJson(result);
    else print(`space ${result.name}: ${spaceLine(result, mountpoint)}`);
    return 0;
  },
};
