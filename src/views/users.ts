// Local users by name and by number, from /etc/passwd.

import { readFileSync } from 'node:fs';

const FRESH_MS = 10_000;

/** Users, read again at most every ten seconds of the given clock. */
export class Users {
  readonly #file: string;
  readonly #clock: () => number;
  #names = new Map<string, string>();
  #uids = new Map<string, string>();
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: () => number, file = '/etc/passwd') {
    this.#clock = clock;
    this.#file = file;
  }

  /** The user's name, or the owner as it is where nobody has that number. */
  readonly name = (owner: string): string => {
    this.#refresh();
    return this.#names.get(owner) ?? owner;
  };

  /** The decimal uid of the user of that name or number; null where there is none of that name. */
  uidOf(text: string): string | null {
    if (/^(0|[1-9][0-9]{0,9})$/.test(text)) return text;
    this.#refresh();
    return this.#uids.get(text) ?? null;
  }

  #refresh(): void {
    const nowMs = this.#clock();
    if (nowMs - this.#readAtMs < FRESH_MS && nowMs >= this.#readAtMs) return;
    this.#readAtMs = nowMs;
    try {
      this.#names = new Map();
      this.#uids = new Map();
      for (const line of readFileSync(this.#file, 'utf8').split('\n')) {
        const [name, , uid] = line.split(':');
        if (name && uid && !this.#names.has(uid)) this.#names.set(uid, name);
        if (name && uid && !this.#uids.has(name)) this.#uids.set(name, uid);
      }
    } catch {
      // Without the file, numbers are shown.
    }
  }
}
