// How a client asks a store that may be gone at any moment: the same over HTTP as through files.
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { contentOf, versionOf } from './contents.js';

/** A content of a name; null: none. */
export type Version = number | null;

/** There was no answer, or none that says what came of it. */
export class CutOff extends Error {}

/** Of one client. All throw CutOff, or an error that says what is wrong. */
export interface Way {
  read(name: string): Promise<Version>;
  /** 'taken': another creation has the name, and nothing was done. */
  put(name: string, version: number, isNew: boolean): Promise<'done' | 'taken'>;
  /** Half of it, and never more. */
  breakOff(name: string, version: number, isNew: boolean): Promise<void>;
  remove(name: string): Promise<void>;
  end(): Promise<void>;
}

/** What a service says whose daemon has just been killed. */
const GONE = /\b(ENOTCONN|ECONNABORTED)\b/;

interface Answer {
  status: number;
  body: Buffer;
}

/** On a connection that is kept. */
export class HttpWay implements Way {
  readonly #socketPath: string;
  readonly #isHalved: () => boolean;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  /** `isHalved`: whether the next body comes in two pieces. */
  constructor(socketPath: string, isHalved: () => boolean = () => false) {
    this.#socketPath = socketPath;
    this.#isHalved = isHalved;
  }

  async read(name: string): Promise<Version> {
    const { status, body } = await this.#ask('GET', name, null);
    if (status === 404) return null;
    if (status !== 200) throw new Error(`GET ${name}: ${status}`);
    return versionOf(name, body);
  }

  async put(name: string, version: number, isNew: boolean): Promise<'done' | 'taken'> {
    const { status, body } = await this.#ask(isNew ? 'POST' : 'PUT', name, contentOf(name, version));
    if (status === (isNew ? 204 : 200)) return 'done';
    if (isNew && status === 500 && body.includes('already exists')) return 'taken';
    throw new Error(`${isNew ? 'POST' : 'PUT'} ${name}: ${status} ${body.toString('utf8', 0, 200)}`);
  }

  async breakOff(name: string, version: number, isNew: boolean): Promise<void> {
    await this.#ask(isNew ? 'POST' : 'PUT', name, contentOf(name, version), true);
  }

  async remove(name: string): Promise<void> {
    const { status } = await this.#ask('DELETE', name, null);
    if (status !== 200) throw new Error(`DELETE ${name}: ${status}`);
  }

  async end(): Promise<void> {
    this.#agent.destroy();
  }

  /** All names, in the order of the listing. */
  async names(): Promise<string[]> {
    const names: string[] = [];
    for (let after: string | null = ''; after !== null; ) {
      const { body } = await this.#send('GET', `/store/?limit=300&after=${encodeURIComponent(after)}`, null, false);
      const page = JSON.parse(body.toString()) as { blobs: { name: string; state: string }[]; next: string | null };
      names.push(...page.blobs.filter(({ state }) => state !== 'Failure').map(({ name }) => name));
      after = page.next;
    }
    return names;
  }

  async isHealthy(): Promise<boolean> {
    const answers = [this.#send('GET', '/healthz', null, false), this.#send('GET', '/store/?limit=1', null, false)];
    return (await Promise.all(answers.map((answer) => answer.catch(() => null)))).every((answer) => answer?.status === 200);
  }

  async #ask(method: string, name: string, body: Buffer | null, isCut = false): Promise<Answer> {
    const answer = await this.#send(method, `/store/${encodeURIComponent(name)}`, body, isCut);
    // The service is there, and the store is not yet, or no more; or it is about to hear that the daemon is gone.
    const { status } = answer;
    if (status === 503 || (status === 500 && GONE.test(answer.body.toString()))) throw new CutOff(String(status));
    return answer;
  }

  async #send(method: string, path: string, body: Buffer | null, isCut: boolean): Promise<Answer> {
    try {
      const asked = request({
        socketPath: this.#socketPath,
        path,
        method,
        agent: this.#agent,
        headers: body === null ? {} : { 'content-length': body.length },
      });
      const halfAt = body !== null && (isCut || this.#isHalved()) ? body.length >> 1 : 0;
      if (body !== null && halfAt > 0) asked.write(body.subarray(0, halfAt));
      if (isCut) setImmediate(() => asked.destroy());
      else asked.end(body?.subarray(halfAt));
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      const parts: Buffer[] = [];
      for await (const part of response) parts.push(part as Buffer);
      if (!response.complete) throw new Error('cut off');
      return { status: response.statusCode ?? 0, body: Buffer.concat(parts) };
    } catch (error) {
      throw new CutOff(String(error));
    }
  }
}
