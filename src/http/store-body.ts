// The body of a request as the store takes it: in pieces, at the reader's speed, until it ends, breaks off or stands still.

import type { IncomingMessage } from 'node:http';
import { VreserveError } from '../core/errors.js';

/** Whether the request has a body, of which nobody knows yet how long it is where `bytes` is null. */
export function announcedBody(request: IncomingMessage): { isThere: boolean; bytes: number | null } {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  if (encoding !== undefined) return { isThere: true, bytes: null };
  const bytes = Number(length ?? 0);
  return { isThere: bytes > 0, bytes };
}

/** Throws where the client is gone before the end (with why), or sends nothing for so long (STORE_IDLE). */
export async function* bodyOf(request: IncomingMessage, idleMs: number): AsyncGenerator<Uint8Array> {
  for (;;) {
    const piece = request.read() as Uint8Array | null;
    if (piece !== null) {
      yield piece;
      continue;
    }
    if (request.readableEnded) return;
    await more(request, idleMs);
  }
}

/** Resolves when there is something to read, or the end. */
function more(request: IncomingMessage, idleMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => done(new VreserveError('STORE_IDLE', { seconds: idleMs / 1000 })), idleMs);
    const onMore = () => done(null);
    const onError = (error: Error) => done(error);
    const onClose = () => done(request.readableEnded ? null : new Error('the client is gone'));
    const done = (error: Error | null) => {
      clearTimeout(timer);
      request.off('readable', onMore).off('end', onMore).off('error', onError).off('close', onClose);
      if (error === null) resolve();
      else reject(error);
    };
    request.on('readable', onMore).on('end', onMore).on('error', onError).on('close', onClose);
    if (request.destroyed) onClose();
  });
}

/** Throws away what still comes of a body, so that the client reads the answer before the connection is closed; not for long. */
export function drain(request: IncomingMessage, forMs: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, forMs);
    request.on('error', done).on('end', done).on('close', done);
    request.resume();
    if (request.readableEnded || request.destroyed) done();
  });
}
