// The fastify instance: its limits, who may ask, and how errors and unknown paths are answered.

import { METHODS } from 'node:http';
import type { Socket } from 'node:net';
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyPluginCallback,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { Log } from '../log.js';
import { checkerOf } from './check.js';
import { mostConnections } from './connections.js';
import { GO_NOT_FOUND } from './go.js';
import { checkAsker, type Guard } from './guard.js';
import { ApiDocument, type RouteDoc } from './openapi.js';
import { answer } from './original-routes.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** No token is asked for. */
    isOpen?: boolean;
    /** Errors have the original's form. */
    isOriginal?: boolean;
    doc?: RouteDoc;
  }
}

const HEADERS_MS = 10_000;
const KEEP_ALIVE_MS = 30_000;
/** Without a byte either way: a client that reads nothing is let go. The ledger's streams say something more often. */
const SILENCE_MS = 60_000;
/** How often Node looks for requests that take too long. */
const LOOK_MS = 2000;
/** The name of a lot has 4095 bytes at most, and each can be three letters of a URL. */
const MOST_PARAMETER = 3 * 4095;

/** Only while it serves is there more than what is open to all. */
export type Stage = 'starting' | 'serving' | 'ending';

export interface AppParts extends Guard {
  log: Log;
  version: string;
  stage: () => Stage;
  plugins: readonly FastifyPluginCallback[];
}

export function buildApp(parts: AppParts): FastifyInstance {
  const app = fastify({
    logger: false,
    routerOptions: { maxParamLength: MOST_PARAMETER },
    connectionTimeout: SILENCE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: true,
    return503OnClosing: false,
    http: { connectionsCheckingInterval: LOOK_MS, headersTimeout: HEADERS_MS },
    clientErrorHandler: refuseBytes,
    frameworkErrors: (error, request, reply) => sendError(error, request, reply, parts.log),
  });
  // A large body may take its time: plugins with small ones say how long.
  app.server.requestTimeout = 0;
  // What comes beyond is closed at once.
  app.server.maxConnections = mostConnections();
  for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true });
  app.removeAllContentTypeParsers();
  app.setValidatorCompiler(({ schema, httpPart }) => checkerOf(schema as Record<string, unknown>, httpPart === 'body'));
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply, parts.log));
  app.setNotFoundHandler((request, reply) => sendNotFound(request, reply));
  app.addHook('onRequest', async (request, reply) => {
    const { isOpen = false, isOriginal = false } = request.routeOptions.config;
    if (!isOriginal) reply.header('x-content-type-options', 'nosniff');
    checkAsker(request, parts, isOpen);
    const stage = parts.stage();
    if (!isOpen && stage !== 'serving') throw new VreserveError(stage === 'starting' ? 'STARTING' : 'ENDING');
  });
  const document = new ApiDocument(parts.version, parts.token !== null);
  app.addHook('onRoute', (route) => document.add(route));
  for (const plugin of parts.plugins) void app.register(plugin);
  void app.register((api, _, done) => {
    api.get('/api/openapi.json', { config: { doc: { summary: 'This document.', answers: { 200: {} } } } }, () => document.json());
    done();
  });
  return app;
}

function sendError(thrown: FastifyError | unknown, request: FastifyRequest, reply: FastifyReply, log: Log): FastifyReply {
  const error = asOurs(thrown);
  if (error.code === 'INTERNAL')
    log.error({ err: thrown, method: request.method, url: request.url }, 'a request over HTTP failed');
  if (error.code === 'NO_TOKEN') reply.header('www-authenticate', 'Bearer realm="vreserve"');
  if (request.routeOptions?.config?.isOriginal === true) return answer(reply, error.httpStatus, error.message);
  const { code, errno, message } = error;
  return reply.code(error.httpStatus).send({ code, errno, message: message.trimEnd() });
}

/** What fastify refused by itself gets a code of ours. */
export function asOurs(thrown: unknown): VreserveError {
  if (!(thrown instanceof Error) || thrown instanceof VreserveError) return asVreserveError(thrown);
  const { statusCode = 500, message, validation } = thrown as FastifyError;
  if (validation !== undefined) return new VreserveError('BAD_REQUEST', { reason: message }, { cause: thrown });
  if (statusCode === 413) return new VreserveError('BODY_TOO_LARGE', {}, { cause: thrown });
  if (statusCode >= 400 && statusCode < 500) return new VreserveError('BAD_REQUEST', { reason: message }, { cause: thrown });
  return asVreserveError(thrown);
}

/** What is no request, or arrives too slowly. */
function refuseBytes(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const isSlow = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const status = isSlow
    ? '408 Request Timeout'
    : error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : '400 Bad Request';
  const { code, errno, message } = isSlow
    ? new VreserveError('TOO_SLOW')
    : new VreserveError('BAD_REQUEST', { reason: error.message });
  const body = JSON.stringify({ code, errno, message });
  const head = `content-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
  // Nothing is said into the middle of an answer.
  const { _httpMessage: answering } = socket as { _httpMessage?: { headersSent: boolean } | null };
  if (socket.writable && answering?.headersSent !== true) socket.write(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`);
  socket.destroySoon();
}

/** As the original, but for what is ours. */
function sendNotFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { method, url } = request;
  const [path = ''] = url.split('?');
  if (/^\/(api|metrics|store)(\/|$)/.test(path)) {
    const { code, errno, message } = new VreserveError('NO_SUCH_ROUTE', { method, path: path.slice(0, 200) });
    return reply.code(404).send({ code, errno, message });
  }
  return reply.code(404).type('text/plain; charset=utf-8').send(GO_NOT_FOUND);
}
