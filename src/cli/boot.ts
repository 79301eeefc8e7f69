// `vreserve boot`: the start of the machine: mounts the pools, makes one where the file says so, and starts the mount over them.
import { spawn } from 'node:child_process';
import { access, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text as readStream } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { asVreserveError, ERRORS, type ErrorCode, errnoOf, VreserveError } from '../core/errors.js';
import { OWN_DIRECTORY } from '../core/paths.js';
import { LEDGER_FILE } from '../ledger/sqlite.js';
import { MOUNT_OPTIONS } from '../mount-options.js';
import { type BootConfig, parseBootConfig } from '../pools/boot-config.js';
import { type BootPool, bootPools, placesOf } from '../pools/boot-pools.js';
import { systemTools, type Tools } from '../pools/tools.js';
import { addPools, poolWord } from './boot-add.js';
import type { Command } from './command.js';
import { isVreserve, mountAt } from './mountinfo.js';
import { note, print, printJson } from './output.js';
import { askMount } from './pool-report.js';
import { requireRoot } from './pools-dir.js';

export const boot: Command = {
  usage: 'boot --config FILE',
  description: [
    'Starts all that FILE names: mounts the pools on the disks of the machine, makes one on the first free SSD (else HDD) where',
    'there is none and FILE says so, and mounts the vreserve mount over them. What is there already is left as it is; a mount that',
    'runs is given the pools that have come since. A pool that is missing, broken or degraded is told and does not stop the others;',
    'vreserve status --config FILE --wait passes when all is there. FILE is JSON: see src/pools/README.md.',
  ],
  examples: ['vreserve boot --config /etc/vreserve/boot.json', 'vreserve boot --config /etc/vreserve/boot.json --json'],
  options: { config: { type: 'string', unit: 'FILE', help: 'what is to be started' } },
  words: [0, 0],
  async run({ text, json }) {
    const config = await readBootConfig(text('config'));
    checkMountOptions(config);
    requireRoot('starting pools');
    const tools = systemTools();
    const { pools, notes } = await bootPools(tools, config);
    for (const line of [...notes, ...pools.flatMap(poolNote)]) note(line);
    const mount = await startMount(tools, config, pools);
    for (const line of mount.notes) note(line);
    if (json) printJson({ ok: true, pools, notes, mount });
    else {
      for (const pool of pools) print(poolText(pool));
      for (const name of mount.added) print(`pool ${name} is a pool of ${mount.mountpoint} now`);
      print(mount.already ? `${mount.mountpoint} is mounted already` : `mounted ${mount.backing} at ${mount.mountpoint}`);
    }
    return 0;
  },
};

/** Throws USAGE where none is named, BOOT_BAD_CONFIG, SYSTEM. */
export async function readBootConfig(file: string | undefined): Promise<BootConfig> {
  if (file === undefined || file === '') throw new VreserveError('USAGE', { reason: 'say which file: --config FILE' });
  const content = await readFile(file, 'utf8').catch((error: unknown) => {
    const errno = errnoOf(error) ?? 'EIO';
    throw new VreserveError('SYSTEM', { errno, reason: `'${file}' cannot be read: ${errno}` }, { cause: error });
  });
  return parseBootConfig(content, file);
}

/** Before anything is started. Throws USAGE. */
function checkMountOptions({ mount }: BootConfig): void {
  for (const name of Object.keys(mount.options)) {
    const positive = name.startsWith('no-') ? name.slice(3) : name;
    if (Object.hasOwn(MOUNT_OPTIONS, name) || Object.hasOwn(MOUNT_OPTIONS, positive)) continue;
    throw new VreserveError('USAGE', { reason: `mount.options: vreserve mount has no option '${name}'` });
  }
}

interface StartedMount {
  mountpoint: string;
  backing: string;
  /** It was there, and serves. */
  already: boolean;
  /** Pools that one which was there has got just now, and what could not be added. */
  added: string[];
  notes: string[];
  /** What `mount --json` said; null: nothing was started. */
  ready: unknown;
}

