// The original vreserve API: /ping/, /reserve/, /release/ and /report/, to the byte.

import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { compareBytes } from '../core/bytes.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { limitBodies, limitBodyTime, MOST_BODY_BYTES } from './bodies.js';
import { Form, type Parameter } from './form.js';
import { goRedirectBody, goString, parseUint } from './go.js';
import type { Teller, Volumes } from './host.js';

const URLENCODED = /^application\/x-www-form-urlencoded\s*(;|$)/i;
const MULTIPART = /^multipart\/form-data\s*;/i;

/** Methods whose urlencoded body counts. */
const WITH_FORM = new Set(['POST', 'PUT', 'PATCH']);

const SHAPE = {
  type: 'object',
  additionalProperties: false,
  required: ['Succeeded', 'ErrorMessage', 'Data'],
  properties: {
    Succeeded: { type: 'boolean' },
    ErrorMessage: { type: 'string' },
    Data: { type: ['object', 'null'], additionalProperties: { type: 'integer' } },
  },
};

const PATH = { name: 'path', description: 'A path in the mount, or of the host below the mountpoint.' };
const BYTES = { name: 'bytes', description: 'Bytes, an integer greater than zero.' };

interface Call {
  summary: string;
  parameters: readonly { name: string; description: string }[];
  run(request: FastifyRequest, reply: FastifyReply): unknown;
}

/** Answers in the original's form. */
export function answer(reply: FastifyReply, status: number, error: string, data = 'null'): FastifyReply {
  const body = `{"Succeeded":${error === ''},"ErrorMessage":${goString(error)},"Data":${data}}`;
  return reply.code(status).header('content-type', 'application/json; charset=utf-8').send(body);
}

/** `open`: /ping/ is asked without a token. */
export function originalRoutes(volumes: Volumes, tell: Teller): FastifyPluginCallback {
  const calls: Record<string, Call> = {
    ping: { summary: 'Whether the service is there.', parameters: [], run: (_, reply) => answer(reply, 200, '') },
    reserve: {
      summary: 'Reserves bytes for a path, or sets those of its reservation anew.',
      parameters: [PATH, BYTES],
      run: (request, reply) => reserve(request, reply, volumes, tell),
    },
    release: {
      summary: 'Gives a reservation back; none is no error.',
      parameters: [PATH],
      run: (request, reply) => release(request, reply, volumes, tell),
    },
    report: {
      summary: 'All reservations of the volume that the path is on.',
      parameters: [PATH],
      run: (request, reply) => report(request, reply, volumes, tell),
    },
  };
  return (app, _, done) => {
    takeForms(app);
    limitBodies(app);
    limitBodyTime(app);
    const method = app.supportedMethods.filter((each) => each !== 'CONNECT');
    for (const [name, { summary, parameters, run }] of Object.entries(calls)) {
      const doc = { url: `/${name}/`, methods: ['get', 'post'], summary, answers: { 200: SHAPE }, parameters };
      app.route({ method, url: `/${name}/*`, config: { isOpen: name === 'ping', isOriginal: true, doc }, handler: run });
      app.route({ method, url: `/${name}`, config: { isOpen: name === 'ping', isOriginal: true }, handler: redirect });
    }
    done();
  };
}

/** Bodies that are no form are not looked at, whatever they are. */
function takeForms(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _, done) => {
    const type = request.headers['content-type'];
    if (type !== undefined && !URLENCODED.test(type) && !MULTIPART.test(type)) {
      request.raw.headers['content-type'] = 'application/octet-stream';
    }
    done();
  });
  for (const type of ['application/x-www-form-urlencoded', 'multipart/form-data']) {
    app.addContentTypeParser(type, { parseAs: 'buffer', bodyLimit: MOST_BODY_BYTES }, (_, body, done) => done(null, body));
  }
  app.addContentTypeParser('*', (_, __, done) => done(null));
}

