// An open virtual file, as the handler knows it.

/** What an open file of /.vreserve does; a rejection with a VreserveError becomes its errno. */
export interface OpenFile {
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  /** Number of bytes taken. */
  write(data: Buffer): Promise<number>;
  /** A descriptor of the file was closed. */
  flush(): Promise<void>;
  /** The last one was. */
  release(): void;
}
