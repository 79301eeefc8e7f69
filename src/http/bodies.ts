// Limits of what a request may bring, and how long it may take to.

import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { VreserveError } from '../core/errors.js';

/** Of forms and JSON. */
export const MOST_BODY_BYTES = 1024 * 1024;

/** Of all those that are there at one time. */
const MOST_BODIES_BYTES = 256 * 1024 * 1024;

/** How long a body of forms or JSON may take to arrive. */
const BODY_MS = 30_000;

/** What the body of a request can take up: 0 where it has none. */
function bodyBytes({ headers }: IncomingMessage): number {
  if (headers['transfer-encoding'] !== undefined) return MOST_BODY_BYTES;
  return Math.min(Number(headers['content-length'] ?? 0), MOST_BODY_BYTES);
}

/** Answers 503 where the bodies of all requests that are under way would take up more. For plugins whose bodies are small. */
export function limitBodies(app: FastifyInstance, mostBytes = MOST_BODIES_BYTES): void {
  let heldBytes = 0;
  app.addHook('onRequest', (request, reply, done) => {
    const bytes = bodyBytes(request.raw);
    if (bytes > 0 && heldBytes + bytes > mostBytes) return done(new VreserveError('TOO_BUSY'));
    heldBytes += bytes;
    reply.raw.once('close', () => {
      heldBytes -= bytes;
    });
    done();
  });
}

/** Answers 408 where a body takes too long. For plugins whose bodies are small. */
export function limitBodyTime(app: FastifyInstance, bodyMs = BODY_MS): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { raw } = request;
    if (!raw.complete && bodyBytes(raw) > 0) {
      const timer = setTimeout(() => {
        if (reply.sent || raw.complete) return;
        reply.header('connection', 'close').send(new VreserveError('TOO_SLOW'));
      }, bodyMs).unref();
      const stop = () => clearTimeout(timer);
      raw.once('end', stop).once('close', stop);
    }
    done();
  });
}

const strict = new TextDecoder('utf-8', { fatal: true });

/** JSON of UTF-8 only, whatever it is called. */
export function takeJson(app: FastifyInstance): void {
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: MOST_BODY_BYTES }, (_, body, done) => {
    try {
      done(null, body.length === 0 ? undefined : JSON.parse(strict.decode(body as Buffer)));
    } catch (error) {
      const reason = `the body is no JSON: ${error instanceof Error ? error.message : String(error)}`;
      done(new VreserveError('BAD_REQUEST', { reason }, { cause: error }));
    }
  });
}
