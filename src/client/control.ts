// Talks to a live mount: one command written to `.vreserve/control`, its reply read from the same descriptor.
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { badAnswer, refusalIn } from './answers.js';
import { type CallOptions, Stop } from './stop.js';

/** How often replies that come before the last one are looked for. */
const POLL_MS = 200;

/** What a write is refused with when the daemon goes away meanwhile. */
const GONE = ['ENOTCONN', 'ECONNABORTED', 'ENODEV'];

export interface ControlOptions extends CallOptions {
  /** Gets the replies that come before the last one. */
  onProgress?: (reply: Record<string, unknown>) => void;
}

/**
 * Sends `request` to the mount at `mountpoint` and returns the reply, of which `ok` is true. Throws what the daemon refused,
 * UNREACHABLE, BROKEN_OFF, and what `CallOptions` have. Without `timeoutMs` it waits for ever. A thread of Node's pool is busy as long
 * as the daemon is, also when nobody waits for it any more.
 */
export async function sendControl<T>(mountpoint: string, request: object, options: ControlOptions = {}): Promise<T> {
  const { onProgress, signal, timeoutMs = Number.POSITIVE_INFINITY } = options;
  const stop = new Stop(`'${mountpoint}'`, timeoutMs, [signal]);
  try {
    stop.check();
    return await stop.wait(send<T>(mountpoint, request, onProgress));
  } finally {
    stop.end();
  }
}

async function send<T>(mountpoint: string, request: object, onProgress: ControlOptions['onProgress']): Promise<T> {
  const handle = await open(join(mountpoint, '.vreserve', 'control'), 'r+').catch((error: unknown) => {
    throw noMount(error, mountpoint, 'control');
  });
  try {
    let refusal: unknown = null;
    const replies: Record<string, unknown>[] = [];
    const write = handle.write(`${JSON.stringify(request)}\n`, null).catch((error: unknown) => {
      refusal = error;
    });
    for (let written = onProgress === undefined; !written; ) {
      written = await Promise.race([write.then(() => true), sleep(POLL_MS, false)]);
      replies.push(...(await readReplies(handle, mountpoint)));
      // The last reply, which alone has `ok`, may have come just after the wait for it.
      for (const reply of replies.splice(0, replies.findLastIndex(({ ok }) => ok === undefined) + 1)) onProgress?.(reply);
    }
    await write;
    replies.push(...(await readReplies(handle, mountpoint)));
    const reply = replies.at(-1);
    if (reply?.ok === true) return reply as T;
    if (reply !== undefined) throw refusalIn(reply);
    if (refusal !== null) throw isGone(refusal) ? brokenOff(refusal, mountpoint) : asVreserveError(refusal);
    throw badAnswer(`'${mountpoint}'`, 'it gave no reply');
  } finally {
    await handle.close().catch(() => {});
  }
}

/** What is there to be read; reading takes it away, wherever in the file it is done. */
async function readReplies(handle: FileHandle, mountpoint: string): Promise<Record<string, unknown>[]> {
  const parts: Buffer[] = [];
  const buffer = Buffer.alloc(65_536);
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0).catch((error: unknown) => {
      throw isGone(error) ? brokenOff(error, mountpoint) : error;
    });
    if (bytesRead === 0) break;
    parts.push(Buffer.from(buffer.subarray(0, bytesRead)));
  }
  const lines = Buffer.concat(parts).toString().split('\n').filter(Boolean);
  try {
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  } catch (error) {
    throw badAnswer(`'${mountpoint}'`, 'its reply is no JSON', error);
  }
}

export function isGone(error: unknown): boolean {
  return GONE.includes(errnoOf(error) ?? '');
}

export function brokenOff(error: unknown, mountpoint: string): VreserveError {
  return new VreserveError('BROKEN_OFF', { where: `'${mountpoint}'`, errno: errnoOf(error) ?? 'EIO' }, { cause: error });
}

/** UNREACHABLE with why `.vreserve/NAME` of a mount cannot be opened. */
export function noMount(error: unknown, mountpoint: string, name: string): VreserveError {
  const errno = errnoOf(error) ?? 'EIO';
  const reason =
    errno === 'ENOTCONN'
      ? 'its daemon is gone; vreserve mount recovers the mount'
      : errno === 'ENOENT'
        ? `it shows no .vreserve/${name}: it is no mount, or a part of one that is no lot's own directory`
        : `.vreserve/${name} cannot be opened: ${errno}`;
  return new VreserveError('UNREACHABLE', { where: `'${mountpoint}'`, reason, errno }, { cause: error });
}
