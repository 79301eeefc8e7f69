// Talks to a live mount: one command written to `.vreserve/control`, its reply read from the same descriptor.
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { asVreserveError, ERRORS, type ErrorCode, type ErrorDetails, errnoOf, VreserveError } from '../core/errors.js';

/** How often replies that come before the last one are looked for. */
const POLL_MS = 200;

/**
 * Sends `request` to the mount at `mountpoint` and returns the reply, of which `ok` is true; what comes before it goes to
 * `onProgress`. Throws what the daemon refused, and SYSTEM with ETIMEDOUT after `timeoutMs` (then it may still be done).
 */
export async function sendControl<T>(
  mountpoint: string,
  request: Record<string, unknown>,
  onProgress?: (reply: Record<string, unknown>) => void,
  timeoutMs?: number,
): Promise<T> {
  const sent = send<T>(mountpoint, request, onProgress);
  if (timeoutMs === undefined) return sent;
  const over = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: over.signal, ref: true }).then(() => {
    const reason = `'${mountpoint}' gave no answer within ${timeoutMs} ms`;
    throw new VreserveError('SYSTEM', { reason, errno: 'ETIMEDOUT' });
  });
  try {
    return await Promise.race([sent, late]);
  } finally {
    over.abort();
    late.catch(() => {});
    sent.catch(() => {});
  }
}

async function send<T>(
  mountpoint: string,
  request: Record<string, unknown>,
  onProgress?: (reply: Record<string, unknown>) => void,
): Promise<T> {
  const handle = await open(join(mountpoint, '.vreserve', 'control'), 'r+').catch((error: unknown) => {
    throw noControl(error, mountpoint);
  });
  try {
    let refusal: unknown = null;
    const replies: Record<string, unknown>[] = [];
    const write = handle.write(`${JSON.stringify(request)}\n`, null).catch((error: unknown) => {
      refusal = error;
    });
    for (let written = onProgress === undefined; !written; ) {
      written = await Promise.race([write.then(() => true), sleep(POLL_MS, false)]);
      replies.push(...(await readReplies(handle)));
      // The last reply, which alone has `ok`, may have come just after the wait for it.
      for (const reply of replies.splice(0, replies.findLastIndex(({ ok }) => ok === undefined) + 1)) onProgress?.(reply);
    }
    await write;
    replies.push(...(await readReplies(handle)));
    const reply = replies.at(-1);
    if (reply?.ok === true) return reply as T;
    if (reply !== undefined) throw errorOf(reply);
    if (refusal !== null) throw asVreserveError(refusal);
    throw new VreserveError('DAEMON_FAILED', { reason: 'it gave no reply' });
  } finally {
    await handle.close().catch(() => {});
  }
}

/** What is there to be read; reading takes it away, wherever in the file it is done. */
async function readReplies(handle: FileHandle): Promise<Record<string, unknown>[]> {
  const parts: Buffer[] = [];
  const buffer = Buffer.alloc(65_536);
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    if (bytesRead === 0) break;
    parts.push(Buffer.from(buffer.subarray(0, bytesRead)));
  }
  const lines = Buffer.concat(parts).toString().split('\n').filter(Boolean);
  try {
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  } catch (error) {
    throw new VreserveError('DAEMON_FAILED', { reason: 'its reply is not understood' }, { cause: error });
  }
}

/** The daemon's refusal as the error that it was there, in the daemon's words. */
function errorOf(reply: Record<string, unknown>): VreserveError {
  const details: ErrorDetails = {};
  for (const [name, value] of Object.entries(reply)) {
    if (name !== 'code' && name !== 'message' && (typeof value === 'string' || typeof value === 'number')) details[name] = value;
  }
  const known = typeof reply.code === 'string' && Object.hasOwn(ERRORS, reply.code);
  const error = new VreserveError(known ? (reply.code as ErrorCode) : 'SYSTEM', details);
  if (typeof reply.message === 'string') error.message = reply.message;
  return error;
}

function noControl(error: unknown, mountpoint: string): VreserveError {
  const errno = errnoOf(error) ?? 'EIO';
  const reason =
    errno === 'ENOTCONN'
      ? `the daemon of '${mountpoint}' is gone; vreserve mount recovers the mount`
      : errno === 'ENOENT'
        ? `'${mountpoint}' shows no .vreserve/control: it is a part of a mount that is no lot's own directory`
        : `'${mountpoint}/.vreserve/control' cannot be opened: ${errno}`;
  return new VreserveError('SYSTEM', { reason, errno }, { cause: error });
}
