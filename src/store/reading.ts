// A content that is open: it can be read to its end, whatever becomes of its name meanwhile.

import type { FileHandle } from 'node:fs/promises';
import { VreserveError } from '../core/errors.js';
import type { Blob } from './blob.js';
import { shown } from './names.js';

/** Bytes from `start` up to, and not with, `end`. */
export interface ByteRange {
  start: number;
  end: number;
}

const PIECE_BYTES = 256 * 1024;

export class OpenBlob {
  readonly blob: Blob;
  readonly #file: FileHandle;

  /** Made by a store. */
  constructor(blob: Blob, file: FileHandle) {
    this.blob = blob;
    this.#file = file;
  }

  /** All of it, or a part that lies in it. Once; the file is closed with its end. Throws STORE_PAYLOAD_DAMAGED where bytes are missing. */
  async *bytes({ start, end }: ByteRange = { start: 0, end: this.blob.sizeBytes }): AsyncGenerator<Buffer> {
    try {
      for (let at = start; at < end; ) {
        const wanted = Math.min(PIECE_BYTES, end - at);
        const { buffer, bytesRead } = await this.#file.read(Buffer.allocUnsafe(wanted), 0, wanted, at);
        if (bytesRead === 0) {
          const reason = `they end after ${at} of ${this.blob.sizeBytes}`;
          throw new VreserveError('STORE_PAYLOAD_DAMAGED', { name: shown(this.blob.name), reason });
        }
        yield buffer.subarray(0, bytesRead);
        at += bytesRead;
      }
    } finally {
      await this.close();
    }
  }

  /** For one who does not read; no error where it is closed already. */
  async close(): Promise<void> {
    await this.#file.close().catch(() => {});
  }
}
