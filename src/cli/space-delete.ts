// `vreserve space delete`.
import { spaceRequest } from '../views/space-command.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { askSpaces, MOUNT_OPTION } from './space-ask.js';

export const deleteSpace: Command = {
  usage: 'space delete NAME [--mount MNT]',
  description: [
    'Removes the space with all that is in it, and gives its bytes back. One that a container, or somebody else, has mounted by itself',
    'is left. A space that is not there is no error.',
  ],
  examples: ['vreserve space delete data'],
  options: MOUNT_OPTION,
  words: [1, 1],
  async run(parsed) {
    const [name] = parsed.positionals;
    const request = { do: 'delete', name };
    spaceRequest(request);
    const { result } = await askSpaces<{ deleted: boolean }>(request, parsed);
    if (parsed.json) printJson({ ok: true, ...result });
    else print(result.deleted ? `deleted space ${name}` : `there is no space ${name}`);
    return 0;
  },
};
