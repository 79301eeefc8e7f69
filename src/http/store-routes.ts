// The store over HTTP: go-storage-server's routes, with ranges, conditions, HEAD and a listing besides.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { type Blob, etagOf } from '../store/blob.js';
import type { Store } from '../store/store.js';
import type { Upload } from '../store/upload.js';
import { type Answer, failure, HEALTHY, movedTo, NO_BLOB, NO_PAGE, refusal } from './store-answers.js';
import { announcedBody, bodyOf, drain } from './store-body.js';
import { expectationOf, isNotModified, lastModified, rangeOf } from './store-conditions.js';
import { listingJson, listOptions } from './store-listing.js';
import { isBelowStore, parseTarget } from './store-path.js';

export interface StoreRoutesOptions {
  /** May throw, which is what is answered then. */
  store: () => Store;
  /** What `?lot=` may call the store's own lot. */
  ownLot?: string;
  /** Other lots, where there are any: they are called by their names here, and as the store keeps them there. */
  lots?: LotNames;
  /** A body of which nothing comes for so long has broken off. */
  bodyIdleMs?: number;
}

/** Lots as they are called, and as the store keeps them. */
export interface LotNames {
  /** Throws NO_SUCH_LOT. */
  kept(name: string): Promise<string>;
  /** Names by what is kept; one that is gone is not among them. */
  named(kept: readonly string[]): Promise<ReadonlyMap<string, string>>;
}

const AS_THEY_ARE: LotNames = {
  kept: async (name) => name,
  named: async (kept) => new Map(kept.map((lot) => [lot, lot])),
};

/** A client that is refused may go on sending for so long. */
const DRAIN_MS = 2000;

/** Less than the silence after which the service ends a connection: the client is to be told why. */
const BODY_IDLE_MS = 55_000;

/** So much of a body is not worth a connection. */
const SMALL_BODY_BYTES = 64 * 1024;

/** This is what curl says of what nobody told it the type of. */
const NO_CHOICE = /^application\/x-www-form-urlencoded\s*(;|$)/i;

const MOST_TYPE_LETTERS = 255;

/** Whoever looks after the service need not have its token. */
const OPEN = { config: { isOpen: true } };

/**
 * Registers `/store/…` and `/healthz`. Bodies are read by nobody else, whatever type and length they have, and `Expect:
 * 100-continue` is answered when the store wants the body. The server must have no limit for how long a request may take.
 */
export function storeRoutes(options: StoreRoutesOptions): FastifyPluginCallback {
  const routes = new StoreRoutes(options);
  return (app, _, done) => {
    app.server.on('checkContinue', (request, response) => {
      if (isBelowStore(request.url ?? '')) routes.holdBack(request, response);
      else response.writeContinue();
      app.server.emit('request', request, response);
    });
    void app.register((page, _options, ready) => {
      page.addHook('onRequest', takenOver(health));
      for (const path of ['/healthz', '/healthz/']) page.all(path, OPEN, unreachable);
      ready();
    });
    void app.register(
      (below, _options, ready) => {
        below.addHook(
          'onRequest',
          takenOver((request, response) => routes.serve(request, response)),
        );
        below.all('/*', unreachable);
        // Methods that the router does not know.
        below.setNotFoundHandler(unreachable);
        ready();
      },
      { prefix: '/store' },
    );
    done();
  };
}

type Serve = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Answers by itself, before anything of the body is looked at. */
function takenOver(serve: Serve): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  return async (request, reply) => {
    reply.hijack();
    await serve(request.raw, reply.raw);
  };
}

function unreachable(): never {
  throw new VreserveError('INTERNAL', { reason: 'the request was not answered' });
}

async function health(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, search } = new URL(request.url ?? '', 'http://host');
  const answer = request.method !== 'GET' ? NO_PAGE : pathname === '/healthz' ? HEALTHY : movedTo(`/healthz${search}`, true);
  await respond(request, response, answer);
}

class StoreRoutes {
  readonly #open: () => Store;
  readonly #ownLot: string;
  readonly #lots: LotNames;
  readonly #bodyIdleMs: number;
  /** Requests whose clients wait for a word before they send the body. */
  readonly #heldBack = new WeakSet<IncomingMessage>();

