// A blob that is there, and what the store says of a name.

import type { State } from './status.js';

/** One content of one name; it never changes. An update makes a new one. */
export interface Blob {
  name: string;
  /** 64 bits, in decimal: the name of the payload's file. */
  id: string;
  /** Who pays for it; '' is the store's own lot. */
  lot: string;
  sizeBytes: number;
  contentType: string;
  /** When it became what is read under its name. */
  modifiedAtMs: number;
  /** As `packTransitions` makes it. */
  transitions: string;
}

/** What is known of a name: the content that is read, and what was last tried to replace it. */
export interface NameStatus {
  name: string;
  /** OK where there is a content, whatever is being uploaded to replace it. */
  state: State;
  /** null: none can be read. */
  blob: Blob | null;
  /** Uploads under way, of which one is a creation where there is no content. */
  pendingUploads: number;
  /** The last upload that failed, or the removal, has not been collected yet. */
  hasFailed: boolean;
}

/** Strong (RFC 9110 8.8.3): an id is never given twice, and a content never changes. */
export function etagOf(blob: Blob): string {
  return `"${blob.id}"`;
}