function redirect({ method, raw }: FastifyRequest, reply: FastifyReply): FastifyReply {
  const url = raw.url ?? '/';
  const end = url.search(/[?#]|$/);
  const to = `${url.slice(0, end)}/${url.slice(end)}`;
  reply.code(301).header('location', to);
  if (method !== 'GET' && method !== 'HEAD') return reply.send();
  return reply.header('content-type', 'text/html; charset=utf-8').send(goRedirectBody(to));
}

async function reserve(request: FastifyRequest, reply: FastifyReply, volumes: Volumes, tell: Teller): Promise<FastifyReply> {
  const form = await formOf(request);
  const path = form.value('path');
  if (path.text === '') return answer(reply, 400, "Param 'path' is required.");
  const bytes = parseUint(form.value('bytes').text);
  if (bytes === null || bytes === 0n) return answer(reply, 400, "Param 'bytes' must be an integer greater than zero.");
  try {
    await volumes.reserve(must(path), bytes);
  } catch (error) {
    const text = `Could not reserve ${bytes} bytes for file '${path.text}': ${reasonOf(error, bytes)}`;
    tell.failed(peerOf(request), text);
    return answer(reply, 500, text);
  }
  tell.done(peerOf(request), `Reserved ${bytes} bytes for ${path.text}`);
  return answer(reply, 200, '');
}

async function release(request: FastifyRequest, reply: FastifyReply, volumes: Volumes, tell: Teller): Promise<FastifyReply> {
  const path = (await formOf(request)).value('path');
  if (path.text === '') return answer(reply, 400, "Param 'path' is required.");
  try {
    // What cannot be reserved is not reserved.
    if (path.isText) await volumes.release(path.text);
  } catch (error) {
    const text = `Could not release '${path.text}': ${asVreserveError(error).message}`;
    tell.failed(peerOf(request), text);
    return answer(reply, 500, text);
  }
  tell.done(peerOf(request), `Released ${path.text}`);
  return answer(reply, 200, '');
}

async function report(request: FastifyRequest, reply: FastifyReply, volumes: Volumes, tell: Teller): Promise<FastifyReply> {
  const path = (await formOf(request)).value('path');
  if (path.text === '') return answer(reply, 400, "Param 'path' is required.");
  const found = await volumes.report(path.text);
  const rows = [...found].sort(([a], [b]) => compareBytes(a, b)).map(([key, bytes]) => `${goString(key)}:${bytes}`);
  tell.done(peerOf(request), `Reservations ${path.text} (${rows.length})`);
  return answer(reply, 200, '', `{${rows.join(',')}}`);
}

async function formOf(request: FastifyRequest): Promise<Form> {
  const form = new Form();
  const { body, method, raw } = request;
  const type = request.headers['content-type'] ?? '';
  if (Buffer.isBuffer(body) && URLENCODED.test(type) && WITH_FORM.has(method)) form.addEncoded(body.toString('latin1'));
  const [, query = ''] = /\?([^#]*)/.exec(raw.url ?? '') ?? [];
  form.addEncoded(query);
  if (Buffer.isBuffer(body) && MULTIPART.test(type)) await form.addMultipart(type, body);
  return form;
}

function must({ text, isText }: Parameter): string {
  if (isText) return text;
  throw new VreserveError('BAD_PATH', { path: text.slice(0, 100), reason: 'it is not valid UTF-8' });
}

/** In the words of the original, where it has some. */
function reasonOf(thrown: unknown, bytes: bigint): string {
  const error = asVreserveError(thrown);
  if (error.code === 'NO_SPACE') {
    return `requested ${bytes} bytes on volume, but only ${error.details.availableBytes} are available`;
  }
  return error.code === 'SYSTEM' && error.errno === 'ENOENT' ? 'no such file or directory' : error.message;
}

/** As Go prints an address; nobody has one on a Unix socket. */
function peerOf({ raw: { socket } }: FastifyRequest): string {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined) return '@';
  return `${remoteAddress.includes(':') ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}