  constructor({ store, ownLot = 'store', lots = AS_THEY_ARE, bodyIdleMs = BODY_IDLE_MS }: StoreRoutesOptions) {
    this.#open = store;
    this.#ownLot = ownLot;
    this.#lots = lots;
    this.#bodyIdleMs = bodyIdleMs;
  }

  get #store(): Store {
    return this.#open();
  }

  holdBack(request: IncomingMessage, response: ServerResponse): void {
    this.#heldBack.add(request);
    // Whoever answers without having asked for the body: what comes next may be it, or another request.
    response.shouldKeepAlive = false;
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.#answer(request, response).catch(failure);
    if (answer !== null) await respond(request, response, answer, this.#heldBack.has(request));
  }

  /** null: it is answered already. */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<Answer | null> {
    const { target, query } = parseTarget(request.url ?? '');
    const method = request.method ?? '';
    const isRead = method === 'GET' || method === 'HEAD';
    if (target.kind === 'list' && isRead) return this.#list(query);
    if (target.kind === 'none' || target.kind === 'list' || !(isRead || /^(POST|PUT|DELETE)$/.test(method))) return NO_PAGE;
    if (target.kind === 'redirect') return movedTo(target.location, isRead);
    if (target.kind === 'unreadable') return refusal(400, target.reason);
    if (method === 'GET') return this.#get(target.name, request, response);
    if (method === 'HEAD') return this.#head(target.name, request);
    if (method === 'DELETE') return this.#delete(target.name, request);
    return this.#take(target.name, request, response, query);
  }

  async #list(query: URLSearchParams): Promise<Answer> {
    const listed = this.#store.list(listOptions(query));
    const lots = await this.#lots.named([...new Set(listed.entries.flatMap(({ blob }) => blob?.lot || []))]);
    const body = listingJson(listed, new Map([...lots, ['', this.#ownLot]]));
    return { status: 200, headers: { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-cache' }, body };
  }

  async #get(name: string, request: IncomingMessage, response: ServerResponse): Promise<Answer | null> {
    const open = await this.#store.read(name);
    if (open === null) return NO_BLOB;
    const { blob } = open;
    try {
      if (isNotModified(request.headers, blob)) return { status: 304, headers: headersOf(blob), body: '' };
      const range = rangeOf(request.headers, blob);
      if (range === 'unsatisfiable') {
        const { headers, ...rest } = refusal(416);
        return { ...rest, headers: { ...headers, 'content-range': `bytes */${blob.sizeBytes}` } };
      }
      const { start, end } = range ?? { start: 0, end: blob.sizeBytes };
      const part = range === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${blob.sizeBytes}` };
      const status = range === null ? 200 : 206;
      response.writeHead(status, { ...headersOf(blob), ...contentHeaders(blob), ...part, 'content-length': end - start });
      // Where it fails, the connection is closed with bytes missing: the client sees that it is not whole.
      await send(open.bytes({ start, end }, { reuses: true }), request, response);
      return null;
    } finally {
      await open.close();
    }
  }

  #head(name: string, request: IncomingMessage): Answer {
    const blob = this.#store.stat(name);
    if (blob === null) return NO_BLOB;
    if (isNotModified(request.headers, blob)) return { status: 304, headers: headersOf(blob), body: '' };
    return { status: 200, headers: { ...headersOf(blob), ...contentHeaders(blob), 'content-length': blob.sizeBytes }, body: '' };
  }

  async #delete(name: string, request: IncomingMessage): Promise<Answer> {
    const isDone = await this.#store.remove(name, expectationOf(request.headers));
    return isDone ? { status: 200, headers: {}, body: '' } : NO_BLOB;
  }

  async #take(name: string, request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<Answer | null> {
    if (request.headers['content-range'] !== undefined) return refusal(400, 'a part of a blob cannot be stored: Content-Range');
    const isNew = request.method === 'POST';
    const lot = query.get('lot');
    const upload = await this.#store.begin(name, isNew ? 'create' : query.get('create') === 'true' ? 'replace' : 'update', {
      contentType: typeOf(request),
      announcedBytes: this.#asksForRoom(request),
      expect: expectationOf(request.headers),
      ...(lot === null ? {} : { lot: lot === this.#ownLot ? '' : await this.#lots.kept(lot) }),
    });
    if (this.#heldBack.delete(request)) {
      response.shouldKeepAlive = true;
      response.writeContinue();
    }
    const blob = await this.#pour(upload, request);
    if (blob === null) {
      response.destroy();
      return null;
    }
    return { status: isNew ? 204 : 200, headers: { etag: etagOf(blob) }, body: '' };
  }

  /** A small body that comes anyhow is told by its first write that there is no room, without a question to the disk before. */
  #asksForRoom(request: IncomingMessage): number | null {
    const { bytes } = announcedBody(request);
    return bytes !== null && bytes <= SMALL_BODY_BYTES && !this.#heldBack.has(request) ? null : bytes;
  }

  /** null: the client is gone. */
  async #pour(upload: Upload, request: IncomingMessage): Promise<Blob | null> {
    try {
      return await upload.pour(bodyOf(request, this.#bodyIdleMs));
    } catch (error) {
      if (asVreserveError(error).code === 'STORE_BROKEN_OFF') return null;
      throw error;
    }
  }
}

function headersOf(blob: Blob): Record<string, string> {
  return { etag: etagOf(blob), 'last-modified': lastModified(blob), 'accept-ranges': 'bytes' };
}

function contentHeaders(blob: Blob): Record<string, string> {
  return { 'content-type': blob.contentType };
}

/**
 * Each piece only when the one before has gone out: they lie in one place, since a third of the time would go into collecting places.
 * Where it fails, the connection is closed with bytes missing: the client sees that it is not whole.
 */
async function send(pieces: AsyncIterable<Uint8Array>, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const isGone = () => response.destroyed || request.socket.destroyed;
  let goOn = () => {};
  const onClose = () => isGone() && goOn();
  // Behind another answer on its connection the response is told nothing when the client goes: the request is.
  request.on('close', onClose);
  response.on('close', onClose).on('error', () => {});
  try {
    for await (const piece of pieces) {
      await new Promise<void>((resolve) => {
        goOn = resolve;
        response.write(piece, () => resolve());
        onClose();
      });
      if (isGone()) return;
    }
    response.end();
  } catch {
    response.destroy();
  } finally {
    request.off('close', onClose);
    response.off('close', onClose);
  }
}

/** null: nobody has chosen one. */
function typeOf(request: IncomingMessage): string | null {
  const type = request.headers['content-type'];
  return type === undefined || type === '' || type.length > MOST_TYPE_LETTERS || NO_CHOICE.test(type) ? null : type;
}

/** Answers, and sees to what still comes of the body: a client that reads nothing before it has sent all must not wait for ever. */
async function respond(request: IncomingMessage, response: ServerResponse, answer: Answer, isHeldBack = false): Promise<void> {
  if (response.headersSent || response.destroyed) return;
  const { isThere, bytes } = announcedBody(request);
  const isComing = isThere && !request.complete;
  const isLeft = isComing && (isHeldBack || bytes === null || bytes > SMALL_BODY_BYTES || answer.status === 408);
  const length =
    answer.status === 204 || answer.status === 304 || 'content-length' in answer.headers
      ? {}
      : { 'content-length': Buffer.byteLength(answer.body) };
  const closing = isLeft ? { connection: 'close' } : {};
  response.writeHead(answer.status, { ...answer.headers, ...length, ...closing });
  const body = request.method === 'HEAD' ? '' : answer.body;
  response.on('error', () => {});
  if (!isLeft || isHeldBack || answer.status === 408) {
    response.end(body);
    // The rest of a small one, or the connection would stand still before the next request.
    if (!isLeft) request.resume();
    return;
  }
  response.flushHeaders();
  if (body !== '') response.write(body);
  await drain(request, DRAIN_MS);
  response.end();
}
