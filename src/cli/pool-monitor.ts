// `vreserve pool monitor`: a line for each disk and each pool that comes or goes.
import { formatBytes } from '../core/bytes.js';
import { parseTimerMs } from '../core/duration.js';
import { listDevices } from '../pools/devices.js';
import { poolsBelow } from '../pools/sights.js';
import { systemTools, type Tools } from '../pools/tools.js';
import { type PoolSight, type WatchEvent, Watcher } from '../pools/watch.js';
import type { Command } from './command.js';
import { note, print, printJson } from './output.js';
import { readPoolsOfMount } from './pool-report.js';
import { POOLS_DIR, poolsDirOf } from './pools-dir.js';
import { outliveReader } from './spool-answer.js';
import { Stop } from './spool-stop.js';
import { findMount } from './where.js';

const DEFAULT_EVERY = '1s';
const LEAST_EVERY_MS = 50;

export const monitor: Command = {
  usage: 'pool monitor [MNT] [--usb] [--loop] [--every D] [--pools-dir DIR]',
  description: [
    'Prints a line when a disk comes or goes, when a pool is mounted below DIR or is not any more, and when one breaks',
    '(read-only, a device is gone) or is back, until Ctrl-C: exit code 0. With MNT the pools of that mount too. It looks in',
    'intervals, so what comes and goes in between is not seen. vreserve mount --watch-devices writes the same to the journal.',
  ],
  examples: ['vreserve pool monitor', 'vreserve pool monitor /mnt/data --json --every 5s'],
  options: {
    usb: { type: 'boolean', help: 'disks on USB too' },
    loop: { type: 'boolean', help: 'loop devices too' },
    every: { type: 'string', unit: 'D', help: `from one look to the next (${DEFAULT_EVERY})` },
    ...POOLS_DIR,
  },
  words: [0, 1],
  async run(parsed) {
    const { positionals, flag, text, json } = parsed;
    const [typed] = positionals;
    const tools = systemTools();
    const everyMs = parseTimerMs(text('every') ?? DEFAULT_EVERY, LEAST_EVERY_MS);
    const poolsDir = poolsDirOf(parsed);
    const mountpoint = typed === undefined ? null : findMount(typed).mountpoint;
    const look = async () => ({
      devices: await listDevices(tools, { usb: flag('usb'), loop: flag('loop') }),
      pools: [...(await poolsBelow(poolsDir)), ...(mountpoint === null ? [] : await poolsOfMount(tools, mountpoint))],
    });
    const tell = (event: WatchEvent) => say(event, json);
    const watcher = new Watcher({ look, tell, failed: (reason) => note(reason), everyMs });
    const stop = new Stop();
    outliveReader(() => stop.ask());
    try {
      const { devices, pools } = await watcher.begin();
      note(`watching ${devices.length} devices and ${pools.length} pools; Ctrl-C ends it`);
      await watcher.run(stop.signal);
      return 0;
    } finally {
      stop.end();
    }
  },
};

/** Those of a mount have its name too: two mounts may have a pool of the same name. */
async function poolsOfMount(tools: Tools, mountpoint: string): Promise<PoolSight[]> {
  const pools = await readPoolsOfMount(tools, mountpoint);
  return pools.map(({ name, directory, broken }) => ({
    name: `${name} of ${mountpoint}`,
    directory,
    troubles: broken === null ? [] : [broken],
  }));
}

function say(event: WatchEvent, json: boolean): void {
  const at = new Date().toISOString();
  if (json) printJson({ at, ...event });
  else print(`${at.slice(0, 19).replace('T', ' ')}  ${eventText(event)}`);
}

function eventText(event: WatchEvent): string {
  switch (event.event) {
    case 'device-added':
      return `device added ${event.device} ${event.type} ${formatBytes(event.bytes)}`;
    case 'device-removed':
      return `device removed ${event.device}`;
    case 'pool-broken':
      return `pool broken ${event.pool}: ${event.reason}`;
    default:
      return `${event.event.replace('-', ' ')} ${event.pool} at ${event.directory}`;
  }
}
