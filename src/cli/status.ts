// `vreserve status`: passes when all that was asked for is there and well; with --wait, as soon as it is.
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseTimerMs } from '../core/duration.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { BootConfig } from '../pools/boot-config.js';
import { choose, devicesOf } from '../pools/boot-pools.js';
import { type FoundPool, poolsOn } from '../pools/found-pools.js';
import { isDegraded, missingText, poolTroubles } from '../pools/pool-health.js';
import { PoolsDirectory } from '../pools/pools-directory.js';
import { systemTools, type Tools } from '../pools/tools.js';
import { readBootConfig } from './boot.js';
import type { Command } from './command.js';
import { isVreserve, mountAt, realPathOf, vreserveMounts } from './mountinfo.js';
import { print, printJson } from './output.js';
import { askMount } from './pool-report.js';
import { Stop } from './spool-stop.js';

const DEFAULT_WAIT = '60s';
const BETWEEN_LOOKS_MS = 250;

export const status: Command = {
  usage: 'status [MNT] [--config FILE] [--wait[=D]]',
  description: [
    'Exit code 0 when the mount answers and is well, else 1 and a line for each thing that is missing. With --config FILE, that',
    'of boot, all of its pools must be mounted and its cache be in its place too; a pool that lacks a device and works is told,',
    'and passes. MNT can be left out where FILE names it, or where there is one mount only. With --wait it waits until it passes,',
    'for at most D (60s): as the test of a service.',
  ],
  examples: ['vreserve status /mnt/data', 'vreserve status --config /etc/vreserve/boot.json --wait=90s'],
  options: {
    config: { type: 'string', unit: 'FILE', help: 'what must be there' },
    wait: { type: 'string', unit: '[=D]', optional: true, help: `until all is there, at most so long (${DEFAULT_WAIT})` },
  },
  words: [0, 1],
  async run({ positionals: [typed], text, json }) {
    const file = text('config');
    const config = file === undefined ? null : await readBootConfig(file);
    const endMs = Date.now() + waitMs(text('wait'));
    const tools = systemTools();
    const stop = new Stop();
    try {
      let found = await look(tools, typed, config);
      while (found.missing.length > 0 && Date.now() < endMs && !stop.isAsked) {
        await sleep(BETWEEN_LOOKS_MS, undefined, { signal: stop.signal }).catch(() => {});
        found = await look(tools, typed, config);
      }
      if (json) printJson({ ok: found.missing.length === 0, ...found });
      else for (const line of [...found.missing, ...found.notes, ...(found.missing.length === 0 ? ['ok'] : [])]) print(line);
      if (stop.isAsked) return stop.exitCode;
      return found.missing.length === 0 ? 0 : 1;
    } finally {
      stop.end();
    }
  },
};

interface Found {
  mountpoint: string | null;
  /** A sentence each; none: it passes. */
  missing: string[];
  /** What is worth knowing, and lets it pass. */
  notes: string[];
}

/** Seconds may be given without their unit. */
function waitMs(text: string | undefined): number {
  if (text === undefined) return 0;
  return parseTimerMs(text === '' ? DEFAULT_WAIT : /^[0-9]{1,6}$/.test(text) ? `${text}s` : text);
}

async function look(tools: Tools, typed: string | undefined, config: BootConfig | null): Promise<Found> {
  const found: Found = { mountpoint: config?.mount.mountpoint ?? null, missing: [], notes: [] };
  try {
    if (typed !== undefined) found.mountpoint = realPathOf(resolve(typed));
    found.mountpoint ??= theOnlyMount();
    await lookAtMount(tools, found.mountpoint, found);
    if (config !== null) await lookAtPools(config, tools, found);
    const bindAt = config?.cache?.bindAt ?? null;
    if (bindAt !== null && !isShown(bindAt)) found.missing.push(`the cache is not at ${bindAt}`);
  } catch (error) {
    if (error instanceof VreserveError && error.code === 'USAGE') throw error;
    found.missing.push(asVreserveError(error).message);
  }
  return found;
}

function isShown(path: string): boolean {
  const mount = mountAt(path);
  return mount !== undefined && isVreserve(mount);
}

/** Throws where there are none or several. */
function theOnlyMount(): string {
  const [first, second] = vreserveMounts();
  if (first === undefined) throw new VreserveError('SYSTEM', { errno: 'ENOENT', reason: 'there is no vreserve mount' });
  if (second === undefined) return first.mountpoint;
  throw new VreserveError('USAGE', { reason: 'there are several vreserve mounts: name one' });
}

async function lookAtMount(tools: Tools, mountpoint: string, { missing }: Found): Promise<void> {
  const mount = mountAt(mountpoint);
  if (mount === undefined || !isVreserve(mount)) {
    missing.push(`nothing is mounted at ${mountpoint}`);
    return;
  }
  const lines = (await askMount(tools, mountpoint, 'health')).split('\n').filter((line) => line !== '' && line !== 'ok');
  missing.push(...lines.map((line) => `${mountpoint}: ${line}`));
}

async function lookAtPools(config: BootConfig, tools: Tools, { missing, notes }: Found): Promise<void> {
  const at = PoolsDirectory.at(config.poolsDir);
  const chosen = choose(config, await poolsOn(await devicesOf(tools, config)));
  if (chosen.length === 0 && config.mount.backing === null) missing.push('there is no pool');
  for (const { wanted, pool, reason } of chosen) {
    if (pool === null) missing.push(`pool ${wanted.name} is missing: ${reason}`);
    else await lookAtPool(pool, at.mountpointOf(pool.name), missing, notes);
  }
}

async function lookAtPool({ name, directory, missing }: FoundPool, at: string, gone: string[], notes: string[]): Promise<void> {
  if (directory !== at) {
    gone.push(`pool ${name} is not mounted at ${at}`);
    return;
  }
  const troubles = await poolTroubles(directory);
  gone.push(...troubles.filter((each) => !isDegraded(each)).map((each) => `pool ${name}: ${each}`));
  notes.push(...troubles.filter((each) => isDegraded(each)).map((each) => `pool ${name}: ${each}`));
  if (missing > 0 && !troubles.some((each) => isDegraded(each))) notes.push(`pool ${name}: ${missingText(missing)}`);
}
