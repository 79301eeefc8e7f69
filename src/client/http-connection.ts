// Requests over HTTP, on connections that are kept: to TCP, TLS, or a Unix socket.

import { Agent, type ClientRequest, type IncomingMessage, request as plainRequest } from 'node:http';
import { Agent as SecureAgent, request as secureRequest } from 'node:https';
import type { Socket } from 'node:net';
import { errnoOf, VreserveError } from '../core/errors.js';
import { badAnswer, type HttpAnswer } from './answers.js';
import type { BlobBody } from './blob-body.js';
import type { Stop } from './stop.js';
import type { Target } from './target.js';

/** Less than what the service takes connections for: what comes beyond waits for a free one. */
const MOST_CONNECTIONS = 128;

/** Shorter than servers keep a connection that nobody uses: none is taken that is being closed. */
const IDLE_MS = 4000;

/**
 * How long it is waited for the word that a body is wanted. Who does not know of that gives none; but who only is slow, and refuses
 * it, may close the connection on what was sent unasked, and its refusal with it.
 */
const CONTINUE_MS = 5000;

/** What is held of an answer that is taken whole. */
const MOST_ANSWER_BYTES = 512 * 1024 * 1024;

export interface HttpRequest {
  method: string;
  path: string;
  headers?: Record<string, string | number>;
  body?: string | BlobBody;
}

/** What is thrown within when an answer comes before the body is sent. */
const ANSWERED = Symbol('answered');

export class HttpConnection {
  readonly where: string;
  readonly #target: Target & { kind: 'http' };
  readonly #headers: Record<string, string>;
  readonly #agent: Agent;
  /** Those that have been connected, for requests to come. */
  readonly #connected = new WeakSet<Socket>();

  constructor(target: Target & { kind: 'http' }, token: string | null) {
    this.where = target.where;
    this.#target = target;
    this.#headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const options = { keepAlive: true, maxSockets: MOST_CONNECTIONS, timeout: IDLE_MS };
    this.#agent = target.isSecure ? new SecureAgent(options) : new Agent(options);
  }

  /** An answer as a whole. Throws UNREACHABLE, BROKEN_OFF, NO_ANSWER, BAD_ANSWER, and the reason of a signal. */
  async ask(request: HttpRequest, stop: Stop): Promise<HttpAnswer> {
    const message = await this.open(request, stop);
    return await this.whole(message, stop);
  }

  /** What remains of an answer. */
  async whole(message: IncomingMessage, stop: Stop): Promise<HttpAnswer> {
    const parts: Buffer[] = [];
    let bytes = 0;
    for await (const part of this.pieces(message, stop)) {
      bytes += part.length;
      if (bytes > MOST_ANSWER_BYTES) throw badAnswer(this.where, `it has more than ${MOST_ANSWER_BYTES} bytes`);
      parts.push(part);
    }
    return { status: message.statusCode ?? 0, headers: message.headers, text: Buffer.concat(parts).toString() };
  }

  /** The beginning of an answer: its body is taken to its end, or destroyed. */
  async open({ method, path, headers = {}, body }: HttpRequest, stop: Stop): Promise<IncomingMessage> {
    stop.check();
    const { address, isSecure, prefix } = this.#target;
    const ask = isSecure ? secureRequest : plainRequest;
    const options = { ...address, agent: this.#agent, method, path: prefix + path };
    const sent = typeof body === 'string' ? { 'content-length': Buffer.byteLength(body) } : (body?.headers ?? {});
    const request = ask({ ...options, headers: { ...this.#headers, ...headers, ...sent } });
    const answered = this.#answered(request, isSecure);
    answered.catch(() => {});
    const isWanted = typeof body === 'object' && body.isLarge ? wanted(request) : Promise.resolve();
    stop.onStop(() => request.destroy());
    try {
      if (body === undefined || typeof body === 'string') request.end(body);
      // The time that it takes to become one of so many connections is nobody else's.
      await stop.wait(Promise.race([seatOf(request), answered]), false);
      if (typeof body === 'object') await this.#send(request, body, isWanted, answered, stop);
      const message = await stop.wait(answered);
      // An answer that came before all was sent: nothing more can be asked on that connection.
      message.once('close', () => request.writableFinished || request.destroy());
      return message;
    } catch (error) {
      request.destroy();
      throw error;
    }
  }

  /** The bytes of an answer, as they come. Ends the connection unless they are taken to their end. */
  async *pieces(message: IncomingMessage, stop: Stop): AsyncGenerator<Buffer> {
    const from = message[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    stop.onStop(() => message.destroy());
    try {
      for (;;) {
        const coming = from.next().catch((error: unknown) => {
          throw this.#failure(error, true);
        });
        const next = await stop.wait(coming);
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      if (!message.complete) message.destroy();
      stop.end();
    }
  }

  /** Lets go of all connections. */
  close(): void {
    this.#agent.destroy();
  }

  #answered(request: ClientRequest, isSecure: boolean): Promise<IncomingMessage> {
    let isConnected = false;
    request.once('socket', (socket) => {
      const isNow = () => {
        this.#connected.add(socket);
        isConnected = true;
      };
      if (this.#connected.has(socket)) isNow();
      else socket.once(isSecure ? 'secureConnect' : 'connect', isNow);
    });
    return new Promise((resolve, reject) => {
      request.once('response', resolve);
      request.on('error', (error) => reject(this.#failure(error, isConnected)));
    });
  }

  async #send(
    request: ClientRequest,
    body: BlobBody,
    isWanted: Promise<void>,
    answered: Promise<unknown>,
    stop: Stop,
  ): Promise<void> {
    let isSending = true;
    const interrupt = (error: unknown) => isSending && stop.interrupt({ error });
    answered.then(() => interrupt(ANSWERED), interrupt);
    try {
      await stop.wait(isWanted, false);
      for await (const piece of body.pieces((next) => stop.wait(next, false))) {
        if (!request.write(piece)) await stop.wait(new Promise<void>((resolve) => request.once('drain', resolve)));
      }
      request.end();
    } catch (error) {
      if (error !== ANSWERED) throw error;
    } finally {
      isSending = false;
      stop.interrupt(null);
    }
  }

  #failure(error: unknown, isConnected: boolean): VreserveError {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code.startsWith('HPE_')) return badAnswer(this.where, 'it is no HTTP', error);
    const errno = errnoOf(error);
    if (isConnected)
      return new VreserveError('BROKEN_OFF', { where: this.where, errno: errno ?? 'ECONNRESET' }, { cause: error });
    const reason = error instanceof Error && error.message !== '' ? error.message : (errno ?? 'nobody answers');
    return new VreserveError('UNREACHABLE', { where: this.where, reason, errno: errno ?? 'EIO' }, { cause: error });
  }
}

/** Resolves when the request has a connection, or is making one. */
function seatOf(request: ClientRequest): Promise<unknown> {
  return new Promise((resolve) => request.once('socket', resolve));
}

/** Resolves when the other side wants the body, or says nothing of it. The headers, which ask, are on their way already. */
function wanted(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      clearTimeout(timer);
      resolve();
    };
    let timer: NodeJS.Timeout | undefined;
    request.once('socket', () => {
      timer = setTimeout(go, CONTINUE_MS).unref();
    });
    request.once('continue', go).once('close', go);
  });
}
