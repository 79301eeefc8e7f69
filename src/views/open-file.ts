// An open virtual file, as the handler knows it.

/** What an open file of /.vreserve does; a rejection with a VreserveError becomes its errno. `signal`: who asked has gone. */
export interface OpenFile {
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  /** Number of bytes taken. */
  write(data: Buffer, signal: AbortSignal): Promise<number>;
  /** A descriptor of the file was closed. */
  flush(signal: AbortSignal): Promise<void>;
  /** The last one was. */
  release(): void;
}
