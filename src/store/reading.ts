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

  /**
   * All of it, or a part that lies in it. Once; the file is closed with its end. `reuses`: a piece is good until the next is asked
   * for, since they lie in one place. Throws STORE_PAYLOAD_DAMAGED where bytes are missing.
   */
  async *bytes(
    { start, end }: ByteRange = { start: 0, end: this.blob.sizeBytes },
    { reuses = false }: { reuses?: boolean } = {},
  ): AsyncGenerator<Buffer> {
    const place = reuses ? Buffer.allocUnsafe(Math.min(PIECE_BYTES, end - start)) : null;
    try {
      for (let at = start; at < end; ) {
        const wanted = Math.min(PIECE_BYTES, end - at);
        const piece = (place ?? Buffer.allocUnsafe(wanted)).subarray(0, wanted);
        await this.#fill(piece, at);
        yield piece;
        at += wanted;
      }
    } finally {
      await this.close();
    }
  }

  async #fill(piece: Buffer, from: number): Promise<void> {
    for (let filled = 0; filled < piece.length; ) {
      const { bytesRead } = await this.#file.read(piece, filled, piece.length - filled, from + filled);
      if (bytesRead === 0) {
        const reason = `they end after ${from + filled} of ${this.blob.sizeBytes}`;
        throw new VreserveError('STORE_PAYLOAD_DAMAGED', { name: shown(this.blob.name), reason });
      }
      filled += bytesRead;
    }
  }

  /** For one who does not read; no error where it is closed already. */
  async close(): Promise<void> {
    await this.#file.close().catch(() => {});
  }
}
