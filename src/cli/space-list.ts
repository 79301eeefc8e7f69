// `vreserve space list`.
import { formatBytes } from '../core/bytes.js';
import type { SpaceJson } from '../views/host.js';
import type { Command } from './command.js';
import { alignColumns, print, printJson } from './output.js';
import { askSpaces, MOUNT_OPTION } from './space-ask.js';

const HEAD = ['name', 'size', 'used', 'pool', 'type', 'enforce', 'path'];

export const list: Command = {
  usage: 'space list [--all] [--mount MNT]',
  description: ['Shows the spaces by name, with what is set aside for each and what it holds.'],
  examples: ['vreserve space list', 'vreserve space list --all --json'],
  options: { all: { type: 'boolean', help: 'the cache of the mount too' }, ...MOUNT_OPTION },
  words: [0, 0],
  async run(parsed) {
    const { result } = await askSpaces<SpaceJson[]>({ do: 'list', all: parsed.flag('all') }, parsed);
    if (parsed.json) printJson(result);
    else if (result.length === 0) print('no spaces');
    else for (const line of alignColumns([HEAD, ...result.map(cells)], [1, 2])) print(line);
    return 0;
  },
};

function cells({ name, sizeBytes, usedBytes, pool, type, enforce, path, state }: SpaceJson): string[] {
  const shown = state === 'ready' ? path : `${path} (${state})`;
  return [name, formatBytes(sizeBytes), formatBytes(usedBytes), pool, type ?? '-', enforce, shown];
}