async function startMount(tools: Tools, config: BootConfig, pools: readonly BootPool[]): Promise<StartedMount> {
  const { mountpoint } = config.mount;
  const there = mountAt(mountpoint);
  if (there !== undefined && isVreserve(there)) {
    const serves = await askMount(tools, mountpoint, 'health').then(
      () => true,
      () => false,
    );
    // One whose daemon is gone is mounted anew.
    if (serves) {
      return { mountpoint, backing: there.source, already: true, ready: null, ...(await addPools(tools, mountpoint, pools)) };
    }
  }
  const { backing, others } = placesOf(config, await withLedgerFirst(pools));
  if (there === undefined) await mkdir(mountpoint, { recursive: true });
  if (config.cache !== null && config.cache.bindAt !== null) await mkdir(config.cache.bindAt, { recursive: true });
  const words = [backing, mountpoint, '--json', ...optionWords(config), ...poolWords(others), ...cacheWords(config)];
  return { mountpoint, backing, already: false, ready: await runMount(words), added: [], notes: [] };
}

function optionWords({ mount }: BootConfig): string[] {
  return Object.entries(mount.options).flatMap(([name, value]) => {
    if (value === false) return Object.hasOwn(MOUNT_OPTIONS, name) && isNegatable(name) ? [`--no-${name}`] : [];
    return value === true ? [`--${name}`] : [`--${name}=${value}`];
  });
}

function isNegatable(name: string): boolean {
  const option = MOUNT_OPTIONS[name];
  return option?.kind === 'switch' && option.negatable === true;
}

function poolWords(others: readonly BootPool[]): string[] {
  return others.flatMap((pool) => ['--pool', poolWord(pool)]);
}

/** The pool that was the backing before has a ledger; whatever disk has been plugged since, it is the backing again. */
async function withLedgerFirst(pools: readonly BootPool[]): Promise<BootPool[]> {
  const hasLedger = async ({ directory }: BootPool) =>
    directory !== null &&
    (await access(join(directory, OWN_DIRECTORY, LEDGER_FILE)).then(
      () => true,
      () => false,
    ));
  const found = await Promise.all(pools.map(hasLedger));
  return [...pools.filter((_, i) => found[i]), ...pools.filter((_, i) => !found[i])];
}

function cacheWords({ cache }: BootConfig): string[] {
  if (cache === null) return [];
  return ['--cache', cache.bindAt === null ? String(cache.bytes) : `${cache.bytes}:${cache.bindAt}`];
}

/** What it said. Throws its error as it was there. */
async function runMount(words: readonly string[]): Promise<unknown> {
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const child = spawn(process.execPath, [main, 'mount', ...words], { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((done, failed) => child.on('error', failed).on('close', done));
  const [said, complained, code] = await Promise.all([readStream(child.stdout), readStream(child.stderr), ended]);
  if (code === 0) return JSON.parse(said);
  throw mountFailure(said) ?? new VreserveError('DAEMON_FAILED', { reason: complained.trim() || `mount ended with ${code}` });
}

function mountFailure(said: string): VreserveError | null {
  try {
    const { code, message, errno } = JSON.parse(said) as { code: string; message: string; errno: string };
    const error = new VreserveError(Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'DAEMON_FAILED', { errno });
    error.message = message;
    return error;
  } catch (error) {
    return error instanceof SyntaxError ? null : asVreserveError(error);
  }
}

function poolNote({ name, state, reason }: BootPool): string[] {
  return state === 'mounted' ? [] : [`pool ${name} is ${state}: ${reason}`];
}

function poolText({ name, type, state, directory, created }: BootPool): string {
  const where = directory === null ? '' : ` at ${directory}`;
  return `pool ${name}: ${created ? 'made, ' : ''}${state}${where}${type === null ? '' : ` (${type})`}`;
}
