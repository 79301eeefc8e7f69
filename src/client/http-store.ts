// Blobs over HTTP, at `/store/`.

import { VreserveError } from '../core/errors.js';
import { badAnswer, type HttpAnswer, isNoRoute, isObject, objectIn, refusalOf } from './answers.js';
import type { BlobBody } from './blob-body.js';
import type { HttpConnection } from './http-connection.js';
import type { Stop } from './stop.js';
import type {
  BlobEntry,
  BlobInfo,
  MatchOptions,
  OpenBlob,
  RangeOptions,
  StoredBlob,
  StoreTransport,
  WriteKind,
  WriteOptions,
} from './transport.js';

type Headers = HttpAnswer['headers'];

const STATES: readonly unknown[] = ['OK', 'Pending', 'Failure'];

export class HttpStore implements StoreTransport {
  readonly #connection: HttpConnection;

  constructor(connection: HttpConnection) {
    this.#connection = connection;
  }

  async write(kind: WriteKind, name: string, body: BlobBody, options: WriteOptions, stop: Stop): Promise<StoredBlob> {
    const { contentType, lot, ifMatch } = options;
    const query = new URLSearchParams({ ...(kind === 'put' ? { create: 'true' } : {}), ...(lot === undefined ? {} : { lot }) });
    const type = contentType === undefined ? {} : { 'content-type': contentType };
    const headers = { ...type, ...matching(ifMatch) };
    const path = `${pathOf(name)}${query.size === 0 ? '' : `?${query}`}`;
    const method = kind === 'create' ? 'POST' : 'PUT';
    const answer = await this.#connection.ask({ method, path, headers, body }, stop);
    if (answer.status !== (kind === 'create' ? 204 : 200)) throw this.#refusal(answer, name);
    return { name, id: this.#idIn(answer.headers), sizeBytes: body.sentBytes };
  }

  async open(name: string, { start, end, ifMatch }: RangeOptions, stop: Stop): Promise<OpenBlob> {
    const isPart = start !== undefined || end !== undefined;
    const range = isPart ? { range: `bytes=${start ?? 0}-${end === undefined ? '' : end - 1}` } : {};
    const headers = { ...range, ...matching(ifMatch) };
    const message = await this.#connection.open({ method: 'GET', path: pathOf(name), headers }, stop);
    if (message.statusCode === (isPart ? 206 : 200)) {
      try {
        const sizeBytes = isPart ? this.#sizeOfWhole(message.headers) : Number(message.headers['content-length']);
        const blob = this.#blob(name, sizeBytes, message.headers);
        return { blob, pieces: this.#connection.pieces(message, stop), close: () => message.destroy() };
      } catch (error) {
        message.destroy();
        throw error;
      }
    }
    const answer = await this.#connection.whole(message, stop);
    if (answer.status === 416) {
      throw new VreserveError('STORE_BAD_RANGE', { name, start: start ?? 0, sizeBytes: this.#sizeOfWhole(answer.headers) });
    }
    throw this.#refusal(answer, name);
  }

  async stat(name: string, stop: Stop): Promise<BlobInfo | null> {
    const answer = await this.#connection.ask({ method: 'HEAD', path: pathOf(name) }, stop);
    const { status, headers } = answer;
    if (status === 200) return this.#blob(name, Number(headers['content-length']), headers);
    const error = this.#refusal(answer, name);
    if (error.code === 'STORE_NO_BLOB') return null;
    throw error;
  }

  async remove(name: string, { ifMatch }: MatchOptions, stop: Stop): Promise<boolean> {
    const headers = matching(ifMatch);
    const answer = await this.#connection.ask({ method: 'DELETE', path: pathOf(name), headers }, stop);
    if (answer.status === 200) return true;
    const error = this.#refusal(answer, name);
    if (error.code === 'STORE_NO_BLOB') return false;
    throw error;
  }

  async *list(after: string | null, pageSize: number, begin: () => Stop): AsyncGenerator<BlobEntry[]> {
    for (let from = after; ; ) {
      const stop = begin();
      const { entries, next } = await this.#page(from, pageSize, stop).finally(() => stop.end());
      yield entries;
      if (next === null) return;
      from = next;
    }
  }

  async #page(after: string | null, most: number, stop: Stop): Promise<{ entries: BlobEntry[]; next: string | null }> {
    const query = new URLSearchParams({ limit: String(most), ...(after === null ? {} : { after }) });
    const answer = await this.#connection.ask({ method: 'GET', path: `/store/?${query}` }, stop);
    if (answer.status !== 200) throw this.#refusal(answer, '');
    const { blobs, next } = objectIn(answer.text, this.#connection.where);
    if (!Array.isArray(blobs) || !blobs.every(isEntry) || (next !== null && typeof next !== 'string')) {
      throw badAnswer(this.#connection.where, 'it is no list of blobs');
    }
    return { entries: blobs.map(entryOf), next };
  }

  #refusal(answer: HttpAnswer, name: string): VreserveError {
    // A page that is not there has a type.
    if (answer.status === 404 && answer.headers['content-type'] === undefined)
      return new VreserveError('STORE_NO_BLOB', { name });
    if (isNoRoute(answer)) {
      return Object.assign(new VreserveError('NO_STORE'), { message: `${this.#connection.where} has no store` });
    }
    return refusalOf(answer, this.#connection.where);
  }

  #blob(name: string, sizeBytes: number, headers: Headers): BlobInfo {
    const modifiedAtMs = Date.parse(String(headers['last-modified']));
    const contentType = headers['content-type'];
    if (Number.isSafeInteger(sizeBytes) && !Number.isNaN(modifiedAtMs) && typeof contentType === 'string') {
      return { name, id: this.#idIn(headers), sizeBytes, contentType, modifiedAtMs };
    }
    throw badAnswer(this.#connection.where, 'its headers are none of a blob');
  }

  #idIn({ etag }: Headers): string {
    const [, id] = /^"([^"]+)"$/.exec(String(etag)) ?? [];
    if (id === undefined) throw badAnswer(this.#connection.where, 'it has no ETag');
    return id;
  }

  #sizeOfWhole({ 'content-range': range }: Headers): number {
    const [, size] = /^bytes .*\/(\d+)$/.exec(String(range)) ?? [];
    if (size === undefined) throw badAnswer(this.#connection.where, 'it has no Content-Range');
    return Number(size);
  }
}

function pathOf(name: string): string {
  return `/store/${encodeURIComponent(name)}`;
}

function matching(id: string | undefined): Record<string, string> {
  return id === undefined ? {} : { 'if-match': `"${id}"` };
}

function isEntry(value: unknown): value is Record<string, unknown> {
  return isObject(value) && typeof value.name === 'string' && STATES.includes(value.state);
}

function entryOf(entry: Record<string, unknown>): BlobEntry {
  const { name, state, id, bytes, contentType, lot, modifiedAtMs } = entry;
  const blob = id === undefined ? null : { name, id, sizeBytes: bytes, contentType, modifiedAtMs, lot };
  return { name, state, blob } as BlobEntry;
}
