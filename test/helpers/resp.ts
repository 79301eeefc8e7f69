// A client of namespaces: commands and answers over a real socket, or raw bytes.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** An answer: `+OK`, `-an error`, `$a string` (latin1), a number, null, or a list of these. */
export type Reply = string | number | null | Reply[];

/** As `mount --json` says where they are: `HOST:PORT` or `unix:PATH`. */
export class RespClient {
  readonly socket: Socket;
  readonly #waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void }[] = [];
  #rest: Buffer = Buffer.alloc(0);
  /** What came behind it, which is put together when there is enough. */
  #more: Buffer[] = [];
  #moreBytes = 0;
  /** So many bytes the next answer has, at least. */
  #wanted = 0;
  /** The other side has closed it. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', () => {});
    // What follows the end is read, so that it comes.
    socket.on('end', () => {});
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        for (const { reject } of this.#waiting.splice(0)) reject(new Error('closed'));
        resolve();
      });
    });
  }

  static async connect(address: string | null): Promise<RespClient> {
    if (address === null) throw new Error('there are no namespaces');
    const at = address.lastIndexOf(':');
    const where = address.startsWith('unix:')
      ? { path: address.slice(5) }
      : { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
    const socket = connect(where);
    const client = new RespClient(socket);
    await once(socket, 'connect');
    return client;
  }

  /** One command. Rejects where the connection ends before the answer. */
  ask(...args: (string | Buffer)[]): Promise<Reply> {
    return this.raw(command(...args));
  }

  /** Bytes; the next answer. */
  raw(bytes: string | Buffer): Promise<Reply> {
    const reply = this.next();
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    return reply;
  }

  /** The next answer, to what was sent before. */
  next(): Promise<Reply> {
    const reply = new Promise<Reply>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#answer();
    return reply;
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }

  #take(chunk: Buffer): void {
    this.#more.push(chunk);
    this.#moreBytes += chunk.length;
    this.#answer();
  }

  #answer(): void {
    if (this.#rest.length + this.#moreBytes < this.#wanted || this.#waiting.length === 0) return;
    this.#rest = Buffer.concat([this.#rest, ...this.#more]);
    this.#more = [];
    this.#moreBytes = 0;
    while (this.#waiting.length > 0) {
      const found = replyIn(this.#rest, 0);
      if (typeof found === 'number') {
        this.#wanted = found;
        return;
      }
      this.#wanted = 0;
      this.#rest = this.#rest.subarray(found.end);
      this.#waiting.shift()?.resolve(found.reply);
    }
  }
}

export function command(...args: (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = typeof arg === 'string' ? Buffer.from(arg, 'latin1') : arg;
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

/** A number: so many bytes there must be, at least, before it is whole. */
function replyIn(bytes: Buffer, from: number): { reply: Reply; end: number } | number {
  const lineEnd = bytes.indexOf('\r\n', from);
  if (lineEnd < 0) return bytes.length + 1;
  const line = bytes.toString('latin1', from, lineEnd);
  const end = lineEnd + 2;
  if (line.startsWith('+') || line.startsWith('-')) return { reply: line, end };
  const number = Number(line.slice(1));
  if (line.startsWith(':')) return { reply: number, end };
  if (line.startsWith('$')) {
    if (number < 0) return { reply: null, end };
    if (bytes.length < end + number + 2) return end + number + 2;
    return { reply: `$${bytes.toString('latin1', end, end + number)}`, end: end + number + 2 };
  }
  if (!line.startsWith('*')) throw new Error(`no answer begins with ${line}`);
  const items: Reply[] = [];
  let at = end;
  for (let n = 0; n < number; n++) {
    const item = replyIn(bytes, at);
    if (typeof item === 'number') return item;
    items.push(item.reply);
    at = item.end;
  }
  return { reply: items, end: at };
}
