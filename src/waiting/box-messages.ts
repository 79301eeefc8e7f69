// What the daemon and the process that uses its mount for it ask of each other.

import type { PlainError } from '../process/plain-error.js';
import type { Found, RequestBox } from './box.js';

/** All that the daemon does in the spool `requests`. */
export type Box = Pick<RequestBox, keyof RequestBox>;

/** What is the same on both sides: values in, a value out. */
export type BoxMethod = Exclude<keyof Box, 'watch' | 'close' | 'read'>;

/** A request as it was found, as values. */
export type PlainFound = Omit<Found, 'refusal'> & { refusal: PlainError | null };

/** Of the process. */
export interface BoxMethods extends Pick<Box, BoxMethod> {
  /** The daemon is told of each name. */
  watch(): Promise<void>;
  close(): Promise<void>;
  read(name: string): Promise<PlainFound | null>;
}

/** Of the daemon. */
export interface BoxListener {
  heard(name: string | null): void;
  watchFailed(error: PlainError): void;
}
