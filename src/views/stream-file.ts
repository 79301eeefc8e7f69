// An open stream: reads only.

import { VreserveError } from '../core/errors.js';
import type { OpenFile } from './open-file.js';
import type { Stream } from './stream.js';

/** Holds the stream's offsets where they are until it is closed. */
export class StreamFile implements OpenFile {
  readonly #stream: Stream;

  constructor(stream: Stream) {
    this.#stream = stream;
    stream.opened();
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.#stream.read(offsetBytes, lengthBytes);
  }

  async write(): Promise<number> {
    throw new VreserveError('SYSTEM', { errno: 'EBADF', reason: 'the file is not open for writing' });
  }

  async flush(): Promise<void> {}

  release(): void {
    this.#stream.closed();
  }
}
