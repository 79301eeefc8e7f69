// `vreserve ledger`: prints the journal of a mount, and with -f what is added to it.
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatExactBytes } from '../core/bytes.js';
import { asVreserveError, errnoOf } from '../core/errors.js';
import { printable } from '../views/text.js';
import type { Command } from './command.js';
import { findPlace, onlyMount } from './where.js';

const POLL_MS = 200;

export const ledger: Command = {
  usage: 'ledger [MNT] [-f]',
  description: [
    'Prints the journal, oldest first: every grant, refusal, release, extension, mount, unmount and recovery, and charges',
    'summed for each lot and second. With --json the lines are as in .vreserve/ledger (JSON Lines).',
    'MNT can be left out where there is one vreserve mount only.',
  ],
  examples: ['vreserve ledger /mnt/data', 'vreserve ledger -f --json'],
  options: { follow: { type: 'boolean', short: 'f', help: 'go on as lines are added, until the mount ends' } },
  words: [0, 1],
  async run({ positionals: [typed], flag, json }) {
    const mountpoint = typed === undefined ? onlyMount().mountpoint : findPlace(typed).mount.mountpoint;
    const file = join(mountpoint, '.vreserve', 'ledger');
    const handle = await open(file, 'r').catch((error: unknown) => {
      throw asVreserveError(error);
    });
    try {
      await printFrom(handle, flag('follow'), json ? (line) => line : readable);
    } finally {
      await handle.close().catch(() => {});
    }
    return 0;
  },
};

/** Prints whole lines; what is not a whole line yet waits for its end. */
async function printFrom(handle: FileHandle, follow: boolean, show: (line: string) => string): Promise<void> {
  const decoder = new StringDecoder('utf8');
  const buffer = Buffer.alloc(256 * 1024);
  let rest = '';
  for (;;) {
    let bytesRead: number;
    try {
      ({ bytesRead } = await handle.read(buffer, 0, buffer.length, null));
    } catch (error) {
      // The end of the mount is the end of what can be followed.
      if (follow && ['ENOTCONN', 'ENODEV', 'ECONNABORTED'].includes(errnoOf(error) ?? '')) return;
      throw asVreserveError(error);
    }
    if (bytesRead === 0) {
      if (!follow) return;
      await sleep(POLL_MS);
      continue;
    }
    const lines = (rest + decoder.write(buffer.subarray(0, bytesRead))).split('\n');
    rest = lines.pop() ?? '';
    const text = lines.map((line) => `${show(line)}\n`).join('');
    if (!process.stdout.write(text)) await new Promise((done) => process.stdout.once('drain', done));
  }
}

/** `2026-01-01 12:00:00  grant       /job1  dedicated 500 MB`. A line that is no JSON is shown as it is. */
function readable(line: string): string {
  try {
    const { at, event, ...fields } = JSON.parse(line) as Record<string, unknown>;
    const time = String(at)
      .replace('T', ' ')
      .replace(/\.\d+Z$/, '');
    const words = Object.entries(fields).map(([name, value]) => fieldText(name, value));
    return printable(`${time}  ${String(event).padEnd(10)}  ${words.join('  ')}`.trimEnd());
  } catch {
    return printable(line);
  }
}

/** Beyond the calendar: never. */
function timeText(atMs: number): string {
  return atMs > 8.64e15 ? 'never' : new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

function fieldText(name: string, value: unknown): string {
  if (name === 'path' || name === 'lot') return String(value);
  if (name === 'bytes' && typeof value === 'number') return `bytes ${formatExactBytes(value)}`;
  if (name.endsWith('AtMs') && typeof value === 'number') return `${name.slice(0, -4)} ${timeText(value)}`;
  if (name.endsWith('Bytes') && typeof value === 'number') return `${name.slice(0, -5)} ${formatExactBytes(value)}`;
  return `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`;
}
