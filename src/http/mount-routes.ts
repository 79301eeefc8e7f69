// What else a mount tells: its report, its journal and its metrics.

import { Readable } from 'node:stream';
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { VreserveError } from '../core/errors.js';
import { SharedRun } from '../core/shared-run.js';
import type { HttpHost } from './host.js';
import { eventsFrom, readLines } from './journal-lines.js';

/** Followers of the journal at a time: each looks for new lines several times a second. */
const MOST_STREAMS = 64;
const HEARTBEAT_MS = 15_000;

const ANSWER_BYTES = 256 * 1024;
const MOST_ANSWER_BYTES = 4 * 1024 * 1024;

const OFFSET = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };

interface LedgerQuery {
  from?: number;
  limit: number;
  follow?: boolean;
}

const LEDGER_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    from: { ...OFFSET, description: 'An offset in bytes: `next` of an answer, or the id of an event.' },
    limit: { ...OFFSET, minimum: 1, maximum: MOST_ANSWER_BYTES, default: ANSWER_BYTES, description: 'About so many bytes.' },
    follow: { type: 'boolean', description: 'As server-sent events, like `Accept: text/event-stream`.' },
  },
};

const LEDGER_ANSWER = {
  type: 'object',
  properties: { events: { type: 'array', items: { type: 'object' } }, next: { type: 'integer' }, end: { type: 'integer' } },
  required: ['events', 'next', 'end'],
};

/** `signal` ends the streams. */
export function mountRoutes(host: HttpHost, signal: AbortSignal): FastifyPluginCallback {
  let streams = 0;
  // However many ask, the daemon makes one at a time.
  const report = new SharedRun(() => host.report());
  const metrics = new SharedRun(() => host.metrics());
  const follow = async ({ headers, query, raw }: FastifyRequest, reply: FastifyReply) => {
    if (streams >= MOST_STREAMS) throw new VreserveError('TOO_MANY_STREAMS', { most: MOST_STREAMS });
    const from = offsetOf(headers['last-event-id']) ?? (query as LedgerQuery).from;
    streams += 1;
    const gone = new AbortController();
    reply.raw.once('close', () => {
      streams -= 1;
      gone.abort();
    });
    if (raw.destroyed) gone.abort();
    const { endBytes } = await host.journalRange();
    const events = eventsFrom(host, from ?? endBytes, HEARTBEAT_MS, AbortSignal.any([gone.signal, signal]));
    reply.header('content-type', 'text/event-stream').header('cache-control', 'no-store');
    return reply.send(Readable.from(events, { highWaterMark: 1 }));
  };
  return (app, _, done) => {
    app.get(
      '/api/v1.0/report',
      {
        config: { doc: { summary: 'The pool, its lots and what waits: as report.json.', answers: { 200: { type: 'object' } } } },
      },
      async (_request, reply) => reply.type('application/json; charset=utf-8').send(await report.run()),
    );
    app.get(
      '/metrics',
      { config: { doc: { summary: 'For Prometheus.', answers: { 200: 'text/plain' } } } },
      async (_request, reply) => reply.type('text/plain; version=0.0.4; charset=utf-8').send(await metrics.run()),
    );
    app.get<{ Querystring: LedgerQuery }>(
      '/api/v1.0/ledger',
      {
        exposeHeadRoute: false,
        schema: { querystring: LEDGER_QUERY },
        config: {
          doc: {
            summary: 'The journal, oldest first; or new lines as they come, as server-sent events.',
            answers: { 200: LEDGER_ANSWER },
          },
        },
      },
      async (request, reply) => {
        const { from = 0, limit, follow: asStream } = request.query;
        if (asStream === true || /\btext\/event-stream\b/i.test(request.headers.accept ?? '')) return follow(request, reply);
        const { lines, nextBytes, endBytes } = await readLines(host, from, limit);
        const events = lines.map(({ text }) => text).join(',');
        const body = `{"next":${nextBytes},"end":${endBytes},"events":[${events}]}`;
        return reply.type('application/json; charset=utf-8').send(body);
      },
    );
    done();
  };
}

/** An id that is none is passed over, as the standard has it for what cannot be understood. */
function offsetOf(id: string | string[] | undefined): number | undefined {
  const offset = typeof id === 'string' && /^[0-9]{1,16}$/.test(id) ? Number(id) : Number.NaN;
  return Number.isSafeInteger(offset) ? offset : undefined;
}
