// Lots over HTTP: /api/v1.0/lots, as Pelican has it.

import type { FastifyPluginCallback, FastifyReply } from 'fastify';
import { VreserveError } from '../core/errors.js';
import type { LotStatus } from '../core/phase.js';
import { gbOf } from '../lots/wire.js';
import { limitBodies, limitBodyTime, takeJson } from './bodies.js';
import type { HttpHost, LotsAsked, ShownLot } from './host.js';
import { camelJson, LOT, LOT_CHANGE, NEW_LOT, snakeJson } from './lot-wire.js';
import type { RouteDoc } from './openapi.js';

const LOTS = '/api/v1.0/lots';

/** Lots in one answer, where nothing else is asked for, and at most. */
const MANY = 100;
const MOST = 1000;

const STATUS: readonly LotStatus[] = ['pending', 'active', 'expired', 'deleted'];

const YES = { type: 'boolean' };
const TEXT = { type: 'string' };
const NAMED = { type: 'object', properties: { lotName: TEXT }, required: ['lotName'] };
const NAMES = { type: 'array', items: TEXT };

const query = (properties: Record<string, object>, required: readonly string[] = []) => ({
  type: 'object',
  additionalProperties: false,
  properties,
  required,
});
const answers = (content: RouteDoc['answers'], summary: string) => ({ doc: { summary, answers: content } });

interface Named {
  Params: { lotName: string };
}

type Flags = Record<string, boolean | undefined>;

export function lotRoutes(host: HttpHost): FastifyPluginCallback {
  const ask = (name: string, given: { word?: string; json?: unknown; flags?: readonly string[] }) =>
    host.lot({ name, word: given.word ?? null, json: given.json, flags: given.flags ?? [] });
  const show = async (name: string, recursive = false) => shown(await host.showLot(name, recursive));
  const list = async (asked: LotsAsked) => {
    const { lots, next } = await host.listLots(asked);
    return { lots: lots.map(shown), ...(next === null ? {} : { next }) };
  };
  const whichOf = (path: string, recursive: boolean) =>
    ask('which', { word: path, flags: flagged({ recursive }) }) as Promise<string[]>;

  return (app, _, done) => {
    takeJson(app);
    limitBodies(app);
    limitBodyTime(app);

    app.get<{ Querystring: LotsAsked }>(
      LOTS,
      {
        schema: {
          querystring: query({
            status: { ...TEXT, enum: STATUS },
            owner: { ...TEXT, description: "A user's name or uid." },
            limit: { type: 'integer', minimum: 1, maximum: MOST, default: MANY },
            after: { ...TEXT, description: 'The `next` of the answer before.' },
          }),
        },
        config: answers(
          { 200: { type: 'object', properties: { lots: { type: 'array', items: LOT }, next: TEXT }, required: ['lots'] } },
          'Lots: the default lot, then the others by name.',
        ),
      },
      (request) => list(request.query),
    );

    app.post<{ Body: { lotName: string } }>(
      LOTS,
      { schema: { body: NEW_LOT }, config: answers({ 201: LOT }, 'Makes a lot. One whose only parent is itself is a root.') },
      async ({ body }, reply) => {
        await ask('add', { json: snakeJson(body) });
        const name = recordedName(body.lotName);
        return reply
          .code(201)
          .header('location', `${LOTS}/${encodeURIComponent(name)}`)
          .send(await show(name));
      },
    );

    app.get<{ Querystring: { path: string; recursive?: boolean } }>(
      `${LOTS}/by-path`,
      {
        schema: { querystring: query({ path: TEXT, recursive: YES }, ['path']) },
        config: answers(
          { 200: { type: 'object', properties: { path: TEXT, lots: NAMES } } },
          'The lot that owns a path; recursive: and all above it.',
        ),
      },
      async ({ query: { path, recursive } }) => ({ path, lots: await whichOf(path, recursive === true) }),
    );

    app.get<{ Querystring: { path: string; start?: string; end?: string } }>(
      `${LOTS}/by-path/capacity`,
      {
        schema: { querystring: query({ path: TEXT, start: TEXT, end: TEXT }, ['path']) },
        config: answers(
          {
            200: {
              type: 'object',
              properties: {
                path: TEXT,
                lotName: TEXT,
                atMs: { type: 'integer' },
                available: { type: 'object', properties: { totalGB: { type: 'number' }, bytes: { type: 'integer' } } },
              },
            },
          },
          'What the lot that owns a path can still take, now.',
        ),
      },
      async ({ query: { path, start, end } }) => {
        if (start !== undefined || end !== undefined)
          throw notHere('the capacity of a time to come is not known here: leave start and end out');
        const [name = ''] = await whichOf(path, false);
        const room = await host.room(name);
        const bytes = Math.max(0, room.bytes);
        return { path, lotName: name, atMs: room.atMs, available: { totalGB: gbOf(bytes), bytes } };
      },
    );

    app.get<Named & { Querystring: Flags }>(
      `${LOTS}/:lotName`,
      {
        schema: { params: NAMED, querystring: query({ recursive: YES }) },
        config: answers({ 200: LOT }, 'A lot; recursive: with owners, parents and limits of those above, and all below.'),
      },
      ({ params, query: { recursive } }) => show(params.lotName, recursive === true),
    );

    app.patch<Named & { Body: object }>(
      `${LOTS}/:lotName`,
      { schema: { params: NAMED, body: LOT_CHANGE }, config: answers({ 200: LOT }, 'Changes owner, parents, paths or policy.') },
      async ({ params: { lotName }, body }) => {
        await ask('update', { json: { lot_name: lotName, ...(snakeJson(body) as object) } });
        return show(lotName);
      },
    );

    app.delete<Named & { Querystring: Flags }>(
      `${LOTS}/:lotName`,
      {
        schema: { params: NAMED, querystring: query({ recursive: YES, assignToOrphans: YES, assignToNonOrphans: YES }) },
        config: answers({ 204: null }, 'Removes a lot; recursive: and all below it.'),
      },
      async ({ params, query: { recursive, assignToOrphans, assignToNonOrphans } }, reply): Promise<FastifyReply> => {
        const flags = flagged({
          recursive: recursive,
          'assign-to-orphans': assignToOrphans,
          'assign-to-non-orphans': assignToNonOrphans,
        });
        await ask('remove', { word: params.lotName, flags });
        return reply.code(204).send();
      },
    );

    app.post<Named>(
      `${LOTS}/:lotName/reclaim`,
      { schema: { params: NAMED }, config: answers({ 501: null }, 'Not here: see the text of the refusal.') },
      async ({ params }) => {
        await host.showLot(params.lotName, false);
        throw notHere("a single lot is not reclaimed: set its expirationTime and deletionTime, or run 'vreserve reclaim'");
      },
    );

    app.get<Named & { Querystring: Flags }>(
      `${LOTS}/:lotName/children`,
      {
        schema: { params: NAMED, querystring: query({ recursive: YES, self: YES }) },
        config: answers({ 200: { type: 'object', properties: { lotName: TEXT, children: NAMES } } }, 'Names of the lots below.'),
      },
      async ({ params: { lotName }, query: { recursive, self } }) => ({
        lotName,
        children: await ask('children', { word: lotName, flags: flagged({ recursive, self }) }),
      }),
    );

    for (const part of ['usage', 'policy'] as const) {
      app.get<Named & { Querystring: Flags }>(
        `${LOTS}/:lotName/${part}`,
        {
          schema: { params: NAMED, querystring: query({ recursive: YES }) },
          config: answers(
            { 200: { type: 'object' } },
            part === 'usage'
              ? 'What the lot uses; recursive: with all below it.'
              : 'Its policy; recursive: as the lots above restrict it.',
          ),
        },
        async ({ params: { lotName }, query: { recursive } }) => ({
          lotName,
          [part]: camelJson(await ask(part, { word: lotName, flags: flagged({ recursive }) })),
        }),
      );
    }
    done();
  };
}

function shown({ lot_name: lotName, status, ...rest }: ShownLot) {
  return { lotName, status, ...(camelJson(rest) as object) };
}

function flagged(flags: Flags): string[] {
  return Object.entries(flags).flatMap(([name, on]) => (on === true ? [name] : []));
}

/** A name that is a path is recorded without the slash at its end. */
function recordedName(name: string): string {
  return name.startsWith('/') && name.length > 1 ? name.replace(/\/$/, '') : name;
}

function notHere(reason: string): VreserveError {
  return new VreserveError('NOT_SUPPORTED', { reason });
}
